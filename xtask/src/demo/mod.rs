//! `cargo xtask demo`: starts a mesh, sends traffic, and reports traces and the sampling account.
//!
//! It shows only observed facts: spans that the receiver decoded, Envoy's access logs, headers that the applications recorded,
//! and the filter's metrics from Envoy.

pub(crate) mod access_log;
mod account;
mod adjusted_count;
mod collect;
pub(crate) mod demo_mesh;
mod guarantees;
mod header_path;
pub(crate) mod hop;
pub(crate) mod interrupt;
mod report;
pub(crate) mod source;
pub(crate) mod styled_text;
mod trace_context;
mod trace_tree;
mod traces_file;
mod traffic;

#[cfg(test)]
mod test_data;

use crate::envoy;
use crate::shell::{self, ShellOption};
use crate::steps::Steps;
use account::{Account, Observations};
use anyhow::{Context as _, Result, ensure};
use demo_mesh::DemoMesh;
use guarantees::Guarantees;
use indicatif::{ProgressBar, ProgressStyle};
use interrupt::Interrupt;
use serde_json::Value;
use sidespan_harness::Receiver;
use sidespan_harness::client::Client;
use source::Source;
use std::fs;
use std::path::{Path, PathBuf};
use styled_text::StyledText;
use traffic::{B3_CLIENT_TRACE, Traffic};

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask demo                                        five seconds of traffic, traces and the sampling account
  cargo xtask demo --seconds 30 --rate 400                more traffic
  cargo xtask demo --shell module                         the same filter as a dynamic module
  cp xtask/src/demo/config.json my.json                   a configuration to edit
  cargo xtask demo --config my.json --keep                run it, and leave the mesh running")]
pub(crate) struct Arguments {
    #[command(flatten)]
    volume: Volume,
    #[command(flatten)]
    shell: ShellOption,
    /// A `pluginConfig` as JSON, instead of xtask/src/demo/config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the mesh running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// How much traffic.
#[derive(clap::Args)]
pub(crate) struct Volume {
    /// How long to send traffic
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    seconds: f64,
    /// Requests a second
    #[arg(long, value_name = "R", default_value_t = 200.0)]
    rate: f64,
}

/// The configuration of the filter, unless another one is given.
const CONFIG: &str = include_str!("config.json");

/// Runs the demo.
///
/// # Errors
/// If something cannot be provided or started, or if a check fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.volume.check()?;
    let (config, shell) = (arguments.config()?, arguments.shell.chosen()?);
    let mut steps = Steps::new(4);
    let module = steps.step("build the filter", || shell::filter(shell))?;
    let envoy = steps.step("provide an Envoy", || envoy::provide(None))?;
    let mut interrupt = Interrupt::listen()?;
    let demo = steps.step("start a gateway and three services, an Envoy process for each", || {
        interrupt.run_unless_interrupted(DemoMesh::start(&envoy, &module, &config))
    })?;
    demo.warnings().iter().for_each(|warning| eprintln!("note: {warning}"));
    let (traffic, observations, incomplete) = steps.step(&arguments.volume.headline(), || {
        let client = demo.mesh.client();
        let sent = send(&arguments.volume, &client, demo.mesh.host(), &demo);
        interrupt.run_unless_interrupted(sent)
    })?;
    let (outcome, traces) = show(&demo, &config, &traffic, &observations, incomplete)?;
    print_next_steps(&traces);
    if arguments.keep {
        keep(&demo, &mut interrupt)?;
    }
    sidespan_harness::run(demo.mesh.quit())?;
    outcome
}

// === impl Arguments ===

impl Arguments {
    fn config(&self) -> Result<Value> {
        let Some(path) = &self.config else { return Ok(serde_json::from_str(CONFIG)?) };
        let text = fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
        let hint = "a pluginConfig as JSON is needed; start from a copy of xtask/src/demo/config.json";
        serde_json::from_str(&text).with_context(|| format!("--config {}: {hint}", path.display()))
    }
}

// === impl Volume ===

impl Volume {
    /// # Errors
    /// If a number is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.seconds > 0.0 && self.seconds <= 3600.0, "--seconds must be above 0 and at most 3600");
        ensure!(self.rate >= 1.0 && self.rate <= 10_000.0, "--rate must be from 1 to 10000");
        Ok(())
    }

    /// The headline of the step that sends it.
    pub(crate) fn headline(&self) -> String {
        format!("send {} requests a second for {} s; four of a hundred will fail", self.rate, self.seconds)
    }
}

/// Sends the traffic and collects the observations; the last part is what has not arrived in time.
///
/// # Errors
/// If metrics or access logs cannot be read.
pub(crate) async fn send(
    volume: &Volume,
    client: &Client,
    host: &str,
    source: &impl Source,
) -> Result<(Traffic, Observations, Option<String>)> {
    let total = ((volume.seconds * volume.rate) as usize).max(1);
    let bar = ProgressBar::new(total as u64);
    bar.set_style(ProgressStyle::with_template("    {bar:40} {pos}/{len} requests")?);
    let progress = |answered| bar.set_position(answered as u64);
    let traffic = traffic::send(client, host, total, volume.rate, progress).await;
    bar.finish_and_clear();
    let (observations, incomplete) = collect::when_complete(source, total).await?;
    Ok((traffic, observations, incomplete))
}

/// Prints the report. Returns an error if a check failed, and the file with all traces.
///
/// # Errors
/// If the mesh cannot be asked, or the file cannot be written.
pub(crate) fn show(
    source: &impl Source,
    config: &Value,
    traffic: &Traffic,
    observations: &Observations,
    incomplete: Option<String>,
) -> Result<(Result<()>, PathBuf)> {
    let guarantees = Guarantees::of(config).after_losses(account::SpanBalance::of(&observations.metrics).lost());
    let mut account = Account::of(observations, &guarantees);
    account.problems.extend(incomplete);
    account.problems.extend(unanswered(traffic));
    account
        .problems
        .extend(source.receiver().errors().into_iter().map(|error| format!("an export was unreadable: {error}")));
    account.problems.extend(source.traps());
    let head = format!("{} %", config["sampling"]["randomSamplingPercentage"].as_f64().unwrap_or(1.0));
    let traces = access_log::by_trace(&observations.entries);
    let mut out = StyledText::for_stdout();
    report::write_traces(&mut out, &report::examples(&traces, &observations.spans, &head), &observations.spans);
    if let Some(entries) = traces.get(B3_CLIENT_TRACE) {
        report::write_headers(&mut out, &header_path::of_b3_client(source, entries)?);
    }
    report::write_account(&mut out, &account, traffic, &head);
    report::write_verdict(&mut out, &account.problems, guarantees.whole_path);
    let file = traces_file::write(&source.receiver().exports())?;
    print!("{}", out.take());
    let outcome = match account.problems.len() {
        0 => Ok(()),
        n => Err(anyhow::anyhow!("{n} checks of the demo failed, see above; HARNESS_KEEP=1 keeps Envoy's logs")),
    };
    Ok((outcome, file))
}

fn unanswered(traffic: &Traffic) -> Option<String> {
    let first = traffic.unanswered.first()?;
    Some(format!("{} requests got no answer, such as: {first}", traffic.unanswered.len()))
}

fn print_next_steps(traces: &Path) {
    let mut out = StyledText::for_stdout();
    let here = std::env::current_dir().unwrap_or_default();
    let traces = traces.strip_prefix(&here).unwrap_or(traces).display();
    out.title("Next", "");
    out.line(&format!("see all traces    Jaeger UI → Search → Upload → {traces} (OTLP/JSON)"));
    out.line("change it         cp xtask/src/demo/config.json my.json, change it, cargo xtask demo --config my.json");
    out.line("send your own     cargo xtask demo --keep leaves the mesh running and prints curl commands");
    print!("{}", out.take());
}

/// Prints how to use the running mesh, and waits for an interrupt.
fn keep(demo: &DemoMesh, interrupt: &mut Interrupt) -> Result<()> {
    let (entry, host, mut out) = (demo.mesh.entry(), demo.mesh.host(), StyledText::for_stdout());
    let plan = sidespan_harness::mesh::PLAN;
    out.title("The mesh keeps running until Ctrl-C", "");
    for (name, envoy) in demo.mesh.envoys() {
        let admin = format!("http://127.0.0.1:{}/stats?filter=sidespan", envoy.admin_port());
        out.line(&format!("{name:10} {admin}   log and access logs in {}", envoy.directory().display()));
    }
    out.line(&format!("\ncurl -i -H 'host: {host}' http://127.0.0.1:{entry}/checkout/1"));
    out.line(&format!("  -H '{plan}: database=503'                  the database fails, the client sees 500"));
    out.line(&format!("  -H '{plan}: database=503; backend=mask'    the backend hides it"));
    out.line(&format!("  -H '{plan}: database=reset'                no answer at all"));
    out.line("  -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'");
    out.line("New spans are shown here as they arrive.");
    print!("{}", out.take());
    sidespan_harness::run(async {
        drop(demo.receiver.take());
        tokio::select! {
            () = interrupt.wait() => Ok(()),
            ended = show_arrivals(&demo.receiver, || demo.mesh.clear()) => ended,
        }
    })
}

/// Prints each trace when it is complete; ends only with an error. Calls `clear` in each round.
pub(crate) async fn show_arrivals(receiver: &Receiver, clear: impl Fn()) -> Result<()> {
    let mut out = StyledText::for_stdout();
    let mut traces: Vec<(String, Vec<sidespan_harness::ReceivedSpan>)> = Vec::new();
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let arrived = receiver.take();
        clear();
        // A trace that did not grow since the last round is complete.
        let (grown, whole): (Vec<_>, Vec<_>) =
            traces.drain(..).partition(|(trace_id, _)| arrived.iter().any(|span| span.trace_id == *trace_id));
        for (trace_id, spans) in whole {
            out.title(&format!("trace {trace_id}"), "");
            trace_tree::write(&mut out, &spans.iter().collect::<Vec<_>>());
        }
        print!("{}", out.take());
        traces = grown;
        for span in arrived {
            match traces.iter_mut().find(|(trace_id, _)| *trace_id == span.trace_id) {
                Some((_, spans)) => spans.push(span),
                None => traces.push((span.trace_id.clone(), vec![span])),
            }
        }
    }
}
