//! Log lines go to the log of Envoy, at its level for dynamic modules.

use crate::abi::{Buffer, imports};
use log::{LevelFilter, Log, Metadata, Record};

/// Writes log lines to Envoy's log.
struct EnvoyLog;

/// Sets the logger, and a hook that logs the message of a panic.
pub(crate) fn start() {
    let _ = log::set_logger(&EnvoyLog);
    set_level();
    // A test that fails must say so itself.
    if !cfg!(test) {
        std::panic::set_hook(Box::new(|info| crate::guard::report(&info.to_string())));
    }
}

/// Takes Envoy's log level, so that lines below it are not even formatted. It can be changed while Envoy runs.
pub(crate) fn set_level() {
    // Envoy counts from trace = 0 to critical = 5, `log` from error = 1 to trace = 5.
    // SAFETY: Envoy's function takes a number and has no other argument.
    let enabled = |level: &LevelFilter| unsafe { imports::log_enabled(number(*level as usize)) };
    let levels = [LevelFilter::Trace, LevelFilter::Debug, LevelFilter::Info, LevelFilter::Warn, LevelFilter::Error];
    log::set_max_level(levels.into_iter().find(enabled).unwrap_or(LevelFilter::Off));
}

/// Writes one line.
pub(crate) fn write(level: log::Level, text: &str) {
    // SAFETY: the text lives until the call returns, and Envoy copies it.
    unsafe { imports::log(number(level as usize), Buffer::of(text.as_bytes())) };
}

fn number(level: usize) -> u32 {
    u32::try_from(5usize.saturating_sub(level)).unwrap_or_default()
}

impl Log for EnvoyLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            write(record.level(), &format!("sidespan: {}", record.args()));
        }
    }

    fn flush(&self) {}
}
