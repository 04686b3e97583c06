//! An OpenTelemetry Collector, built from its Go modules.

use super::files::{check_program, path_variable};
use super::go::{GoModule, GoProgress, cache_folder};
use super::workspace::workspace_root;
use anyhow::{Context, Result};
use std::path::PathBuf;

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
pub fn collector_binary(progress: impl Fn(GoProgress)) -> Result<PathBuf> {
    if let Some(path) = path_variable("COLLECTOR_BIN") {
        return check_program(&path)
            .with_context(|| format!("COLLECTOR_BIN is {}: set it to a collector or unset it", path.display()));
    }
    let module = GoModule {
        sources: &workspace_root().join("xtask/collector"),
        files: &["main.go"],
        packages: &["."],
        tags: "",
        programs: &["collector"],
        cache: &cache_folder("collector")?,
        go: "go",
        missing: GO_IS_MISSING,
    };
    Ok(module.provide(&progress, &|_| Ok(()))?.join("collector"))
}
