//! Files and folders of what is provided: locks, folders for partial downloads, paths of programs.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A temporary folder, removed on drop. Only the holder of the lock may create it.
pub(super) struct Scratch(pub PathBuf);

// === impl Scratch ===

impl Scratch {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        // A killed process may have left it.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The absolute path, if it is a file that may be executed.
pub(super) fn check_program(path: &Path) -> Result<PathBuf> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        bail!("not a file");
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 == 0 {
        bail!("not executable");
    }
    Ok(std::path::absolute(path)?)
}

/// Takes a lock between processes, which the system releases if this process dies. Calls `wait` if another process holds it.
pub(super) fn lock(path: &Path, wait: impl Fn()) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    if fs4::FileExt::try_lock(&file).is_err() {
        wait();
        fs4::FileExt::lock(&file).with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// A variable that holds a path; empty counts as unset.
pub(super) fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
