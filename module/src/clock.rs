//! The clocks of the process.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When a request began, by both clocks: the wall clock may be set back while it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Nanoseconds since the Unix epoch.
    pub(crate) start_ns: u64,
    begin: Instant,
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

// === impl Times ===

impl Times {
    /// A request that begins now.
    pub(crate) fn start() -> Self {
        Self { start_ns: now_ns(), begin: Instant::now() }
    }

    /// Nanoseconds since its beginning.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        nanoseconds(self.begin.elapsed())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since this module first asked; never goes back.
pub(crate) fn monotonic_ns() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    nanoseconds(BEGIN.get_or_init(Instant::now).elapsed())
}
