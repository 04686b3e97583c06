//! Folders of the workspace.

use super::files::path_variable;
use std::path::{Path, PathBuf};

/// Where `cargo xtask build` puts the wasm module.
pub fn module_path() -> PathBuf {
    target_dir().join("sidespan.wasm")
}

/// `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_dir() -> PathBuf {
    let folder = path_variable("CARGO_TARGET_DIR").unwrap_or_else(|| workspace_root().join("target"));
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The folder of the workspace this crate was compiled in.
pub fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
