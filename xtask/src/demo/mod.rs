//! `cargo xtask demo`: the first thing a visitor sees.
//!
//! It shows only what happened: spans are what the receiver decoded, the truth they are compared with is what Envoy's access
//! logs and the applications recorded, and what is said about the filter's books is read from Envoy's metrics.

mod account;
mod hop;
mod interrupt;
mod paper;
mod promise;
mod report;
mod settle;
mod stage;
mod traces;
mod traffic;
mod tree;
mod weight;
mod wire;

#[cfg(test)]
mod samples;

use crate::steps::Steps;
use crate::{build, envoy};
use account::{Account, Evidence};
use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use interrupt::Interrupt;
use paper::Paper;
use promise::Promise;
use serde_json::Value;
use sidespan_harness::provide;
use stage::Stage;
use std::fs;
use std::path::{Path, PathBuf};
use traffic::{GUEST_TRACE, Traffic};

/// What the demo can be told.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask demo                                        five seconds of traffic, then traces and the sampling account
  cargo xtask demo --seconds 30 --rate 400                more of it
  cp xtask/src/demo/config.json my.json                   a configuration to play with
  cargo xtask demo --config my.json --keep                tried, with the mesh left running")]
pub struct Arguments {
    /// How long to send traffic
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    seconds: f64,
    /// Requests a second
    #[arg(long, value_name = "R", default_value_t = 200.0)]
    rate: f64,
    /// A `pluginConfig` as JSON, instead of xtask/src/demo/config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the mesh running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// The configuration of the filter, unless another one is given.
const CONFIG: &str = include_str!("config.json");

/// Runs the demo.
///
/// # Errors
/// If anything cannot be had or started, or if what the configuration promises did not come true.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    let config = arguments.config()?;
    let mut steps = Steps::new(4);
    let module = steps.step("build the filter", module)?;
    let envoy = steps.step("provide an Envoy", || envoy::provide(None))?;
    let mut interrupt = Interrupt::listen()?;
    let stage = steps.step("start a gateway and three services, an Envoy process for each", || {
        interrupt.or(Stage::start(&envoy, &module, &config))
    })?;
    stage.warnings().iter().for_each(|warning| eprintln!("note: {warning}"));
    let (traffic, evidence, unsettled) =
        steps.step(&arguments.headline(), || interrupt.or(arguments.traffic(&stage)))?;
    let outcome = show(&stage, &config, &traffic, &evidence, unsettled)?;
    if arguments.keep {
        keep(&stage, &mut interrupt)?;
    }
    sidespan_harness::run(stage.mesh.quit())?;
    outcome
}

// === impl Arguments ===

impl Arguments {
    fn check(&self) -> Result<()> {
        ensure!(self.seconds > 0.0 && self.seconds <= 3600.0, "--seconds must be above 0 and at most 3600");
        ensure!(self.rate >= 1.0 && self.rate <= 10_000.0, "--rate must be from 1 to 10000");
        Ok(())
    }

    fn config(&self) -> Result<Value> {
        let Some(path) = &self.config else { return Ok(serde_json::from_str(CONFIG)?) };
        let text = fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
        let hint = "a pluginConfig as JSON is needed; start from a copy of xtask/src/demo/config.json";
        serde_json::from_str(&text).with_context(|| format!("--config {}: {hint}", path.display()))
    }

    fn headline(&self) -> String {
        format!("send {} requests a second for {} s; four of a hundred will fail", self.rate, self.seconds)
    }

    async fn traffic(&self, stage: &Stage) -> Result<(Traffic, Evidence, Option<String>)> {
        let total = ((self.seconds * self.rate) as usize).max(1);
        let bar = ProgressBar::new(total as u64);
        bar.set_style(ProgressStyle::with_template("    {bar:40} {pos}/{len} requests")?);
        let traffic = traffic::send(&stage.mesh, total, self.rate, |answered| bar.set_position(answered as u64)).await;
        bar.finish_and_clear();
        let (evidence, unsettled) = settle::evidence(stage, total).await?;
        Ok((traffic, evidence, unsettled))
    }
}

/// The module that `SIDESPAN_WASM` names, else what the sources say now.
fn module() -> Result<PathBuf> {
    match std::env::var_os("SIDESPAN_WASM").filter(|path| !path.is_empty()) {
        Some(path) => {
            println!("    nothing to build: SIDESPAN_WASM is {}", path.display());
            provide::module()
        }
        None => build::build_quietly(),
    }
}

/// Writes the report; the inner result is whether all is well.
fn show(
    stage: &Stage,
    config: &Value,
    traffic: &Traffic,
    evidence: &Evidence,
    unsettled: Option<String>,
) -> Result<Result<()>> {
    let promise = Promise::of(config).after_losses(account::Books::of(&evidence.metrics).lost());
    let mut account = Account::of(evidence, &promise);
    account.problems.extend(unsettled);
    account.problems.extend(unanswered(traffic));
    account
        .problems
        .extend(stage.receiver.errors().into_iter().map(|error| format!("an export was unreadable: {error}")));
    account.problems.extend(stage.traps());
    let head = format!("{} %", config["sampling"]["randomSamplingPercentage"].as_f64().unwrap_or(1.0));
    let journeys = hop::journeys(&evidence.passages);
    let mut paper = Paper::for_stdout();
    report::write_traces(&mut paper, &report::picks(&journeys, &evidence.spans, &head), &evidence.spans);
    if let Some(journey) = journeys.get(GUEST_TRACE) {
        report::write_headers(&mut paper, &wire::guest(&stage.mesh, journey)?);
    }
    report::write_account(&mut paper, &account, traffic, &head);
    report::write_verdict(&mut paper, &account.problems, promise.whole_path);
    let file = traces::write(&stage.receiver.exports())?;
    write_next_steps(&mut paper, &file);
    print!("{}", paper.take());
    Ok(match account.problems.len() {
        0 => Ok(()),
        n => Err(anyhow::anyhow!("{n} of the demo's checks failed, see above; Envoy's logs stay with HARNESS_KEEP=1")),
    })
}

fn unanswered(traffic: &Traffic) -> Option<String> {
    let first = traffic.unanswered.first()?;
    Some(format!("{} requests got no answer, such as: {first}", traffic.unanswered.len()))
}

fn write_next_steps(paper: &mut Paper, traces: &Path) {
    let here = std::env::current_dir().unwrap_or_default();
    let traces = traces.strip_prefix(&here).unwrap_or(traces).display();
    paper.title("Next", "");
    paper.line(&format!("see all traces    Jaeger UI → Search → Upload → {traces} (OTLP/JSON)"));
    paper.line("play with it      cp xtask/src/demo/config.json my.json, change it, cargo xtask demo --config my.json");
    paper.line("send your own     cargo xtask demo --keep leaves the mesh running and prints curl commands");
}

/// Waits for the end, and says what to do meanwhile.
fn keep(stage: &Stage, interrupt: &mut Interrupt) -> Result<()> {
    let (entry, host, mut paper) = (stage.mesh.entry(), stage.mesh.host(), Paper::for_stdout());
    let plan = sidespan_harness::mesh::PLAN;
    paper.title("The mesh keeps running until Ctrl-C", "");
    for (name, envoy) in stage.mesh.envoys() {
        let admin = format!("http://127.0.0.1:{}/stats?filter=sidespan", envoy.admin_port());
        paper.line(&format!("{name:10} {admin}   log and access logs in {}", envoy.directory().display()));
    }
    paper.line(&format!("\ncurl -i -H 'host: {host}' http://127.0.0.1:{entry}/checkout/1"));
    paper.line(&format!("  -H '{plan}: database=503'                  the database fails, the client sees 500"));
    paper.line(&format!("  -H '{plan}: database=503; backend=mask'    the backend hides it"));
    paper.line(&format!("  -H '{plan}: database=reset'                no answer at all"));
    paper.line("  -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'");
    paper.line("New spans are shown here as they arrive.");
    print!("{}", paper.take());
    sidespan_harness::run(async {
        drop(stage.receiver.take());
        tokio::select! {
            () = interrupt.come() => Ok(()),
            ended = show_arrivals(stage) => ended,
        }
    })
}

/// Never ends by itself.
async fn show_arrivals(stage: &Stage) -> Result<()> {
    let mut paper = Paper::for_stdout();
    let mut traces: Vec<(String, Vec<sidespan_harness::ReceivedSpan>)> = Vec::new();
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let arrived = stage.receiver.take();
        stage.mesh.clear();
        // What was there a round ago and did not grow is whole.
        let (grown, whole): (Vec<_>, Vec<_>) =
            traces.drain(..).partition(|(trace_id, _)| arrived.iter().any(|span| span.trace_id == *trace_id));
        for (trace_id, spans) in whole {
            paper.title(&format!("trace {trace_id}"), "");
            tree::write(&mut paper, &spans.iter().collect::<Vec<_>>());
        }
        print!("{}", paper.take());
        traces = grown;
        for span in arrived {
            match traces.iter_mut().find(|(trace_id, _)| *trace_id == span.trace_id) {
                Some((_, spans)) => spans.push(span),
                None => traces.push((span.trace_id.clone(), vec![span])),
            }
        }
    }
}
