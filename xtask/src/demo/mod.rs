//! `cargo xtask demo`: starts a mesh, sends traffic, and reports traces and the sampling account, as text and as a page.
//!
//! It shows only observed facts: spans that the receiver decoded, Envoy's access logs, headers that the applications recorded,
//! and the filter's metrics from Envoy.

pub(crate) mod access_log;
mod account;
mod adjusted_count;
mod beside;
mod collect;
mod config_file;
pub(crate) mod demo_mesh;
mod examples;
mod guarantees;
mod header_path;
pub(crate) mod hop;
pub(crate) mod interrupt;
mod keep;
mod page;
pub(crate) mod picture;
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
use anyhow::{Result, ensure};
use demo_mesh::DemoMesh;
use guarantees::Guarantees;
use header_path::Exchanges;
use indicatif::{ProgressBar, ProgressStyle};
use interrupt::Interrupt;
use report::Files;
use serde_json::Value;
use sidespan_harness::Receiver;
use sidespan_harness::client::Client;
use source::Source;
use std::path::PathBuf;
use styled_text::StyledText;
use traffic::Traffic;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "The page is target/demo/index.html.

Examples:
  cargo xtask demo                                        five seconds of traffic, a trace and the sampling account
  cargo xtask demo --seconds 30 --rate 400                more traffic
  cargo xtask demo --shell module                         the same filter as a dynamic module
  cp xtask/src/demo/config.json my.json                   a configuration to edit
  cargo xtask demo --config my.json --keep                run it, and leave the mesh running
  cargo xtask demo --config wasmplugin.yaml               the configuration of a WasmPlugin
  cargo xtask demo --picture docs                         write docs/demo.png and docs/demo-dark.png")]
pub(crate) struct Arguments {
    #[command(flatten)]
    volume: Volume,
    #[command(flatten)]
    shell: ShellOption,
    /// A WasmPlugin or a `pluginConfig` as YAML or JSON, instead of xtask/src/demo/config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the mesh running until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Write pictures of the page's top into this folder: demo.png (light) and demo-dark.png; needs Chromium
    #[arg(long, value_name = "FOLDER")]
    picture: Option<PathBuf>,
    /// Beside Envoy's own tracer at 1 % (nativeTracer: adopt): which of the two exported which span
    #[arg(long, conflicts_with_all = ["config", "keep", "picture"])]
    beside: bool,
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

/// Runs the demo.
///
/// # Errors
/// If something cannot be provided or started, or if a check fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.volume.check()?;
    let shell = arguments.shell.chosen()?;
    if arguments.beside {
        let volume = &arguments.volume;
        let send = async |demo: &DemoMesh| send(volume, &demo.mesh.client(), demo.mesh.host(), demo).await;
        return beside::run(&volume.headline(), || shell::filter(shell), send);
    }
    let config = config_file::read(arguments.config.as_deref())?;
    // What is missing is said before anything starts.
    let browser = arguments.picture.is_some().then(picture::browser).transpose()?;
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
    let (outcome, files) = show(&demo, &config, &traffic, &observations, incomplete)?;
    if let (Some(browser), Some(folder)) = (&browser, &arguments.picture) {
        picture::write(browser, &files.page, folder)?;
    }
    if arguments.keep {
        keep::keep(&demo, &mut interrupt)?;
    }
    sidespan_harness::run(demo.mesh.quit())?;
    outcome
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

/// Prints the report and writes the page. Returns an error if a check failed, and the files that were written.
///
/// # Errors
/// If the mesh cannot be asked, or a file cannot be written.
pub(crate) fn show(
    source: &impl Source,
    config: &Value,
    traffic: &Traffic,
    observations: &Observations,
    incomplete: Option<String>,
) -> Result<(Result<()>, Files)> {
    let guarantees = Guarantees::of(config).after_losses(account::SpanBalance::of(&observations.metrics).lost());
    let mut account = Account::of(observations, &guarantees);
    account.problems.extend(incomplete);
    account.problems.extend(unanswered(traffic));
    account
        .problems
        .extend(source.receiver().errors().into_iter().map(|error| format!("an export was unreadable: {error}")));
    account.problems.extend(source.traps());
    let head = config["sampling"]["randomSamplingPercentage"].as_f64().unwrap_or(1.0);
    let traces = access_log::by_trace(&observations.entries);
    let examples = examples::choose(&traces, &observations.spans, head);
    let exchanges = Exchanges::of(source, &observations.entries)?;
    let checked = report::checked(guarantees.whole_path);
    let facts = page::Facts {
        observations,
        traffic,
        exchanges: &exchanges,
        account: &account,
        examples: &examples,
        head,
        checked,
        config,
    };
    let files =
        Files { page: page::Page::of(&facts).write()?, traces: traces_file::write(&source.receiver().exports())? };
    let mut out = StyledText::for_stdout();
    report::write_trace(&mut out, &examples);
    report::write_account(&mut out, &account, traffic, head);
    report::write_verdict(&mut out, &account.problems, checked);
    report::write_files(&mut out, &files);
    print!("{}", out.take());
    let outcome = match account.problems.len() {
        0 => Ok(()),
        n => Err(anyhow::anyhow!("{n} checks of the demo failed, see above; HARNESS_KEEP=1 keeps Envoy's logs")),
    };
    Ok((outcome, files))
}

fn unanswered(traffic: &Traffic) -> Option<String> {
    let first = traffic.unanswered.first()?;
    Some(format!("{} requests got no answer, such as: {first}", traffic.unanswered.len()))
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
