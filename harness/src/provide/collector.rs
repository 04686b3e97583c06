//! An OpenTelemetry Collector, built from its Go modules once and kept in the cache: nobody ships one that fits.

use super::files::{Scratch, check_program, lock, path_variable};
use super::workspace::workspace_root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What takes time while a collector is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectorProgress {
    /// Another process builds the same one.
    Waiting,
    /// Go downloads modules and compiles: about two minutes on two cores, once.
    Building,
}

/// The sources, in this workspace.
const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

const GO_IS_MISSING: &str = "the OpenTelemetry Collector for tests and benchmark is built from its Go modules, and there is no `go`.\n\
    Any one of these helps:\n\
    \x20 - install Go 1.25 or later: https://go.dev/dl, or your distribution's package (golang-go)\n\
    \x20 - set COLLECTOR_BIN to the path of a collector built from xtask/collector\n\
    \x20 - leave out what needs it: `cargo xtask test --no-collector`, `cargo xtask bench --part cost`";

/// The path of a collector with the components of `xtask/collector/main.go`: `COLLECTOR_BIN` if set, else the cached one, built at
/// the first call and whenever its sources have changed.
///
/// # Errors
/// A message that says what to do, if there is no Go, or what Go said, if it does not compile.
pub fn collector_binary(progress: impl Fn(CollectorProgress)) -> Result<PathBuf> {
    if let Some(path) = path_variable("COLLECTOR_BIN") {
        return check_program(&path)
            .with_context(|| format!("COLLECTOR_BIN is {}: set it to a collector or unset it", path.display()));
    }
    let sources = workspace_root().join("xtask/collector");
    let cache = path_variable("XDG_CACHE_HOME").or_else(|| path_variable("HOME").map(|home| home.join(".cache")));
    let cache = cache.context("neither HOME nor XDG_CACHE_HOME is set")?.join("sidespan/collector");
    provide(&sources, &cache, "go", &progress)
}

fn provide(sources: &Path, cache: &Path, go: &str, progress: &dyn Fn(CollectorProgress)) -> Result<PathBuf> {
    let version = version(sources)?;
    let binary = cache.join(&version).join("collector");
    if let Ok(path) = check_program(&binary) {
        return Ok(path);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Held until the end of this function.
    let _lock = lock(&cache.join("lock"), || progress(CollectorProgress::Waiting))?;
    if let Ok(path) = check_program(&binary) {
        return Ok(path);
    }
    progress(CollectorProgress::Building);
    let scratch = Scratch::new(cache.join("partial"))?;
    let built = scratch.0.join("collector");
    build(sources, &built, go)?;
    fs::create_dir_all(cache.join(version))?;
    fs::rename(&built, &binary)?;
    check_program(&binary)
}

fn build(sources: &Path, to: &Path, go: &str) -> Result<()> {
    let mut command = Command::new(go);
    command.args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(to).arg(".");
    // A Go workspace around this folder does not concern it, and nothing here needs C.
    command.current_dir(sources).env("GOWORK", "off").env("CGO_ENABLED", "0").stdin(Stdio::null());
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(GO_IS_MISSING),
        output => output.with_context(|| format!("cannot run {go}"))?,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> = text.lines().filter(|line| !line.starts_with("go: downloading")).collect();
        bail!(
            "go cannot build the collector in {} (it needs Go 1.25 or later, and a way to the Go module proxy):\n{}",
            sources.display(),
            said.join("\n")
        );
    }
    Ok(())
}

/// Changes whenever the sources do. Not a checksum against malice: go.sum is.
fn version(sources: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in SOURCES {
        let path = sources.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn sources(folder: &Path) -> PathBuf {
        SOURCES.iter().for_each(|name| fs::write(folder.join(name), name).unwrap());
        folder.to_owned()
    }

    #[test]
    fn without_go_the_error_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = provide(&sources(folder.path()), &folder.path().join("cache"), "go-that-is-not-there", &|_| {});
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.contains("https://go.dev/dl") && text.contains("--no-collector"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn it_is_built_once_and_again_when_a_source_changes() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path());
        // Writes a program to the argument after -o.
        let go = folder.path().join("go");
        fs::write(&go, "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp \"$0\" \"$2\"\n").unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        let builds = Cell::new(0);
        let count = |progress| builds.set(builds.get() + i32::from(progress == CollectorProgress::Building));
        let run = || provide(&sources, &folder.path().join("cache"), go.to_str().unwrap(), &count).unwrap();
        let (first, second) = (run(), run());
        assert_eq!((first == second, builds.get()), (true, 1));
        fs::write(sources.join("go.mod"), "changed").unwrap();
        assert_ne!(run(), first);
        assert_eq!(builds.get(), 2);
    }
}
