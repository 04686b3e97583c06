//! `cargo xtask test`: runs all tests.

mod leftovers;
mod programs;
mod run;
mod wasm_only;

use crate::build::cargo;
use crate::demo::picture;
use crate::go::Display;
use crate::shell::{self, ShellOption};
use crate::steps::Steps;
use crate::{collector, envoy, istio, prometheus};
use anyhow::{Result, bail};
use programs::Program;
use run::Tally;
use sidespan_harness::provide::{SHELL, Shell, example_programs};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                                  everything
  cargo xtask test --no-envoy --filter tracestate   the tests whose name contains `tracestate`, without a real Envoy
  cargo xtask test --istio --filter images::         those about images and registries under a real Istio
  cargo xtask test --prometheus --filter alert      those about the alert rules, with a real Prometheus
  cargo xtask test --shell module                   the tests in a real Envoy with the dynamic module
  cargo xtask test -- --nocapture                   show what the tests print")]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Leave out the tests that need a real Envoy and the module
    #[arg(long)]
    no_envoy: bool,
    /// Leave out the tests with programs that are built with Go: the OpenTelemetry Collector, func-e, Compose's loader
    #[arg(long)]
    no_collector: bool,
    /// Also run the tests under a real Istio control plane, which need Go
    #[arg(long, conflicts_with = "no_envoy")]
    istio: bool,
    /// Also run the tests of dashboard and alert rules with a real Prometheus, which need Go
    #[arg(long, conflicts_with = "no_envoy")]
    prometheus: bool,
    /// Also run the test of the demo's page in a real browser, which needs Chromium
    #[arg(long, conflicts_with = "no_envoy")]
    browser: bool,
    /// With `module`, only the tests that load the filter into a real Envoy are run: the others are the same for both
    #[command(flatten)]
    shell: ShellOption,
    /// Envoy to test with, such as 1.36.4 (see `cargo xtask envoy --help`)
    #[arg(long = "envoy", value_name = "V", conflicts_with = "no_envoy")]
    envoy_version: Option<String>,
    /// Passed to the test programs as they are
    #[arg(last = true, value_name = "ARGUMENTS")]
    pass_through: Vec<String>,
}

/// Provides what the tests need, runs every kind of test even if one fails, and prints a summary.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let shell = arguments.shell.chosen()?;
    if shell == Shell::Module && (arguments.no_envoy || arguments.istio || arguments.prometheus || arguments.browser) {
        bail!("--shell module runs only tests in a real Envoy; the others are run without it");
    }
    let with_collector = !arguments.no_envoy && !arguments.no_collector;
    let mut steps = Steps::new(match (arguments.no_envoy, shell) {
        (true, _) => 3,
        (false, Shell::Module) => 4 + 2 * usize::from(with_collector),
        (false, Shell::Wasm) => {
            let options = usize::from(arguments.istio) + usize::from(arguments.prometheus);
            6 + 2 * usize::from(with_collector) + 2 * options + usize::from(arguments.browser)
        }
    });
    let mut session = Session::new(arguments, shell);
    session.browser = arguments.browser.then(picture::browser).transpose()?;
    if !arguments.no_envoy {
        steps.step("build the filter", || session.build())?;
        session.envoy = Some(steps.step("provide an Envoy", || session.provide_envoy())?);
    }
    if with_collector {
        session.collector = Some(steps.step("provide an OpenTelemetry Collector", collector::provide)?);
        steps.step("provide func-e and the loader of compose files", provide_example_programs)?;
    }
    if arguments.istio {
        steps.step("provide Kubernetes' API server, Istio and a registry", istio::provide)?;
    }
    if arguments.prometheus {
        steps.step("provide Prometheus", prometheus::provide)?;
    }
    let programs = steps.step("compile the tests", programs::compile)?;
    let (istio, programs): (Vec<_>, Vec<_>) = programs.into_iter().partition(Program::needs_istio);
    let (prometheus, programs): (Vec<_>, Vec<_>) = programs.into_iter().partition(Program::needs_prometheus);
    let (browser, programs): (Vec<_>, Vec<_>) = programs.into_iter().partition(Program::needs_browser);
    let (mut envoy, native): (Vec<_>, Vec<_>) = programs.into_iter().partition(Program::needs_envoy);
    match shell {
        Shell::Wasm => {
            steps.step("unit, property, in-process host and simulation tests", || session.run_all(&native))?;
            steps.step("examples in the documentation", || session.run_documentation())?;
            envoy.retain(|program| !program.is_about_dynamic_module());
        }
        Shell::Module => envoy.retain(Program::loads_dynamic_module),
    }
    if !arguments.no_envoy {
        steps.step("real Envoy", || session.run_all(&envoy))?;
    }
    if arguments.prometheus {
        steps.step("real Prometheus", || session.run_all(&prometheus))?;
    }
    if arguments.browser {
        steps.step("real browser", || session.run_all(&browser))?;
    }
    if arguments.istio {
        steps.step("real Istio", || session.run_all(&istio))?;
    }
    session.conclude(&steps)
}

/// The tests find them by themselves: they are in the cache afterwards.
fn provide_example_programs() -> Result<()> {
    let display = Display::new("func-e and the loader of compose files", "a minute", 250);
    display.finish(example_programs(|progress| display.show(progress)))?;
    Ok(())
}

/// One run: what the tests are given, and their results.
struct Session<'a> {
    arguments: &'a Arguments,
    shell: Shell,
    /// The environment variables that name the built filters.
    filters: BTreeMap<&'static str, PathBuf>,
    envoy: Option<PathBuf>,
    collector: Option<PathBuf>,
    browser: Option<PathBuf>,
    /// Marks the processes of this run; see [`leftovers`].
    mark: String,
    tally: Tally,
    /// Labels of what failed, for the summary.
    failures: Vec<String>,
}

// === impl Session ===

impl<'a> Session<'a> {
    fn new(arguments: &'a Arguments, shell: Shell) -> Self {
        let mark = std::process::id().to_string();
        Self {
            arguments,
            shell,
            filters: BTreeMap::new(),
            envoy: None,
            collector: None,
            browser: None,
            mark,
            tally: Tally::default(),
            failures: Vec::new(),
        }
    }

    /// Builds the filter of this shell. Tests of the benchmark and under Istio also need the dynamic module.
    fn build(&mut self) -> Result<()> {
        let shells = if self.shell == Shell::Module { &[Shell::Module][..] } else { &Shell::ALL };
        for shell in shells {
            self.filters.insert(shell.variable(), shell::build(*shell)?);
        }
        Ok(())
    }

    fn provide_envoy(&self) -> Result<PathBuf> {
        let path = envoy::provide(self.arguments.envoy_version.as_deref())?;
        println!("{}", path.display());
        Ok(path)
    }

    fn run_all(&mut self, programs: &[Program]) -> Result<()> {
        if programs.is_empty() {
            println!("no tests of this kind");
        }
        programs.iter().try_for_each(|program| {
            println!("--- {}", program.label);
            let mut command = program.command();
            command.args(&self.arguments.filter);
            if !program.is_benchmark() {
                command.args(&self.arguments.pass_through);
            }
            if self.arguments.no_collector && program.needs_envoy() {
                command.args(["--skip", "collector::"]);
            }
            if self.shell == Shell::Module && program.has_tests_of_the_filter() {
                for (test, reason) in wasm_only::tests() {
                    println!("skipped: {test}: {reason}");
                    command.args(["--skip", test]);
                }
            }
            self.run_one(command, &program.label)
        })
    }

    /// Documentation tests, which only cargo can run. The probe is compiled for wasm only and has none; cargo would warn of that.
    fn run_documentation(&mut self) -> Result<()> {
        let mut command = cargo();
        command
            .args(["test", "--workspace", "--exclude", "sidespan-probe", "--doc", "--no-fail-fast"])
            .args(&self.arguments.filter)
            .arg("--");
        command.args(&self.arguments.pass_through);
        self.run_one(command, "examples in the documentation")
    }

    fn run_one(&mut self, mut command: Command, label: &str) -> Result<()> {
        if std::io::stdout().is_terminal() {
            command.arg("--color=always");
        }
        command.env(leftovers::MARK, &self.mark);
        command.env(SHELL, self.shell.word()).envs(&self.filters);
        command.envs(self.envoy.as_ref().map(|path| ("ENVOY_BIN", path)));
        command.envs(self.collector.as_ref().map(|path| ("COLLECTOR_BIN", path)));
        command.envs(self.browser.as_ref().map(|path| ("CHROMIUM_BIN", path)));
        let outcome = run::run(&mut command, &mut self.tally, || leftovers::end(&self.mark))?;
        if !outcome.left_running.is_empty() {
            println!("warning: {label} left these running, now ended: {}", outcome.left_running.join(", "));
        }
        if !outcome.success {
            self.failures.push(label.to_owned());
        }
        Ok(())
    }

    fn conclude(&self, steps: &Steps) -> Result<()> {
        let Tally { passed, failed, ignored } = self.tally;
        println!("==> {passed} passed, {failed} failed, {ignored} ignored, in {}", steps.elapsed());
        if !self.failures.is_empty() {
            bail!("failed: {}", self.failures.join(", "));
        }
        match &self.arguments.filter {
            Some(filter) if passed == 0 => bail!("no test name contains {filter:?}"),
            _ => Ok(()),
        }
    }
}
