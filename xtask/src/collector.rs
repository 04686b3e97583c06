//! `cargo xtask collector`: prints the path of an OpenTelemetry Collector on standard output, and messages on standard error.

use crate::steps::Elapsed;
use anyhow::Result;
use sidespan_harness::provide::{self, CollectorProgress};
use std::path::PathBuf;
use std::time::Instant;

/// Prints the path.
pub(crate) fn run() -> Result<()> {
    println!("{}", provide()?.display());
    Ok(())
}

/// Provides a collector and prints what takes time.
pub(crate) fn provide() -> Result<PathBuf> {
    let begin = Instant::now();
    let path = provide::collector_binary(|progress| match progress {
        CollectorProgress::Waiting => eprintln!("waiting for another process that builds the collector ..."),
        CollectorProgress::Building => {
            eprintln!("building an OpenTelemetry Collector from its Go modules; this takes some minutes, once ...");
        }
    })?;
    if begin.elapsed().as_secs() > 0 {
        eprintln!("the collector was ready after {}", Elapsed(begin.elapsed()));
    }
    Ok(path)
}
