//! Setups broken on purpose, each followed through docs/operations.md: the first row whose evidence is there is the row of the fault.

use crate::incident_page::Proxy;
use crate::stage::{SOON, config, filter};
use anyhow::ensure;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node, Plugin, Tracer};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::receiver::Reply;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary, eventually, provide};
use std::time::Duration;

/// A fault, and words of the row that the page must lead to.
struct Fault {
    name: &'static str,
    wasm: Plugin,
    row: &'static str,
    /// What that row says of the log line, and the log has.
    line: &'static str,
    /// Where the cluster `collector` leads.
    collector: Cluster,
    change: fn(Listener) -> Listener,
}

// === impl Fault ===

impl Fault {
    fn new(name: &'static str, wasm: Plugin, collector: u16, row: &'static str) -> Self {
        let collector = Cluster::new("collector", collector);
        Self { name, wasm, row, line: "", collector, change: |listener| listener }
    }

    /// Starts a sidecar with this fault, sends requests, and follows the page.
    async fn lead_to_row(self) -> Result<()> {
        let app = Upstream::ok().await?;
        let listener = (self.change)(Listener::inbound("app").filter(self.wasm));
        let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
            .listener(listener)
            .cluster(Cluster::new("app", app.port()))
            .cluster(self.collector);
        let envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
        let client = Client::http1(envoy.port("inbound")?);
        let answers = fire(REQUESTS, 16, |_| client.get("backend", "/", &[])).await;
        for answer in answers {
            ensure!(answer?.status == 200, "{}: requests suffer", self.name);
        }
        let follow = async || {
            let proxy = Proxy::look(&envoy).await?;
            let found = proxy.follow_page();
            let right = found.as_ref().is_some_and(|row| {
                row.iter().any(|cell| cell.contains(self.row)) && row.iter().any(|cell| cell.contains(self.line))
            });
            ensure!(right, "{}: the page leads to {found:#?} and not to {:?} {}", self.name, self.row, self.line);
            ensure!(proxy.log().contains(self.line), "{}: no {} in {}", self.name, self.line, proxy.log());
            Ok(())
        };
        eventually(self.name, SOON, follow).await?;
        // It stays the right row.
        tokio::time::sleep(Duration::from_secs(1)).await;
        follow().await
    }
}

const REQUESTS: usize = 400;

fn changed(patch: Value) -> Result<Plugin> {
    filter(&config(patch))
}

#[tokio::test]
async fn the_page_leads_to_the_row_of_a_configuration_that_is_refused_or_keeps_nothing() -> Result<()> {
    let receiver = Receiver::start().await?;
    let fault = |name, wasm, row| Fault::new(name, wasm, receiver.port(), row);
    let refused = Plugin::new(&provide::module()?).root_id("sidespan").raw_configuration(r#"{"samplin": {}}"#);
    let everything = json!([{"match": {"method": ["GET"]}, "drop": true}]);
    let faults = [
        fault("a refused configuration", refused, "The configuration is refused"),
        fault(
            "a rule drops everything",
            changed(json!({"sampling": {"rules": everything}}))?,
            "A rule with `drop: true`",
        ),
        fault("0 %", changed(json!({"sampling": {"randomSamplingPercentage": 0}}))?, "No request is sampled"),
        fault("no exporter", changed(json!({"exporter": null}))?, "has no exporter"),
    ];
    for fault in faults {
        fault.lead_to_row().await?;
    }
    assert!(receiver.spans().is_empty(), "nothing of any of them");
    Ok(())
}

#[tokio::test]
async fn the_page_leads_to_the_row_of_a_collector_that_cannot_be_reached() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.refuse().await?;
    let unknown = changed(json!({"exporter": {"otlp": {"cluster": "outbound|4318||missing.svc"}}}))?;
    Fault::new("an unknown cluster", unknown, receiver.port(), "Envoy has no such cluster").lead_to_row().await?;
    Fault::new("a collector that is down", changed(json!({}))?, receiver.port(), "cannot connect").lead_to_row().await
}

#[tokio::test]
async fn the_page_leads_to_the_row_of_a_queue_that_overflows() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_with(Reply::Accept.after(Duration::from_millis(500)));
    let small = changed(json!({"exporter": {"queue": {"maxBytes": "64KiB"}, "batch": {"maxSpans": 10}}}))?;
    Fault::new("a small queue", small, receiver.port(), "`sidespan_dropped_queue_full_plain_total`").lead_to_row().await
}

#[tokio::test]
async fn the_page_leads_to_the_row_of_a_native_tracer_that_is_on_as_well() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut fault = Fault::new("two tracers", changed(json!({}))?, receiver.port(), "Envoy's own tracer is on as well");
    fault.change = |listener| {
        let tracer = Tracer::OpenTelemetry { cluster: "app".to_owned(), service: "native".to_owned() };
        listener.tracer(&tracer, 100.0)
    };
    fault.lead_to_row().await
}

/// With a real OpenTelemetry Collector; `cargo xtask test --no-collector` leaves this out.
mod collector {
    use super::*;
    use crate::collector::binary;
    use sidespan_harness::Collector;
    use sidespan_harness::collector::Pipeline;
    use sidespan_harness::upstream::status;

    #[tokio::test]
    async fn the_page_leads_to_the_row_of_a_wrong_path_and_of_a_wrong_port() -> Result<()> {
        let receiver = Receiver::start().await?;
        let collector = Collector::start(&binary().await?, Pipeline::Pass, receiver.port()).await?;
        let not_found = Upstream::start(|_| status(404, "404 page not found")).await?;
        let (http, grpc) = (collector.http_port(), collector.grpc_port());
        let path = changed(json!({"exporter": {"otlp": {"path": "/v1/spans"}}}))?;
        Fault::new("a wrong path", path, http, "refuses what is sent").lead_to_row().await?;
        for (name, cluster, protocol, line) in [
            ("gRPC to an HTTP port", Cluster::new("collector", http).http2(), "grpc", "[grpc-status 14:"),
            // The collector's port does not speak HTTP/2; what does, such as a gateway before it, answers by the path.
            ("gRPC to an HTTP/2 port", Cluster::new("collector", not_found.port()).http2(), "grpc", WITHOUT_STATUS),
            ("HTTP to a gRPC port", Cluster::new("collector", grpc), "http/protobuf", "[HTTP 502:"),
        ] {
            let wasm = changed(json!({"exporter": {"otlp": {"protocol": protocol}}}))?;
            let fault = Fault::new(name, wasm, http, "speaks another protocol");
            Fault { collector: cluster, line, ..fault }.lead_to_row().await?;
        }
        // Right: there is nothing to find but that the spans have gone to the collector.
        Fault::new("no fault", changed(json!({}))?, http, "The collector has taken the spans").lead_to_row().await?;
        assert_eq!(receiver.wait_for(REQUESTS, SOON).await?.len(), REQUESTS);
        Ok(())
    }

    const WITHOUT_STATUS: &str = "[HTTP 404 without grpc-status";
}
