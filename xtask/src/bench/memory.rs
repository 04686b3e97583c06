//! Memory of a worker: an Envoy with several workers less one with a single worker, so that memory of the process itself cancels.

use super::modules::Modules;
use super::scenario::Scenario;
use super::summary::percentile;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sidespan_harness::Envoy;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Node, Plugin};
use sidespan_harness::client::fire;
use sidespan_harness::receiver::Counter;
use sidespan_harness::{Upstream, usage};
use std::path::Path;
use std::time::Duration;

/// Workers of the larger Envoy.
const WORKERS: u32 = 9;
/// Requests before the first reading of memory.
const REQUESTS: usize = 4_000;
/// Requests that fill the queue: more spans than the default queue holds.
const TO_FILL: usize = 16_000;
/// Pairs of processes of which each figure is the median.
const REPEATS: usize = 3;
/// `exporter.queue.maxBytes` of the default configuration.
pub(super) const QUEUE_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// Memory in bytes.
pub(super) struct Memory {
    /// A worker with the stripped no-op filter, less one without a filter.
    pub no_op: f64,
    /// A worker with sidespan and an empty queue, less one without a filter.
    pub empty: f64,
    /// Growth of that worker until its queue is full.
    pub growth: f64,
}

/// Measures the memory of a worker.
pub(super) async fn measure(envoy: &Path, modules: &Modules) -> Result<Memory> {
    let config = json!({"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"randomSamplingPercentage": 100}});
    let no_op = Plugin::new(&modules.no_op_stripped);
    let sidespan = Plugin::new(&modules.sidespan).configuration(&config);
    let bare = per_worker(envoy, None).await?;
    Ok(Memory {
        no_op: per_worker(envoy, Some(no_op)).await? - bare,
        empty: per_worker(envoy, Some(sidespan)).await? - bare,
        growth: growth(envoy, modules, &config).await?,
    })
}

async fn per_worker(envoy: &Path, filter: Option<Plugin>) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..REPEATS {
        let few = resident(envoy, 1, filter.clone()).await?;
        let many = resident(envoy, WORKERS, filter.clone()).await?;
        samples.push((many - few) / f64::from(WORKERS - 1));
    }
    Ok(percentile(&samples, 50.0))
}

/// Resident bytes of an Envoy after some requests and their exports.
async fn resident(envoy: &Path, workers: u32, filter: Option<Plugin>) -> Result<f64> {
    let (app, receiver) = (Upstream::ok().await?, Counter::start().await?);
    let envoy = start(envoy, workers, filter, &app, &receiver).await?;
    load(&envoy, REQUESTS).await?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    resident_now(&envoy)
}

/// Growth of a process with one worker when the receiver fails and the queue fills, less that of a no-op filter under the same
/// requests.
async fn growth(envoy: &Path, modules: &Modules, config: &Value) -> Result<f64> {
    let retry = json!({"exporter": {"retry": {"maxElapsed": "1h", "max": "60s", "initial": "60s"}}});
    let mut config = config.clone();
    sidespan_harness::merge(&mut config, retry);
    let mut grown = Vec::new();
    for filter in [Plugin::new(&modules.sidespan).configuration(&config), Plugin::new(&modules.no_op_stripped)] {
        let (app, receiver) = (Upstream::ok().await?, Counter::start().await?);
        let envoy = start(envoy, 1, Some(filter), &app, &receiver).await?;
        load(&envoy, REQUESTS).await?;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        receiver.refuse().await?;
        let before = resident_now(&envoy)?;
        load(&envoy, TO_FILL).await?;
        grown.push(resident_now(&envoy)? - before);
    }
    Ok(grown[0] - grown[1])
}

async fn start(
    envoy: &Path,
    workers: u32,
    filter: Option<Plugin>,
    app: &Upstream,
    receiver: &Counter,
) -> Result<Envoy> {
    let listener = Scenario::MAIN.listener().named("listener");
    let listener = filter.into_iter().fold(listener, |listener, filter| listener.filter(filter));
    let bootstrap = Bootstrap::new(Node::sidecar("orders", "shop"))
        .concurrency(workers)
        .log_level("warning")
        .listener(listener)
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()));
    Envoy::start(envoy, &bootstrap).await
}

/// Sends requests over many connections, so that every worker accepts some of them.
async fn load(envoy: &Envoy, requests: usize) -> Result<()> {
    let client = Scenario::MAIN.client(envoy.port("listener")?);
    let answers = fire(requests, 64, |_| client.get("orders", "/api/orders/4711", &[])).await;
    answers.into_iter().collect::<Result<Vec<_>>>().map(|_| ())
}

fn resident_now(envoy: &Envoy) -> Result<f64> {
    usage::resident_bytes(envoy.id()).map(|bytes| bytes as f64).context("memory can only be read on Linux")
}
