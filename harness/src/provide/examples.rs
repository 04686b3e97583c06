//! What the tests of `examples/` need: the loader of Docker Compose, and func-e.

use super::go::{GoModule, GoProgress, cache_folder};
use super::workspace::workspace_root;
use anyhow::Result;
use std::path::PathBuf;

/// Programs built from `xtask/examples`.
#[derive(Clone, Debug)]
pub struct ExamplePrograms {
    /// Prints a compose file as JSON, as Docker Compose's own loader reads and validates it.
    pub compose: PathBuf,
    /// func-e, which runs an Envoy.
    pub func_e: PathBuf,
}

const GO_IS_MISSING: &str = "the loader of compose files and func-e are built from their Go modules, and there is no `go`.\n\
    Install Go 1.26 or later (https://go.dev/dl), or leave out what needs it: `cargo xtask test --no-collector`";

/// The programs, built at the first call and whenever the sources in `xtask/examples` have changed.
///
/// # Errors
/// A message that says what to do, if there is no Go, or what Go said, if they do not compile.
pub fn example_programs(progress: impl Fn(GoProgress)) -> Result<ExamplePrograms> {
    let module = GoModule {
        sources: &workspace_root().join("xtask/examples"),
        files: &["compose/main.go"],
        packages: &["./compose", "github.com/tetratelabs/func-e/cmd/func-e"],
        tags: "",
        programs: &["compose", "func-e"],
        cache: &cache_folder("examples")?,
        go: "go",
        missing: GO_IS_MISSING,
    };
    let folder = module.provide(&progress, &|_| Ok(()))?;
    Ok(ExamplePrograms { compose: folder.join("compose"), func_e: folder.join("func-e") })
}
