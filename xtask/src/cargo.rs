//! Running cargo, and putting what it has made into place.

use anyhow::{Context, Result};
use sidespan_harness::provide;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The `cargo` that runs this command, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(provide::workspace_root());
    command
}

/// Writes a file only if it changed, so that its time stamp does not cause other work.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    // An Envoy may be reading the old file, so it is replaced as a whole.
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
