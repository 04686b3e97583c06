//! Builds the filters that are measured.

use crate::{build, shell, wasm};
use anyhow::{Context as _, Result, ensure};
use sidespan_harness::provide::{self, Shell};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};

/// Paths of the modules.
pub(super) struct Modules {
    /// The filter.
    pub sidespan: PathBuf,
    /// The same as a dynamic module.
    pub library: PathBuf,
    /// A dynamic module that does nothing.
    pub no_op_library: PathBuf,
    /// A filter that does nothing, as the linker writes it: the SDK exports every callback.
    pub no_op: PathBuf,
    /// The same with only the exports that sidespan has.
    pub no_op_stripped: PathBuf,
}

// === impl Modules ===

impl Modules {
    /// Builds all modules. `SIDESPAN_WASM` and `SIDESPAN_MODULE` replace those that are built from the sources.
    pub(super) fn build() -> Result<Self> {
        let (sidespan, library) = (shell::filter(Shell::Wasm)?, shell::filter(Shell::Module)?);
        let no_op_library = no_op_library()?;
        let no_op = build::compile("sidespan-probe", "release")?;
        let bytes = fs::read(&no_op).with_context(|| format!("cannot read {}", no_op.display()))?;
        let no_op_stripped = provide::target_dir().join("no_op_stripped.wasm");
        fs::write(&no_op_stripped, wasm::prune(&bytes)?.bytes)?;
        Ok(Self { sidespan, library, no_op_library, no_op, no_op_stripped })
    }

    /// Names and sizes in bytes.
    pub(super) fn sizes(&self) -> Result<Vec<(&'static str, u64)>> {
        let size = |path: &Path| fs::metadata(path).map(|data| data.len()).with_context(|| path.display().to_string());
        Ok(vec![
            ("sidespan", size(&self.sidespan)?),
            ("dynamic module", size(&self.library)?),
            ("no-op wasm, all exports", size(&self.no_op)?),
            ("no-op wasm, stripped", size(&self.no_op_stripped)?),
        ])
    }
}

/// Compiles the dynamic module that does nothing.
fn no_op_library() -> Result<PathBuf> {
    let package = "sidespan-no-op-module";
    let folder = provide::target_dir();
    let mut command = build::cargo();
    command.args(["build", "--quiet", "--release", "--package", package, "--target-dir"]).arg(&folder);
    ensure!(command.status().context("cannot run cargo")?.success(), "{package} does not compile");
    let name = format!("{}{}{}", DLL_PREFIX, package.replace('-', "_"), DLL_SUFFIX);
    Ok(folder.join("release").join(name))
}
