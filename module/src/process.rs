//! What the process has of this filter: Envoy's configurations that are alive, the tracers that they share, and the thread that
//! wakes the main thread for them.
//!
//! Any configuration that is alive serves the tracers of all: export calls and metrics go through it. The oldest one is asked
//! first; when it ends, the next one takes over. The lock here is held for some instructions, and never while Envoy is called.

use crate::abi::{ConfigPtr, imports};
use crate::clock;
use crate::filter_config::FilterConfig;
use crate::main_thread::MainThread;
use crate::shared_tracer::SharedTracer;
use crate::ticker;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The thread looks so often whether the main thread has come, if it was asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The thread sleeps at most so long.
const LONGEST: Duration = Duration::from_secs(60);

struct State {
    configs: Vec<Arc<FilterConfig>>,
    tracers: Vec<Arc<SharedTracer>>,
}

static STATE: Mutex<State> = Mutex::new(State { configs: Vec::new(), tracers: Vec::new() });
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
    config.tracer.leave();
    tracers.iter().for_each(|tracer| tracer.lose_calls(address));
    // It may be the one that was asked.
    ASKED_NS.store(0, Relaxed);
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

/// The configuration of this address, if it is alive.
pub(crate) fn find(address: usize) -> Option<Arc<FilterConfig>> {
    lock().configs.iter().find(|config| config.address() == address).cloned()
}

/// The main thread has come, in a hook of `config`: runs every tracer whose time it is.
pub(crate) fn tick(config: &FilterConfig) {
    ASKED_NS.store(0, Relaxed);
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
        (state.tracers.iter().map(|tracer| tracer.due_ns()).min(), state.configs.first().cloned())
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
