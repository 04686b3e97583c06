//! The option `--shell`, and the filter that it selects.

use crate::{build, library};
use anyhow::Result;
use sidespan_harness::provide::Shell;
use std::path::PathBuf;

/// The option `--shell`.
#[derive(clap::Args)]
pub(crate) struct ShellOption {
    /// How the filter is loaded: `wasm`, or `module` for the dynamic module [default: what SIDESPAN_SHELL says, else wasm]
    #[arg(long, value_name = "wasm|module")]
    shell: Option<Shell>,
}

// === impl ShellOption ===

impl ShellOption {
    /// The chosen shell.
    ///
    /// # Errors
    /// If the environment variable says what is no shell.
    pub(crate) fn chosen(&self) -> Result<Shell> {
        self.shell.map_or_else(Shell::from_environment, Ok)
    }
}

/// The filter that `SIDESPAN_WASM` or `SIDESPAN_MODULE` names, else one built from the sources.
///
/// # Errors
/// If there is no such file, or it does not compile.
pub(crate) fn filter(shell: Shell) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(shell.variable()).filter(|path| !path.is_empty()) {
        println!("    nothing to build: {} is {}", shell.variable(), path.display());
        return shell.file();
    }
    build(shell)
}

/// Builds the filter from the sources and returns its path.
///
/// # Errors
/// If it does not compile.
pub(crate) fn build(shell: Shell) -> Result<PathBuf> {
    match shell {
        Shell::Wasm => build::build_quietly(),
        Shell::Module => library::build(),
    }
}
