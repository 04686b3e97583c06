//! The folder of a process: gone with it, unless `HARNESS_KEEP` is set in the environment.

use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

// === impl Directory ===

impl Directory {
    pub(crate) fn create(prefix: &str) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let keep = std::env::var_os("HARNESS_KEEP").is_some();
        Ok(if keep { Self::Kept(temporary.keep()) } else { Self::Temporary(temporary) })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    /// A file of it; empty if it does not exist (yet).
    pub(crate) fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of a file.
    pub(crate) fn tail(&self, name: &str) -> String {
        const LINES: usize = 30;
        let text = self.file(name);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}
