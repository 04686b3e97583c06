//! The only thread of this module: it sleeps until a tracer is due, and asks Envoy's main thread to come. Envoy has no timer for
//! modules.

use crate::{guard, process};
use std::sync::OnceLock;
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

static TICKER: OnceLock<Option<Thread>> = OnceLock::new();
static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// Starts the thread, once.
pub(crate) fn start() {
    TICKER.get_or_init(|| {
        let signals = block_signals();
        let started = thread::Builder::new().name("sidespan".to_owned()).stack_size(256 * 1024).spawn(run);
        restore_signals(signals);
        match started {
            Ok(handle) => Some(handle.thread().clone()),
            Err(error) => {
                log::error!("no thread can be started, so nothing is exported: {error}");
                None
            }
        }
    });
}

/// Envoy's main thread is the one that loads this library.
pub(crate) fn remember_main_thread() {
    let _ = MAIN.set(thread::current().id());
}

/// Whether this is that thread.
pub(crate) fn is_main_thread() -> bool {
    MAIN.get() == Some(&thread::current().id())
}

/// Ends its sleep.
pub(crate) fn wake() {
    if let Some(Some(thread)) = TICKER.get() {
        thread.unpark();
    }
}

fn run() {
    loop {
        let pause = guard::guard("ticker", Duration::from_secs(1), process::ask);
        thread::park_timeout(pause);
    }
}

/// Signals of the process are Envoy's, so the thread must not receive them. It inherits what this thread blocks.
fn block_signals() -> Option<libc::sigset_t> {
    // SAFETY: `sigset_t` is plain data, both sets are initialised by the calls, and the mask is that of this thread only.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        (libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old) == 0).then_some(old)
    }
}

fn restore_signals(old: Option<libc::sigset_t>) {
    if let Some(old) = old {
        // SAFETY: `old` is the mask that this thread had; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    }
}
