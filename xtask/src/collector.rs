//! `cargo xtask collector`: prints the path of an OpenTelemetry Collector on standard output, and messages on standard error.

use crate::go::Display;
use anyhow::Result;
use sidespan_harness::provide;
use std::path::PathBuf;

/// Prints the path.
pub(crate) fn run() -> Result<()> {
    println!("{}", provide()?.display());
    Ok(())
}

/// Provides a collector and prints what takes time.
pub(crate) fn provide() -> Result<PathBuf> {
    let display = Display::new("the collector", "two minutes", COLLECTOR_PACKAGES);
    display.finish(provide::collector_binary(|progress| display.show(progress)))
}

/// About how many packages are compiled.
const COLLECTOR_PACKAGES: usize = 900;
