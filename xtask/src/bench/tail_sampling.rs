//! CPU time of a mesh that keeps every error and 1 % of the rest. Either native tracers send every span to a collector with tail
//! sampling, or the filter decides in the proxies. Each approach has a mesh of its own, and one mesh has no tracing. The benchmark
//! checks the number of spans and that no span of a failing request is missing.

use super::cost::position_in_round;
use super::modules::Modules;
use super::summary::differences;
use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Plugin, Tracer};
use sidespan_harness::client::fire;
use sidespan_harness::collector::Pipeline;
use sidespan_harness::mesh::{Action, Forwarding, Mesh, PLAN, Plan, Service};
use sidespan_harness::receiver::Counter;
use sidespan_harness::{Collector, usage};
use std::path::Path;
use std::time::Duration;

/// Requests of a burst, and how many of them are concurrent.
const BURST: usize = 300;
const CONCURRENCY: usize = 8;
/// Wait after a burst: longer than `batch.delay` of the filter, so that a burst includes the cost of its exports.
const EXPORT_WAIT: Duration = Duration::from_millis(1_300);
/// Rounds that are not counted.
const WARM_UP_ROUNDS: usize = 2;
/// One of so many requests fails.
const FAIL_EVERY: usize = 100;
/// Percentage of traces without an error that are kept.
const REST_PERCENTAGE: f64 = 1.0;
/// Spans of a request: one of the gateway, two of each service, one of the last service, which calls no other.
const SPANS: f64 = 6.0;
/// Time for which the collector holds a trace (its default is 30 s).
const DECISION_WAIT: Duration = Duration::from_secs(10);
/// Wait at the end until all spans have arrived: a native tracer flushes every five seconds, the collector decides every second.
const FINAL_WAIT: Duration = Duration::from_secs(18);

/// The result of one approach.
pub(super) struct Measurement {
    /// Its name in the report.
    pub name: &'static str,
    /// CPU time of all proxies in microseconds per request, less that of the mesh without tracing, by round.
    pub added: Vec<f64>,
    /// CPU time of the collector in microseconds per request, less that of a collector that receives nothing.
    pub collector: f64,
    /// Spans per request that the receiver behind the collector received.
    pub spans: f64,
    /// Resident bytes of the collector at the end of the load.
    pub resident: f64,
    /// Whether the filter decides in the proxies.
    pub ours: bool,
}

/// How a mesh keeps every error and 1 % of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approach {
    Bare,
    /// The native tracer exports five spans at a time.
    TailSampling,
    /// It exports as many as sidespan.
    TailSamplingInBatches,
    Sidespan,
    /// The same filter as a dynamic module.
    SidespanModule,
}

/// All approaches. The others are compared with the first.
const APPROACHES: [Approach; 5] = [
    Approach::Bare,
    Approach::TailSampling,
    Approach::TailSamplingInBatches,
    Approach::Sidespan,
    Approach::SidespanModule,
];
/// Spans of a batch of sidespan (`exporter.batch.maxSpans`); the native tracer's own is 5.
const BATCH: u32 = 512;

/// A mesh with its collector and the receiver behind it.
struct MeshTestbed {
    mesh: Mesh,
    collector: Collector,
    receiver: Counter,
    requests: usize,
    /// Run time of the collector when it was ready.
    start_ns: u64,
}

/// Number of bursts, for the progress bar.
pub(super) fn bursts(rounds: usize) -> usize {
    APPROACHES.len() * (WARM_UP_ROUNDS + rounds)
}

/// Measures all approaches.
///
/// # Errors
/// If something cannot be started, a request is not answered as expected, or a span is missing.
pub(super) async fn measure(
    envoy: &Path,
    collector: &Path,
    modules: &Modules,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Vec<Measurement>> {
    ensure!(cfg!(target_os = "linux"), "the run time of processes can only be read on Linux");
    let mut testbeds = Vec::new();
    for approach in APPROACHES {
        testbeds.push(approach.start(envoy, collector, modules).await.with_context(|| approach.name())?);
    }
    let mut costs = vec![Vec::new(); APPROACHES.len()];
    for round in 0..WARM_UP_ROUNDS + rounds {
        for place in 0..APPROACHES.len() {
            let n = position_in_round(round, place, APPROACHES.len());
            let cost = testbeds[n].burst().await.with_context(|| APPROACHES[n].name())?;
            if round >= WARM_UP_ROUNDS {
                costs[n].push(cost);
            }
            bar.inc(1);
        }
    }
    let resident: Vec<_> = testbeds.iter().map(|testbed| usage::resident_bytes(testbed.collector.id())).collect();
    tokio::time::sleep(FINAL_WAIT).await;
    let mut tail_sampling = Vec::new();
    let mut idle = None;
    for (n, testbed) in testbeds.into_iter().enumerate() {
        let (collector, spans) = testbed.end(APPROACHES[n]).await.with_context(|| APPROACHES[n].name())?;
        let added = differences(&costs[n], &costs[0]);
        let resident = resident[n].context("the collector has gone")? as f64;
        let collector = collector - *idle.get_or_insert(collector);
        let ours = matches!(APPROACHES[n], Approach::Sidespan | Approach::SidespanModule);
        tail_sampling.push(Measurement { name: APPROACHES[n].name(), added, collector, spans, resident, ours });
    }
    Ok(tail_sampling)
}

// === impl Approach ===

impl Approach {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "no tracing",
            Self::TailSampling => "native OpenTelemetry 100 %, the collector samples tails",
            Self::TailSamplingInBatches => "the same, 512 spans in an export instead of 5",
            Self::Sidespan => "sidespan 1 %, error bias and whole path",
            Self::SidespanModule => "sidespan module 1 %, error bias and whole path",
        }
    }

    async fn start(self, envoy: &Path, collector: &Path, modules: &Modules) -> Result<MeshTestbed> {
        let receiver = Counter::start().await?;
        let pipeline = match self {
            Self::Bare | Self::Sidespan | Self::SidespanModule => Pipeline::Pass,
            Self::TailSampling | Self::TailSamplingInBatches => {
                Pipeline::TailSampling { wait: DECISION_WAIT, percentage: REST_PERCENTAGE }
            }
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
            Self::Sidespan => mesh.filter(filter(&modules.sidespan)),
            Self::SidespanModule => mesh.filter(filter(&modules.library)),
        };
        let mesh = mesh.start(envoy).await?;
        let start_ns = run_time(&collector)?;
        Ok(MeshTestbed { mesh, collector, receiver, requests: 0, start_ns })
    }

    /// Number of spans with an error status. None may be lost.
    fn failed_spans(self, requests: usize) -> u64 {
        if self == Self::Bare { 0 } else { (requests / FAIL_EVERY) as u64 * SPANS as u64 }
    }

    /// Number of spans that must be received after so many requests, and by how much it may differ (five standard errors).
    fn expected_spans(self, requests: usize) -> (f64, f64) {
        if self == Self::Bare {
            return (0.0, 0.0);
        }
        let drawn = (requests - requests / FAIL_EVERY) as f64 * REST_PERCENTAGE / 100.0;
        (self.failed_spans(requests) as f64 + SPANS * drawn, SPANS * (5.0 * drawn.sqrt() + 1.0))
    }
}

// === impl MeshTestbed ===

impl MeshTestbed {
    /// Sends a burst and returns the CPU time of all proxies in microseconds per request.
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
        tokio::time::sleep(EXPORT_WAIT).await;
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

    /// Stops the mesh. Returns the CPU time of the collector in microseconds, and the received spans, both per request.
    async fn end(self, approach: Approach) -> Result<(f64, f64)> {
        let spent =
            run_time(&self.collector)?.checked_sub(self.start_ns).context("a thread of the collector has ended")?;
        let received: u64 = self.receiver.spans()?.values().sum();
        let (expected, tolerance) = approach.expected_spans(self.requests);
        ensure!(
            (received as f64 - expected).abs() <= tolerance,
            "received {received} spans for {} requests, expected {expected:.0} ± {tolerance:.0}",
            self.requests
        );
        let (failed, expected) = (self.receiver.failed_spans(), approach.failed_spans(self.requests));
        ensure!(failed == expected, "received {failed} spans with errors, expected {expected}");
        self.mesh.quit().await?;
        let requests = self.requests as f64;
        Ok((spent as f64 / requests / 1e3, received as f64 / requests))
    }
}

fn filter(file: &Path) -> Plugin {
    Plugin::new(file).configuration(&json!({
        "exporter": {"otlp": {"cluster": "collector"}},
        "sampling": {"randomSamplingPercentage": REST_PERCENTAGE},
    }))
}

fn run_time(collector: &Collector) -> Result<u64> {
    usage::run_time_ns(collector.id()).context("the collector has gone")
}
