//! The test programs of the workspace. They are compiled once, then run one by one.
//!
//! `cargo test --test envoy` would compile many dependencies again, because cargo chooses their features for the selected
//! packages.

use crate::build::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sidespan_harness::provide::workspace_root;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A compiled test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Its source, relative to the workspace.
    pub label: String,
    /// The target's name: the file's name for integration tests.
    name: String,
    integration: bool,
    benchmark: bool,
    path: PathBuf,
    /// The package's folder, where cargo runs tests too.
    folder: PathBuf,
}

/// Compiles everything that `cargo test` would run, documentation aside.
pub(super) fn compile() -> Result<Vec<Program>> {
    let output = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let mut programs: Vec<_> =
        messages.lines().filter_map(|line| Program::from_message(line, workspace_root())).collect();
    programs.sort_by(|one, other| one.label.cmp(&other.label));
    Ok(programs)
}

// === impl Program ===

impl Program {
    /// Reads one message of cargo; `None` if it is not about a test program.
    fn from_message(line: &str, root: &Path) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let (path, target) = (message["executable"].as_str()?, &message["target"]);
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let source = Path::new(target["src_path"].as_str()?);
        let kinds = target["kind"].as_array()?;
        Some(Self {
            label: source.strip_prefix(root).unwrap_or(source).display().to_string(),
            name: target["name"].as_str()?.to_owned(),
            integration: kinds.iter().any(|kind| kind == "test"),
            benchmark: kinds.iter().any(|kind| kind == "bench"),
            path: path.into(),
            folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        })
    }

    /// Whether it needs a real Envoy; its name says so: `tests/envoy.rs`, `tests/envoy_faults.rs`, `tests/envoy/main.rs`.
    pub(super) fn needs_envoy(&self) -> bool {
        self.integration && self.name.starts_with("envoy")
    }

    /// Whether it holds the tests of the filter in a real Envoy.
    pub(super) fn has_tests_of_the_filter(&self) -> bool {
        self.label == "tests/envoy/main.rs"
    }

    /// Whether it loads the filter that the environment selects, or always the dynamic module. The benchmark loads both filters,
    /// other programs none or the wasm module.
    pub(super) fn loads_dynamic_module(&self) -> bool {
        self.is_about_dynamic_module() || self.has_tests_of_the_filter() || self.label == "xtask/tests/envoy_demo.rs"
    }

    /// Whether it never loads the wasm module.
    pub(super) fn is_about_dynamic_module(&self) -> bool {
        self.label.starts_with("module/")
    }

    /// Whether it needs a real Istio; its name says so: `tests/istio/main.rs`, `xtask/tests/istio_command.rs`.
    pub(super) fn needs_istio(&self) -> bool {
        self.integration && self.name.starts_with("istio")
    }

    /// Whether it needs a real Prometheus (and a real Envoy); its name says so: `tests/prometheus/main.rs`.
    pub(super) fn needs_prometheus(&self) -> bool {
        self.integration && self.name.starts_with("prometheus")
    }

    /// Whether it needs a real browser; its name says so: `xtask/tests/browser/main.rs`.
    pub(super) fn needs_browser(&self) -> bool {
        self.integration && self.name.starts_with("browser")
    }

    /// Whether it is a benchmark. Criterion's main function accepts a filter, but no other options of test programs.
    pub(super) fn is_benchmark(&self) -> bool {
        self.benchmark
    }

    /// The command that starts it as cargo does.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reason: &str, test: bool, kind: &str, source: &str, executable: &str) -> String {
        let name = Path::new(source).file_stem().and_then(|stem| stem.to_str()).expect("a file");
        serde_json::json!({
            "reason": reason, "manifest_path": "/w/cli/Cargo.toml", "profile": {"test": test},
            "target": {"kind": [kind], "name": name, "src_path": source},
            "executable": (!executable.is_empty()).then_some(executable),
        })
        .to_string()
    }

    #[test]
    fn only_test_programs_count_and_names_of_integration_tests_say_what_they_need() {
        let table = [
            (message("compiler-artifact", true, "test", "/w/tests/envoy_faults.rs", "/t/a"), Some(true), "integration"),
            (message("compiler-artifact", true, "test", "/w/tests/istio_more.rs", "/t/a"), Some(false), "under Istio"),
            (message("compiler-artifact", true, "test", "/w/tests/prometheus.rs", "/t/a"), Some(false), "Prometheus"),
            (message("compiler-artifact", true, "test", "/w/tests/host.rs", "/t/a"), Some(false), "another name"),
            (message("compiler-artifact", true, "lib", "/w/src/envoy.rs", "/t/a"), Some(false), "unit tests"),
            (message("compiler-artifact", true, "test", "/w/tests/browser.rs", "/t/a"), Some(false), "in a browser"),
            (
                message("compiler-artifact", true, "bench", "/w/benches/core/main.rs", "/t/a"),
                Some(false),
                "a benchmark",
            ),
            (message("compiler-artifact", false, "bin", "/w/src/main.rs", "/t/a"), None, "a program, but no test"),
            (message("compiler-artifact", true, "lib", "/w/src/lib.rs", ""), None, "a library"),
            (message("build-script-executed", true, "lib", "/w/src/lib.rs", "/t/a"), None, "another message"),
            ("no JSON".to_owned(), None, "what build scripts print"),
        ];
        for (line, expected, why) in table {
            let program = Program::from_message(&line, Path::new("/w"));
            assert_eq!(program.as_ref().map(Program::needs_envoy), expected, "{why}");
            if let Some(program) = program {
                assert!(!program.label.starts_with('/') && program.folder == Path::new("/w/cli"), "{program:?}");
                assert_eq!(program.needs_istio(), why == "under Istio", "{program:?}");
                assert_eq!(program.needs_prometheus(), why == "Prometheus", "{program:?}");
                assert_eq!(program.needs_browser(), why == "in a browser", "{program:?}");
                assert_eq!(program.is_benchmark(), why == "a benchmark", "{program:?}");
            }
        }
    }
}
