//! Prometheus and promtool, built from their Go module.

use super::go::{GoModule, GoProgress, cache_folder};
use super::workspace::workspace_root;
use anyhow::Result;
use std::path::PathBuf;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct PrometheusPrograms {
    /// The server.
    pub prometheus: PathBuf,
    /// Checks and tests rules.
    pub promtool: PathBuf,
}

/// About how many packages are compiled if Go has none of them in its cache, for a progress bar.
pub const PROMETHEUS_PACKAGES: usize = 860;

const GO_IS_MISSING: &str = "Prometheus and promtool are built from their Go module, and there is no `go`.\n\
    Either of these helps:\n\
    \x20 - install Go 1.26 or later: https://go.dev/dl, or your distribution's package (golang-go)\n\
    \x20 - leave out what needs it: `cargo xtask test` without --prometheus";

/// The programs of `xtask/prometheus`, built at the first call and whenever its `go.mod` has changed. They find no targets but
/// static ones and have no web pages: nothing here needs these.
///
/// # Errors
/// A message that says what to do, if there is no Go, or what Go said, if it does not compile.
pub fn prometheus_programs(progress: impl Fn(GoProgress)) -> Result<PrometheusPrograms> {
    let module = GoModule {
        sources: &workspace_root().join("xtask/prometheus"),
        files: &[],
        packages: &["tool"],
        tags: "remove_all_sd",
        programs: &["prometheus", "promtool"],
        cache: &cache_folder("prometheus")?,
        go: "go",
        missing: GO_IS_MISSING,
    };
    let folder = module.provide(&progress, &|_| Ok(()))?;
    Ok(PrometheusPrograms { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") })
}
