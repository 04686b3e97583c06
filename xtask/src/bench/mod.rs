//! `cargo xtask bench`: measures what tracing costs in a real Envoy.

mod chart;
mod cost;
mod host_calls;
mod latency;
mod memory;
mod modules;
mod report;
mod scenario;
mod summary;
mod tail_sampling;
mod testbed;
mod variant;

use crate::steps::Steps;
use crate::{build, collector, envoy};
use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use modules::Modules;
use report::Report;
use scenario::Scenario;
use sidespan_harness::provide;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use variant::Variant;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench                                         everything; run nothing else on the machine meanwhile
  cargo xtask bench --scenario http1-10 --part cost         one scenario, to see the effect of a change
  cargo xtask bench --part cost --module before=old.wasm    another build of the module beside the current one
  cargo xtask bench --part host-calls                         what each host call costs")]
pub(crate) struct Arguments {
    /// Rounds over all listeners of the first scenario; the others have a third of them
    #[arg(long, value_name = "N", default_value_t = 60)]
    rounds: usize,
    /// Only scenarios whose name contains this, such as http2 or errors
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
    /// Only variants whose name contains one of these, and those that they are compared with
    #[arg(long, value_name = "TEXT")]
    variant: Vec<String>,
    /// Only these parts
    #[arg(long, value_name = "PART", value_enum)]
    part: Vec<Part>,
    /// Additional modules to compare
    #[arg(long, value_name = "NAME=PATH", value_parser = named_file)]
    module: Vec<(String, PathBuf)>,
    /// Additional configurations to compare: a pluginConfig as JSON
    #[arg(long, value_name = "NAME=PATH", value_parser = named_file)]
    config: Vec<(String, PathBuf)>,
    /// Do not compile an optimised client first; measure with this build
    #[arg(long)]
    unoptimised: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU time per request
    Cost,
    /// Latency at half load, and at 500 requests a second
    Latency,
    /// Memory of a worker
    Memory,
    /// What each host call costs
    HostCalls,
    /// CPU time of a mesh and its collector that keep every error and 1 % of the rest: with tail sampling, or with sidespan
    #[value(alias = "tier")]
    TailSampling,
    /// No measurement: put load on one variant after another, for a profiler. Runs only if named
    Load,
}

/// What all parts need.
struct Setting {
    envoy: PathBuf,
    /// `None` if no part needs it.
    collector: Option<PathBuf>,
    modules: Modules,
    variants: Vec<Variant>,
}

const PARTS: [Part; 5] = [Part::Cost, Part::Latency, Part::Memory, Part::HostCalls, Part::TailSampling];
/// A rate in requests a second at which a request meets an idle proxy, and its name.
const LOW_RATE: f64 = 500.0;
const LOW_LOAD: &str = "low load";
/// Fewer rounds give no useful result.
const MIN_ROUNDS: usize = 4;

/// Measures, prints a report and writes it, with a chart, to `target/bench/`.
///
/// # Errors
/// If something cannot be provided or started, a request is not answered as expected, or a variant makes another number of
/// spans than it should.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.rounds >= MIN_ROUNDS, "--rounds must be at least {MIN_ROUNDS}");
    let scenarios = arguments.scenarios()?;
    if cfg!(debug_assertions) && !arguments.unoptimised {
        return run_optimised();
    }
    let parts = if arguments.part.is_empty() { &PARTS[..] } else { &arguments.part };
    let with_collector = parts.contains(&Part::TailSampling);
    let mut steps = Steps::new(2 + usize::from(with_collector) + parts.len());
    let modules = steps.step("build the filter for both shells, and filters that do nothing", Modules::build)?;
    let envoy = steps.step("provide an Envoy", || envoy::provide(None))?;
    // Checked before the measurements, which can take an hour.
    let collector = match with_collector {
        true => Some(steps.step("provide an OpenTelemetry Collector", collector::provide)?),
        false => None,
    };
    let setting = Setting { envoy, collector, variants: arguments.variants(&modules)?, modules };
    let mut report = Report { machine: machine(), sizes: setting.modules.sizes()?, ..Report::default() };
    let folder = provide::target_dir().join("bench");
    fs::create_dir_all(&folder)?;
    for part in parts {
        steps.step(part.headline(), || part.measure(arguments, &setting, &scenarios, &mut report))?;
        // Written after each part, so that a failure of a later part loses nothing.
        fs::write(folder.join("report.md"), report.markdown())?;
    }
    if let Some(costs) = report.costs.first() {
        chart::write(costs, &folder.join("cost.svg"))?;
    }
    println!("\n{}", report.markdown());
    println!("Written to {}", folder.display());
    Ok(())
}

/// Runs the same command in an optimised build: a slow client would leave the proxy idle.
fn run_optimised() -> Result<()> {
    let arguments = std::env::args_os().skip(1);
    let mut command = build::cargo();
    command.args(["run", "--quiet", "--profile", "tools", "--package", "xtask", "--"]).args(arguments);
    eprintln!("compiling an optimised client ...");
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the benchmark did not finish");
    }
    Ok(())
}

// === impl Arguments ===

impl Arguments {
    fn scenarios(&self) -> Result<Vec<Scenario>> {
        let all = Scenario::all();
        let names: Vec<_> = all.iter().map(Scenario::name).collect();
        let wanted = |scenario: &Scenario| self.scenario.as_ref().is_none_or(|text| scenario.name().contains(text));
        let chosen: Vec<_> = all.into_iter().filter(wanted).collect();
        ensure!(!chosen.is_empty(), "--scenario: none of {} contains this text", names.join(", "));
        Ok(chosen)
    }

    fn variants(&self, modules: &Modules) -> Result<Vec<Variant>> {
        let mut variants = variant::all(modules, &self.module)?;
        for (name, file) in &self.config {
            variants.push(Variant::configured(name, &modules.sidespan, file)?);
        }
        let always = [variant::BASE, variant::NO_OP, variant::NO_OP_MODULE];
        if !self.variant.is_empty() {
            variants.retain(|variant| {
                always.contains(&&*variant.name) || self.variant.iter().any(|text| variant.name.contains(&**text))
            });
        }
        Ok(variants)
    }

    fn rounds_of(&self, place: usize) -> usize {
        if place == 0 { self.rounds } else { (self.rounds / 3).max(MIN_ROUNDS) }
    }
}

// === impl Part ===

impl Part {
    fn headline(self) -> &'static str {
        match self {
            Self::Cost => "measure CPU time per request",
            Self::Latency => "measure latency at half load and at a low rate",
            Self::Memory => "measure the memory of a worker",
            Self::HostCalls => "measure what a host call costs",
            Self::TailSampling => "measure a mesh with its collector, keeping every error",
            Self::Load => "load one variant after another",
        }
    }

    fn measure(
        self,
        arguments: &Arguments,
        setting: &Setting,
        scenarios: &[Scenario],
        report: &mut Report,
    ) -> Result<()> {
        let Setting { envoy, collector, modules, variants } = setting;
        match self {
            Self::Cost => {
                for (place, scenario) in scenarios.iter().enumerate() {
                    let rounds = arguments.rounds_of(place);
                    let bar = bar(scenario.title(), variants.len() * (rounds + cost::WARM_UP_ROUNDS));
                    report.costs.push(on_one_thread(cost::measure(envoy, *scenario, variants, rounds, &bar))?);
                    bar.finish_and_clear();
                }
            }
            Self::Latency => {
                let names = [variant::BASE.to_owned(), variant::NO_OP.to_owned()];
                let tracers = |rate| [variant::native(rate), variant::sidespan(rate), variant::dynamic_module(rate)];
                let names: Vec<_> = names.into_iter().chain([100.0, 1.0].into_iter().flat_map(tracers)).collect();
                let all = variant::all(modules, &[])?;
                let compared: Vec<_> = all.into_iter().filter(|variant| names.contains(&variant.name)).collect();
                let base = [Variant::clone(&compared[0])];
                let warm = bar("what a request costs".to_owned(), MIN_ROUNDS + cost::WARM_UP_ROUNDS);
                let cost = on_one_thread(cost::measure(envoy, Scenario::MAIN, &base, MIN_ROUNDS, &warm))?;
                let cost_us = cost.row(variant::BASE).context("the variant without tracing is missing")?.total.median;
                for (load, rate) in [("half load", latency::half_load(cost_us)), (LOW_LOAD, LOW_RATE)] {
                    let bar = bar(load.to_owned(), compared.len() * arguments.rounds / 2);
                    let measured = latency::measure(envoy, &compared, rate, arguments.rounds / 2, &bar);
                    report.latencies.push((load, on_one_thread(measured)?));
                    bar.finish_and_clear();
                }
            }
            Self::Memory => report.memory = Some(on_one_thread(memory::measure(envoy, modules))?),
            Self::HostCalls => {
                let rounds = arguments.rounds_of(1);
                let bar = bar("host calls".to_owned(), host_calls::bursts(rounds));
                report.host_calls = on_one_thread(host_calls::measure(envoy, modules, rounds, &bar))?;
                bar.finish_and_clear();
            }
            Self::TailSampling => {
                let rounds = arguments.rounds_of(1);
                let bar = bar("meshes".to_owned(), tail_sampling::bursts(rounds));
                let collector = collector.as_ref().context("no collector was provided")?;
                report.tail_sampling = on_one_thread(tail_sampling::measure(envoy, collector, modules, rounds, &bar))?;
                bar.finish_and_clear();
            }
            Self::Load => on_one_thread(load(envoy, scenarios[0], variants, arguments.rounds))?,
        }
        Ok(())
    }
}

/// Prints the thread of the worker and keeps it busy with one variant after another.
async fn load(envoy: &Path, scenario: Scenario, variants: &[Variant], rounds: usize) -> Result<()> {
    for variant in variants {
        let mut testbed = testbed::Testbed::start(envoy, scenario, std::slice::from_ref(variant)).await?;
        println!("{}: process {}, worker {}", variant.name, testbed.envoy.id(), testbed.worker.thread());
        let before = testbed.worker.run_time_ns();
        for _ in 0..rounds {
            testbed.burst(0, 2_000).await?;
        }
        let spent = testbed.worker.run_time_ns().zip(before).map_or(0, |(after, before)| after - before);
        println!("  {:.1} µs per request", spent as f64 / (rounds as f64 * 2e6));
        testbed.end().await?;
    }
    Ok(())
}

/// Runs client, application and receiver on one thread, so that another processor is left to the proxy.
fn on_one_thread<T>(measure: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure)
}

fn bar(title: String, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let style = ProgressStyle::with_template("    {msg} {bar:30} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(title);
    bar
}

/// Processors and operating system; nothing that identifies the machine.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    format!("{processors} processors ({model}), {}.", std::env::consts::OS)
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("give NAME=PATH, such as before=old.wasm or mine=my.json")?;
    let path = PathBuf::from(path);
    if path.is_file() { Ok((name.to_owned(), path)) } else { Err(format!("{} is not a file", path.display())) }
}
