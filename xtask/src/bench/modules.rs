//! Builds the wasm modules that are measured.

use crate::{build, wasm};
use anyhow::{Context as _, Result};
use sidespan_harness::provide;
use std::fs;
use std::path::{Path, PathBuf};

/// Paths of the modules.
pub(super) struct Modules {
    /// The filter.
    pub sidespan: PathBuf,
    /// A filter that does nothing, as the linker writes it: the SDK exports every callback.
    pub no_op: PathBuf,
    /// The same with only the exports that sidespan has.
    pub no_op_stripped: PathBuf,
}

// === impl Modules ===

impl Modules {
    /// Builds all modules. `SIDESPAN_WASM` replaces the filter that is built from the sources.
    pub(super) fn build() -> Result<Self> {
        let named = std::env::var_os("SIDESPAN_WASM").filter(|path| !path.is_empty()).map(PathBuf::from);
        let sidespan = named.map_or_else(build::build_quietly, Ok)?;
        let no_op = build::compile("sidespan-probe", "release")?;
        let bytes = fs::read(&no_op).with_context(|| format!("cannot read {}", no_op.display()))?;
        let no_op_stripped = provide::target_dir().join("no_op_stripped.wasm");
        fs::write(&no_op_stripped, wasm::prune(&bytes)?.bytes)?;
        Ok(Self { sidespan, no_op, no_op_stripped })
    }

    /// Names and sizes in bytes.
    pub(super) fn sizes(&self) -> Result<Vec<(&'static str, u64)>> {
        let size = |path: &Path| fs::metadata(path).map(|data| data.len()).with_context(|| path.display().to_string());
        Ok(vec![
            ("sidespan", size(&self.sidespan)?),
            ("no-op wasm, all exports", size(&self.no_op)?),
            ("no-op wasm, stripped", size(&self.no_op_stripped)?),
        ])
    }
}
