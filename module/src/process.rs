//! What the process has of this filter: Envoy's configurations that are alive, the tracers that they share, and the thread that
//! wakes the main thread for them.
//!
//! Any configuration that is alive serves the tracers of all: export calls and metrics go through it. The newest one is asked,
//! because it will last longest; when it ends, another one takes over. The lock here is held for some instructions, and never while Envoy is called.

use crate::abi::{ConfigPtr, imports};
use crate::clock;
use crate::filter_config::FilterConfig;
use crate::main_thread::MainThread;
use crate::shared_tracer::SharedTracer;
use crate::ticker;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The thread looks so often whether the main thread has come, if it was asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The thread sleeps at most so long.
const LONGEST: Duration = Duration::from_secs(60);

/// So long a thread that ends a configuration waits for the main thread, which usually comes within a millisecond.
const CANCEL_WAIT: Duration = Duration::from_millis(500);

struct State {
    configs: Vec<Arc<FilterConfig>>,
    tracers: Vec<Arc<SharedTracer>>,
    cancels: Vec<Cancel>,
}

/// Calls of a configuration that ends on another thread, which waits meanwhile.
struct Cancel {
    config: usize,
    /// The address of Envoy's configuration.
    envoy: usize,
    streams: Vec<u64>,
    done: Sender<()>,
}

static STATE: Mutex<State> = Mutex::new(State { configs: Vec::new(), tracers: Vec::new(), cancels: Vec::new() });
/// When the main thread was asked to come, in nanoseconds of the monotonic clock; 0 if it has come since.
static ASKED_NS: AtomicU64 = AtomicU64::new(0);

/// Takes a new configuration.
///
/// # Safety
/// `envoy` must be what Envoy gave to the hook that reads it.
pub(crate) unsafe fn add(envoy: ConfigPtr, text: &[u8]) -> Arc<FilterConfig> {
    let known = lock().tracers.iter().find(|tracer| tracer.serves(text)).cloned();
    let tracer = known.unwrap_or_else(|| {
        // Configurations are read on the main thread only, so nobody else adds the same text meanwhile.
        let tracer = Arc::new(SharedTracer::new(text));
        lock().tracers.push(Arc::clone(&tracer));
        tracer
    });
    tracer.enter();
    // SAFETY: the caller says so.
    let config = Arc::new(unsafe { FilterConfig::new(envoy, tracer) });
    lock().configs.push(Arc::clone(&config));
    // SAFETY: the function has no argument; this is the main thread.
    if !unsafe { imports::is_validation_mode() } {
        ticker::start();
        ticker::wake();
    }
    config
}

/// A configuration has ended, on whichever thread.
pub(crate) fn remove(address: usize) {
    let mut state = lock();
    let place = state.configs.iter().position(|config| config.address() == address);
    let Some(place) = place else { return };
    let config = state.configs.remove(place);
    let (tracers, last) = (state.tracers.clone(), state.configs.is_empty());
    drop(state);
    config.scheduler.close();
    // It may be the one that was asked.
    ASKED_NS.store(0, Relaxed);
    let streams: Vec<_> = tracers.iter().flat_map(|tracer| tracer.calls.streams_of(address)).collect();
    if !streams.is_empty() && !ticker::is_main_thread() {
        cancel_on_main_thread(&config, streams);
    }
    config.tracer.leave();
    tracers.iter().for_each(|tracer| tracer.lose_calls(address));
    if last {
        let left = tracers.iter().fold(0u64, |sum, tracer| sum.saturating_add(tracer.undelivered()));
        if left > 0 {
            log::warn!(
                "{left} spans wait for a new configuration: the last one has ended; they are lost if the process ends"
            );
        }
    }
    ticker::wake();
}

/// Envoy cancels the calls of a configuration where it destroys it, also on a worker, although they run on the main thread. So they
/// are cancelled there before: this thread waits until that is done, or it seems that the main thread does not come.
fn cancel_on_main_thread(config: &FilterConfig, streams: Vec<u64>) {
    let (done, wait) = mpsc::channel();
    let cancel = Cancel { config: config.address(), envoy: config.envoy().expose_provenance(), streams, done };
    let other = {
        let mut state = lock();
        state.cancels.push(cancel);
        state.configs.last().cloned()
    };
    if other.is_some_and(|other| other.scheduler.commit()) && wait.recv_timeout(CANCEL_WAIT).is_ok() {
        return;
    }
    // Nobody may use the configuration after this hook. If the main thread has just begun, it is waited for.
    let mut state = lock();
    let before = state.cancels.len();
    state.cancels.retain(|cancel| cancel.config != config.address());
    let begun = state.cancels.len() == before;
    drop(state);
    if !begun || wait.recv_timeout(CANCEL_WAIT).is_err() {
        log::debug!("export calls of a configuration end with it, on another thread");
    }
}

/// On the main thread: ends the calls of configurations that end on other threads.
fn cancel_calls() {
    loop {
        let Some(cancel) = lock().cancels.pop() else { return };
        let envoy: ConfigPtr = std::ptr::with_exposed_provenance_mut(cancel.envoy);
        for stream in cancel.streams {
            // SAFETY: the thread that destroys the configuration waits in its hook until `done`, so the configuration is whole; this
            // is the main thread.
            unsafe { imports::config_reset_http_stream(envoy, stream) };
        }
        let _ = cancel.done.send(());
    }
}

/// The configuration of this address, if it is alive.
pub(crate) fn find(address: usize) -> Option<Arc<FilterConfig>> {
    lock().configs.iter().find(|config| config.address() == address).cloned()
}

/// The main thread has come, in a hook of `config`: runs every tracer whose time it is.
pub(crate) fn tick(config: &FilterConfig) {
    ASKED_NS.store(0, Relaxed);
    cancel_calls();
    let now = clock::monotonic_ns();
    let due: Vec<_> = lock().tracers.iter().filter(|tracer| tracer.due_ns() <= now).cloned().collect();
    for tracer in due {
        if !tracer.tick(&MainThread { config, tracer: &tracer }) {
            lock().tracers.retain(|other| !Arc::ptr_eq(other, &tracer));
        }
    }
    ticker::wake();
}

/// All tracers.
pub(crate) fn tracers() -> Vec<Arc<SharedTracer>> {
    lock().tracers.clone()
}

/// Makes the thread look again at once.
pub(crate) fn wake() {
    ticker::wake();
}

/// For the thread: asks the main thread to come if it is time. Returns how long to sleep.
pub(crate) fn ask() -> Duration {
    let (due, config) = {
        let state = lock();
        (state.tracers.iter().map(|tracer| tracer.due_ns()).min(), state.configs.last().cloned())
    };
    let (Some(due), Some(config)) = (due, config) else { return LONGEST };
    let now = clock::monotonic_ns();
    if due > now {
        return Duration::from_nanos(due.saturating_sub(now)).min(LONGEST);
    }
    let asked = ASKED_NS.load(Relaxed);
    let again = asked.saturating_add(u64::try_from(ASK_AGAIN.as_nanos()).unwrap_or_default());
    if asked != 0 && now < again {
        return Duration::from_nanos(again.saturating_sub(now));
    }
    ASKED_NS.store(now.max(1), Relaxed);
    match config.scheduler.commit() {
        true => ASK_AGAIN,
        // It has just ended; the next one is asked.
        false => {
            ASKED_NS.store(0, Relaxed);
            Duration::from_millis(1)
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
