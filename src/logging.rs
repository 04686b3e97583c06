//! Log lines of the filter go to the log of Envoy.

use crate::abi;
use log::{LevelFilter, Log, Metadata, Record};

/// Sets the logger, and a hook that logs the message of a panic. To be called before any callback.
pub fn start() {
    // In tests the logger may be set already, which does no harm. The level is read in `on_vm_start`: Envoy refuses host calls
    // while a module initialises.
    let _ = log::set_logger(&HostLog);
    std::panic::set_hook(Box::new(|info| abi::log(CRITICAL, &format!("sidespan: {info}"))));
}

const CRITICAL: u32 = 5;

/// Writes log lines to the host's log. A line that the host refuses is lost.
struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // The ABI counts from trace = 0 to error = 4, `log` from error = 1 to trace = 5.
            let level = 5u32.saturating_sub(record.level() as u32);
            abi::log(level, &format!("sidespan: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Takes the log level of Envoy, so that lines below it are not even formatted.
pub(crate) fn set_level() {
    log::set_max_level(match abi::log_level() {
        Ok(0) => LevelFilter::Trace,
        Ok(1) => LevelFilter::Debug,
        Ok(2) => LevelFilter::Info,
        Ok(4) => LevelFilter::Error,
        Ok(5..) => LevelFilter::Off,
        Ok(3) | Err(_) => LevelFilter::Warn,
    });
}
