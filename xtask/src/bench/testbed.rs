//! The test bed of a scenario: one Envoy with one worker and a listener for each variant, an application, and a receiver that
//! counts spans.

use super::scenario::{FAILING, Scenario};
use super::variant::Variant;
use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use sidespan_harness::Envoy;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Node};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::receiver::Counter;
use sidespan_harness::server::{Answer, Server, full};
use sidespan_harness::usage::Worker;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Concurrent requests.
const CONCURRENCY: usize = 16;

/// The running processes and servers, and the client of each listener.
pub(super) struct Testbed {
    /// The proxy.
    pub envoy: Envoy,
    /// Its only worker.
    pub worker: Worker,
    /// Counts the spans.
    pub receiver: Counter,
    _app: Server,
    listeners: Vec<Target>,
    scenario: Scenario,
    headers: HeaderMap,
}

/// The listener of a variant, as the client uses it.
struct Target {
    variant: Variant,
    name: String,
    client: Client,
    requests: u64,
    failed: u64,
}

// === impl Testbed ===

impl Testbed {
    /// Starts everything.
    ///
    /// # Errors
    /// If Envoy or a server cannot be started, or if the system does not tell the run time of threads.
    pub(super) async fn start(envoy: &Path, scenario: Scenario, variants: &[Variant]) -> Result<Self> {
        let app = Server::start(answer).await?;
        let receiver = Counter::start().await?;
        let upstream = Cluster::new("app", app.port());
        let mut bootstrap = Bootstrap::new(Node::sidecar("orders", "shop"))
            .concurrency(1)
            .log_level("warning")
            .cluster(if scenario.http2 { upstream.http2() } else { upstream })
            .cluster(Cluster::new("collector", receiver.port()));
        for (n, variant) in variants.iter().enumerate() {
            bootstrap = bootstrap.listener(variant.listener(&scenario, &name(n)));
        }
        let envoy = Envoy::start(envoy, &bootstrap).await?;
        let worker = Worker::of(envoy.id()).context("a worker's run time can only be read on Linux")?;
        let target = |(n, variant): (usize, &Variant)| {
            let client = scenario.client(envoy.port(&name(n))?);
            Ok(Target { variant: variant.clone(), name: name(n), client, requests: 0, failed: 0 })
        };
        let listeners = variants.iter().enumerate().map(target).collect::<Result<_>>()?;
        Ok(Self { envoy, worker, receiver, _app: app, listeners, scenario, headers: scenario.headers()? })
    }

    /// Sends `n` requests to the listener of a variant, some of them concurrently.
    ///
    /// # Errors
    /// If a request is not answered as the application answers it.
    pub(super) async fn burst(&mut self, variant: usize, n: usize) -> Result<()> {
        let (scenario, headers) = (self.scenario, &self.headers);
        let target = self.listeners.get_mut(variant).context("no such variant")?;
        let client = &target.client;
        let answers = fire(n, CONCURRENCY, |k| async move { exchange(scenario, client, headers, k).await }).await;
        answers.into_iter().collect::<Result<Vec<()>>>()?;
        target.requests += n as u64;
        target.failed += (0..n).filter(|k| scenario.fails(*k)).count() as u64;
        Ok(())
    }

    /// Sends one request to the listener of a variant.
    pub(super) fn exchange(&self, variant: usize, n: usize) -> impl Future<Output = Result<()>> + 'static {
        let client = self.listeners.get(variant).map(|target| target.client.clone());
        let (scenario, headers) = (self.scenario, self.headers.clone());
        async move { exchange(scenario, &client.context("no such variant")?, &headers, n).await }
    }

    /// Received spans per request, by variant.
    ///
    /// # Errors
    /// If a variant made another number of spans than it should.
    pub(super) async fn check(&self) -> Result<Vec<f64>> {
        // The native tracer flushes every five seconds.
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        let counts = self.receiver.spans()?;
        self.listeners.iter().map(|target| target.check(&counts)).collect()
    }

    /// Stops Envoy.
    ///
    /// # Errors
    /// If a VM trapped, or Envoy did not end normally.
    pub(super) async fn end(mut self) -> Result<()> {
        let traps = self.envoy.traps();
        ensure!(traps.is_empty(), "a wasm VM failed:\n{}", traps.join("\n"));
        self.listeners.clear();
        self.envoy.quit().await.map(|_| ())
    }
}

// === impl Target ===

impl Target {
    fn check(&self, counts: &BTreeMap<String, u64>) -> Result<f64> {
        let received = counts.get(&self.variant.service(&self.name)).copied().unwrap_or_default();
        let (expected, tolerance) = self.variant.expected_spans(self.requests, self.failed);
        ensure!(
            (received as f64 - expected).abs() <= tolerance,
            "{}: received {received} spans for {} requests ({} failed), expected {expected:.0} ± {tolerance:.0}",
            self.variant.name,
            self.requests,
            self.failed
        );
        Ok(received as f64 / self.requests as f64)
    }
}

fn name(n: usize) -> String {
    format!("variant-{n}")
}

async fn exchange(scenario: Scenario, client: &Client, headers: &HeaderMap, n: usize) -> Result<()> {
    let reply = client.send(scenario.request(client, headers, n)?).await?;
    let expected = if scenario.fails(n) { 503 } else { 200 };
    ensure!(reply.status == expected && reply.complete, "answered with {}, expected {expected}", reply.status);
    Ok(())
}

/// The application: ten response headers and a short body.
async fn answer(request: Request<Incoming>) -> Answer {
    let failing = request.uri().path() == FAILING;
    let builder = Response::builder()
        .status(if failing { 503 } else { 200 })
        .header("content-type", "application/json; charset=utf-8")
        .header("cache-control", "private, max-age=0, must-revalidate")
        .header("vary", "accept-encoding, accept-language")
        .header("x-content-type-options", "nosniff")
        .header("x-frame-options", "DENY")
        .header("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"");
    builder.body(full("{\"id\":4711,\"items\":[]}")).map_err(|_| sidespan_harness::server::Abort::Close)
}
