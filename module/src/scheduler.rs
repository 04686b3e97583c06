//! The way from any thread to the main thread. It may end on one thread while it is used on another.

use crate::abi::{SchedulerPtr, imports};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Envoy's scheduler of a configuration.
pub(crate) struct Scheduler {
    pointer: SchedulerPtr,
    /// The number of uses at this moment, and [`CLOSED`].
    uses: AtomicU32,
}

const CLOSED: u32 = 1 << 31;
/// How often the end of a use is waited for: a use takes some microseconds.
const TRIES: u32 = 2000;

// === impl Scheduler ===

impl Scheduler {
    pub(crate) fn new(pointer: SchedulerPtr) -> Self {
        Self { pointer, uses: AtomicU32::new(if pointer.is_null() { CLOSED } else { 0 }) }
    }

    /// Makes Envoy call the hook of the configuration on the main thread soon. False if the configuration has ended.
    pub(crate) fn commit(&self) -> bool {
        if self.uses.fetch_add(1, SeqCst) & CLOSED != 0 {
            self.uses.fetch_sub(1, SeqCst);
            return false;
        }
        // SAFETY: it is not closed, and `close` waits for this use before it deletes the scheduler. Any thread may commit.
        unsafe { imports::config_scheduler_commit(self.pointer, 0) };
        self.uses.fetch_sub(1, SeqCst);
        true
    }

    /// Ends it. From here on, Envoy may delete what the scheduler posts to.
    pub(crate) fn close(&self) {
        if self.uses.fetch_or(CLOSED, SeqCst) & CLOSED != 0 {
            return;
        }
        for attempt in 0..TRIES {
            if self.uses.load(SeqCst) == CLOSED {
                // SAFETY: it was open until now, so this is the only time, and nothing uses it.
                return unsafe { imports::config_scheduler_delete(self.pointer) };
            }
            match attempt {
                0..1000 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(100)),
            }
        }
        log::debug!("a scheduler is still in use and stays");
    }
}
