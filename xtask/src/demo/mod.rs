//! `cargo xtask demo`.

use anyhow::{Result, bail};

/// What the demo can be told.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the demo.
pub fn run(_: &Arguments) -> Result<()> {
    bail!("the demo is not written yet");
}
