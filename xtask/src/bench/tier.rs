//! What it costs to keep every error and 1 % of the rest: native tracers that send everything to a collector which samples
//! tails, or the filter, which decides in the proxies. A mesh of its own for each, and one without tracing. The number of spans is
//! checked, and that no span of a failing request is missing.

use super::cost::turn;
use super::summary::differences;
use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Tracer, Wasm};
use sidespan_harness::client::fire;
use sidespan_harness::collector::Pipeline;
use sidespan_harness::mesh::{Action, Forwarding, Mesh, PLAN, Plan, Service};
use sidespan_harness::receiver::Counter;
use sidespan_harness::{Collector, usage};
use std::path::Path;
use std::time::Duration;

/// Requests of a burst, and how many of them are under way at once.
const BURST: usize = 300;
const CONCURRENCY: usize = 8;
/// After a burst: longer than the filter's batch waits, so that it pays for its exports itself.
const SETTLE: Duration = Duration::from_millis(1_300);
/// Rounds that only warm.
const WARM: usize = 2;
/// Every so many requests fail.
const FAIL_EVERY: usize = 100;
/// Percentage of traces without an error that are kept.
const REST: f64 = 1.0;
/// Gateway, three services, inbound and outbound; the last one calls nobody.
const SPANS: f64 = 6.0;
/// How long the collector holds a trace (its default is 30 s), and until what came last has gone everywhere: a native tracer
/// flushes every five seconds, and the collector decides once a second.
const WAIT: Duration = Duration::from_secs(10);
const REST_TIME: Duration = Duration::from_secs(18);

/// What one way came to.
pub struct Tier {
    /// Which one.
    pub name: &'static str,
    /// By round: microseconds of all proxies per request, over those of the mesh without tracing.
    pub added: Vec<f64>,
    /// Microseconds of the collector per request, over those of one that gets nothing.
    pub collector: f64,
    /// Spans that the receiver behind the collector got, per request.
    pub spans: f64,
    /// Resident bytes of the collector at the end of the load.
    pub resident: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bare,
    /// The native tracer exports five spans at a time.
    TailSampling,
    /// It exports as many as sidespan.
    TailSamplingInBatches,
    Sidespan,
}

/// The first is compared with, the last is ours.
const WAYS: [Way; 4] = [Way::Bare, Way::TailSampling, Way::TailSamplingInBatches, Way::Sidespan];
/// Spans of a batch of sidespan (`exporter.batch.maxSpans`); the native tracer's own is 5.
const BATCH: u32 = 512;

/// A mesh with all that it needs.
struct Stage {
    mesh: Mesh,
    collector: Collector,
    receiver: Counter,
    requests: usize,
    /// What the collector had spent when it was ready.
    start_ns: u64,
}

/// Steps of the progress bar.
pub fn bursts(rounds: usize) -> usize {
    WAYS.len() * (WARM + rounds)
}

/// Measures; the first is the one without tracing.
pub async fn measure(
    envoy: &Path,
    collector: &Path,
    module: &Path,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Vec<Tier>> {
    ensure!(cfg!(target_os = "linux"), "the run time of processes can only be read on Linux");
    let mut stages = Vec::new();
    for way in WAYS {
        stages.push(way.start(envoy, collector, module).await.with_context(|| way.name())?);
    }
    let mut costs = vec![Vec::new(); WAYS.len()];
    for round in 0..WARM + rounds {
        for place in 0..WAYS.len() {
            let n = turn(round, place, WAYS.len());
            let cost = stages[n].burst().await.with_context(|| WAYS[n].name())?;
            if round >= WARM {
                costs[n].push(cost);
            }
            bar.inc(1);
        }
    }
    let resident: Vec<_> = stages.iter().map(|stage| usage::resident_bytes(stage.collector.id())).collect();
    tokio::time::sleep(REST_TIME).await;
    let mut tiers = Vec::new();
    let mut idle = None;
    for (n, stage) in stages.into_iter().enumerate() {
        let (collector, spans) = stage.end(WAYS[n]).await.with_context(|| WAYS[n].name())?;
        let added = differences(&costs[n], &costs[0]);
        let resident = resident[n].context("the collector has gone")? as f64;
        let collector = collector - *idle.get_or_insert(collector);
        tiers.push(Tier { name: WAYS[n].name(), added, collector, spans, resident });
    }
    Ok(tiers)
}

// === impl Way ===

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "no tracing",
            Self::TailSampling => "native OpenTelemetry 100 %, the collector samples tails",
            Self::TailSamplingInBatches => "the same, 512 spans in an export instead of 5",
            Self::Sidespan => "sidespan 1 %, error bias and whole path",
        }
    }

    async fn start(self, envoy: &Path, collector: &Path, module: &Path) -> Result<Stage> {
        let receiver = Counter::start().await?;
        let pipeline = match self {
            Self::Bare | Self::Sidespan => Pipeline::Pass,
            Self::TailSampling | Self::TailSamplingInBatches => Pipeline::TailSampling { wait: WAIT, percentage: REST },
        };
        let collector = Collector::start(collector, pipeline, receiver.port()).await?;
        let service = |name: &str| Service::new(name, "shop").forwards(Forwarding::W3c);
        let mesh = Mesh::builder()
            .gateway("gateway", "frontend")
            .service(service("frontend").calls("backend", "/api/stock/4711"))
            .service(service("backend").calls("database", "/query/stock"))
            .service(service("database"))
            .bootstraps(move |_, bootstrap| {
                let bootstrap = bootstrap.log_level("warning");
                match self {
                    Self::TailSamplingInBatches => bootstrap.runtime("tracing.opentelemetry.min_flush_spans", BATCH),
                    _ => bootstrap,
                }
            })
            .cluster(Cluster::new("collector", collector.http_port()));
        let mesh = match self {
            Self::Bare => mesh,
            Self::TailSampling | Self::TailSamplingInBatches => mesh.listeners(|owner, listener| {
                let tracer = Tracer::OpenTelemetry { cluster: "collector".to_owned(), service: owner.to_owned() };
                listener.tracer(&tracer, 100.0)
            }),
            Self::Sidespan => mesh.filter(Wasm::new(module).configuration(&json!({
                "exporter": {"otlp": {"cluster": "collector"}},
                "sampling": {"randomSamplingPercentage": REST},
            }))),
        };
        let mesh = mesh.start(envoy).await?;
        let start_ns = run_time(&collector)?;
        Ok(Stage { mesh, collector, receiver, requests: 0, start_ns })
    }

    /// Each span of a failing request says so, and none is lost.
    fn failed_spans(self, requests: usize) -> u64 {
        if self == Self::Bare { 0 } else { (requests / FAIL_EVERY) as u64 * SPANS as u64 }
    }

    /// Spans that must have come after so many requests, and by how much that may differ (five standard errors).
    fn expected_spans(self, requests: usize) -> (f64, f64) {
        if self == Self::Bare {
            return (0.0, 0.0);
        }
        let drawn = (requests - requests / FAIL_EVERY) as f64 * REST / 100.0;
        (self.failed_spans(requests) as f64 + SPANS * drawn, SPANS * (5.0 * drawn.sqrt() + 1.0))
    }
}

// === impl Stage ===

impl Stage {
    /// Microseconds of all proxies per request.
    async fn burst(&mut self) -> Result<f64> {
        let before = self.proxies_ns()?;
        let (client, host, first) = (&self.mesh.client(), self.mesh.host(), self.requests);
        let answers = fire(BURST, CONCURRENCY, |k| async move {
            let failing = (first + k) % FAIL_EVERY == FAIL_EVERY / 2;
            let plan = if failing { Plan::new().with("database", Action::Status(503)) } else { Plan::new() };
            let plan = plan.to_string();
            let reply = client.get(host, "/checkout/4711", &[(PLAN, plan.as_str())]).await?;
            ensure!(reply.status.is_server_error() == failing, "answered with {}", reply.status);
            Ok(())
        })
        .await;
        answers.into_iter().collect::<Result<Vec<()>>>()?;
        self.requests += BURST;
        tokio::time::sleep(SETTLE).await;
        self.mesh.clear();
        let spent = self.proxies_ns()?.checked_sub(before).context("a thread of a proxy has ended")?;
        Ok(spent as f64 / BURST as f64 / 1e3)
    }

    fn proxies_ns(&self) -> Result<u64> {
        let times = self.mesh.envoys().map(|(name, envoy)| {
            usage::run_time_ns(envoy.id()).with_context(|| format!("the Envoy of {name} has gone"))
        });
        times.sum()
    }

    /// Microseconds of the collector, and spans behind it, per request.
    async fn end(self, way: Way) -> Result<(f64, f64)> {
        let spent =
            run_time(&self.collector)?.checked_sub(self.start_ns).context("a thread of the collector has ended")?;
        let came: u64 = self.receiver.spans()?.values().sum();
        let (expected, tolerance) = way.expected_spans(self.requests);
        ensure!(
            (came as f64 - expected).abs() <= tolerance,
            "{came} spans came for {} requests, expected {expected:.0} ± {tolerance:.0}",
            self.requests
        );
        let (failed, expected) = (self.receiver.failed_spans(), way.failed_spans(self.requests));
        ensure!(failed == expected, "{failed} spans of failures came, expected {expected}: an error was lost");
        self.mesh.quit().await?;
        let requests = self.requests as f64;
        Ok((spent as f64 / requests / 1e3, came as f64 / requests))
    }
}

fn run_time(collector: &Collector) -> Result<u64> {
    usage::run_time_ns(collector.id()).context("the collector has gone")
}
