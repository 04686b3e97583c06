//! Nothing unwinds into Envoy: it would end the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Panics that are described in the log; the others are counted only.
const REPORTS: u64 = 10;

static CAUGHT: AtomicU64 = AtomicU64::new(0);
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Runs a hook. A panic in it is caught and counted, and the hook answers `fallback`.
pub(crate) fn guard<T>(hook: &'static str, fallback: T, run: impl FnOnce() -> T) -> T {
    let result = catch_unwind(AssertUnwindSafe(|| {
        crate::fault::provoke(hook);
        run()
    }));
    result.unwrap_or_else(|payload| {
        CAUGHT.fetch_add(1, Relaxed);
        // What is thrown may panic when it is dropped. This is the message of the panic, so little is leaked.
        std::mem::forget(payload);
        fallback
    })
}

/// Panics since the last call.
pub(crate) fn take_caught() -> u64 {
    CAUGHT.swap(0, Relaxed)
}

/// Logs the message of a panic; called by the panic hook.
pub(crate) fn report(message: &str) {
    if REPORTED.fetch_add(1, Relaxed) < REPORTS {
        let text = format!("sidespan: a request is not traced because of a fault of the module: {message}");
        crate::logging::write(log::Level::Error, &text);
    }
}
