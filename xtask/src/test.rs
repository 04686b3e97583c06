//! `cargo xtask test`: everything, from a fresh checkout.

use crate::build::{build, cargo};
use crate::steps::Steps;
use crate::{envoy, leftovers};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Which tests, and how.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                                everything
  cargo xtask test --no-envoy --filter tracestate the tests whose name contains `tracestate`, without a real Envoy
  cargo xtask test -- --nocapture                 show what the tests print")]
pub struct Arguments {
    /// Run only the tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Leave out the tests that need a real Envoy and the module
    #[arg(long)]
    no_envoy: bool,
    /// Envoy to test with, such as 1.36.4 (see `cargo xtask envoy --help`)
    #[arg(long = "envoy", value_name = "V", conflicts_with = "no_envoy")]
    envoy_version: Option<String>,
    /// Passed to the test programs as they are
    #[arg(last = true, value_name = "ARGUMENTS")]
    pass_through: Vec<String>,
}

/// Prepares, runs every kind of test even if one fails, prints a summary.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (envoy_tests, other_tests): (Vec<_>, Vec<_>) =
        integration_tests()?.into_iter().partition(|name| name.starts_with("envoy"));
    let mut steps = Steps::new(if arguments.no_envoy { 3 } else { 6 });
    let mut session = Session::new(arguments);
    if !arguments.no_envoy {
        session.module = Some(steps.step("build the module", build)?);
        let version = arguments.envoy_version.as_deref();
        session.envoy = Some(steps.step("provide an Envoy", || envoy::provide(version))?);
        println!("    {}", session.envoy.as_deref().unwrap_or("".as_ref()).display());
    }
    steps.step("compile the tests", || session.compile())?;
    let native = ["--lib", "--bins"].into_iter().map(str::to_owned).chain(select(&other_tests)).collect::<Vec<_>>();
    steps.step("unit, property, in-process host and simulation tests", || session.test(&native))?;
    steps.step("examples in the documentation", || session.test(&["--doc".to_owned()]))?;
    if !arguments.no_envoy {
        steps.step("real Envoy", || session.test_with_envoy(&envoy_tests))?;
    }
    session.conclude(&steps)
}

/// One run: what is exported to the tests, and what they said.
struct Session<'a> {
    arguments: &'a Arguments,
    module: Option<PathBuf>,
    envoy: Option<PathBuf>,
    mark: String,
    tally: Tally,
    failed: bool,
}

/// Sums over the result lines of the test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

// === impl Session ===

impl<'a> Session<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let mark = format!("{}", std::process::id());
        Self { arguments, module: None, envoy: None, mark, tally: Tally::default(), failed: false }
    }

    fn compile(&self) -> Result<()> {
        let status = self.cargo_test(&["--no-run".to_owned()]).status().context("cannot run cargo")?;
        if !status.success() {
            bail!("the tests do not compile");
        }
        Ok(())
    }

    fn test_with_envoy(&mut self, targets: &[String]) -> Result<()> {
        if targets.is_empty() {
            println!("    there are none");
            return Ok(());
        }
        self.test(&select(targets))
    }

    /// Runs what `selection` names, shows its output as it comes, and counts.
    fn test(&mut self, selection: &[String]) -> Result<()> {
        let mut command = self.cargo_test(selection);
        command.arg("--no-fail-fast").args(&self.arguments.filter).arg("--").args(&self.arguments.pass_through);
        if std::io::stdout().is_terminal() {
            command.arg("--color=always");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            // Locked for this line only: nothing else may be mixed into it.
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&line).and_then(|()| stdout.write_all(b"\n"))?;
            self.tally.read(&String::from_utf8_lossy(&line));
        }
        self.failed |= !child.wait()?.success();
        Ok(())
    }

    fn cargo_test(&self, selection: &[String]) -> Command {
        let mut command = cargo();
        command.args(["test", "--workspace"]).args(selection).stdin(Stdio::null()).env(leftovers::MARK, &self.mark);
        command.envs(self.module.as_ref().map(|path| ("SIDESPAN_WASM", path)));
        command.envs(self.envoy.as_ref().map(|path| ("ENVOY_BIN", path)));
        command
    }

    fn conclude(&self, steps: &Steps) -> Result<()> {
        let left = leftovers::end(&self.mark);
        if !left.is_empty() {
            println!("warning: the tests left these processes running, now ended: {}", left.join(", "));
        }
        let Tally { passed, failed, ignored } = self.tally;
        println!("==> {passed} passed, {failed} failed, {ignored} ignored, in {}", steps.elapsed());
        if self.failed {
            bail!("the tests failed");
        }
        if passed == 0 && self.arguments.filter.is_some() {
            bail!("no test has such a name");
        }
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        leftovers::end(&self.mark);
    }
}

// === impl Tally ===

impl Tally {
    /// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`; any other line says nothing.
    fn read(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in result.split(';') {
            let mut words = part.split_whitespace().rev();
            let (label, number) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()));
            match (label, number) {
                (Some("passed"), Some(number)) => self.passed += number,
                (Some("failed"), Some(number)) => self.failed += number,
                (Some("ignored"), Some(number)) => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// The names of the integration tests in the workspace, of whatever package.
fn integration_tests() -> Result<BTreeSet<String>> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed");
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let targets = array(&metadata["packages"]).flat_map(|package| array(&package["targets"]));
    let tests = targets.filter(|target| array(&target["kind"]).any(|kind| kind == "test"));
    Ok(tests.filter_map(|test| test["name"].as_str()).map(str::to_owned).collect())
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn select(targets: &[String]) -> Vec<String> {
    targets.iter().flat_map(|name| ["--test".to_owned(), name.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed_and_other_lines_ignored() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.31s",
            "test result: \u{1b}[31mFAILED\u{1b}[m. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
            "test says::7 passed; 3 failed ... ok",
            "running 5 tests",
            "test result: ",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 7, failed: 1, ignored: 1 });
    }
}
