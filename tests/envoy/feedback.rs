//! Telemetry does not become telemetry: neither our own calls through the collector's sidecar, nor those of others.

use crate::ledger::Ledger;
use crate::stage::{SOON, Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Route};
use sidespan_harness::client::Client;
use sidespan_harness::receiver::{Export, Reply};
use sidespan_harness::upstream::status;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary};

const EXPORTERS: [(&str, &str); 4] =
    [("http-protobuf", "http/protobuf"), ("http-json", "http/json"), ("grpc", "grpc"), ("zipkin", "")];

fn exporter(name: &str, protocol: &str) -> Value {
    match name {
        "zipkin" => json!({"otlp": null, "zipkin": {"cluster": "http"}}),
        name => json!({"otlp": {"cluster": if name == "grpc" { "grpc" } else { "http" }, "protocol": protocol}}),
    }
}

/// The sidecar of the collector: the filter on both listeners would send spans to the very collector behind it.
async fn collectors_sidecar(receiver: &Receiver) -> Result<Envoy> {
    let to = |name: &str| Listener::new(name, Direction::Inbound).route(Route::cluster("/", name));
    let config = config(json!({"exporter": {"otlp": {"cluster": "http"}}}));
    let bootstrap = Bootstrap::new(Node::sidecar("otel-collector", "istio-system"))
        .listener(to("http").filter(filter(&config)?.named("istio-system.http")))
        .listener(to("grpc").filter(filter(&config)?.named("istio-system.grpc")))
        .cluster(Cluster::new("http", receiver.port()))
        .cluster(Cluster::new("grpc", receiver.port()).http2());
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

async fn sidecar(app: &Upstream, collector: &Envoy) -> Result<Envoy> {
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("http", collector.port("http")?))
        .cluster(Cluster::new("grpc", collector.port("grpc")?).http2());
    for (name, protocol) in EXPORTERS {
        let config = config(json!({"exporter": exporter(name, protocol)}));
        let wasm = filter(&config)?.named(&format!("istio-system.{name}"));
        let listener = Listener::new(name, Direction::Inbound).route(Route::cluster("/", "app")).filter(wasm);
        bootstrap = bootstrap.listener(listener);
    }
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

/// Whatever dialect a hop reads, it reads "not sampled".
fn is_unsampled(export: &Export) -> bool {
    export.header("traceparent").is_some_and(|value| value.ends_with("-00"))
        && export.header("b3").is_some_and(|value| value == "0" || value.ends_with("-0"))
}

#[tokio::test]
async fn our_own_calls_make_no_spans_in_the_sidecar_of_the_collector() -> Result<()> {
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    let mut collector = collectors_sidecar(&receiver).await?;
    let mut envoy = sidecar(&app, &collector).await?;
    // Failing calls would be kept as errors, at whatever rate.
    receiver.script([Reply::status(503), Reply::status(503), Reply::status(503)]);
    for (name, _) in EXPORTERS {
        let client = Client::http1(envoy.port(name)?);
        for _ in 0..3 {
            client.get("backend", "/", &[]).await?;
        }
    }
    let all = (EXPORTERS.len() * 3) as u64;
    let ledger = Ledger::settled(&envoy, &Ledger::default(), all, SOON).await?;
    assert_eq!(ledger.get("spans_exported"), all, "{ledger:?}");
    let calls = ledger.get("calls");
    collector.wait_for_stat("wasmcustom.sidespan_requests_ignored_total", calls, SOON).await?;
    let theirs = Ledger::read(&collector).await?;
    assert_eq!(theirs.get("requests_inbound"), calls, "{theirs:?}");
    assert_eq!((theirs.get("spans_created"), theirs.get("calls")), (0, 0), "{theirs:?}");
    let exports = receiver.exports();
    assert_eq!(exports.len() as u64, calls);
    for export in &exports {
        assert!(is_unsampled(export), "{:?}", export.headers);
        assert!(export.header("user-agent").is_some_and(|agent| agent.starts_with("OTel-OTLP-Exporter-sidespan/")));
    }
    assert!(receiver.spans().iter().all(|span| span.service() == "backend"));
    envoy.assert_no_trap();
    collector.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn telemetry_of_others_makes_no_spans_even_if_it_fails() -> Result<()> {
    const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let app = Upstream::start(|_| status(503, "full")).await?;
    let mut stage = Stage::start(app, &config(json!({}))).await?;
    // (path, content type, user agent)
    let table = [
        ("/v1/traces", "application/x-protobuf", "OTel-OTLP-Exporter-Java/1.50"),
        ("/v1/traces", "application/json", "OTel-OTLP-Exporter-JavaScript/0.200"),
        ("/v1/metrics", "application/x-protobuf", "Go-http-client/1.1"),
        ("/api/v2/spans", "application/json", "okhttp/4"),
        (GRPC, "application/grpc", "grpc-go/1.70"),
    ];
    // Also where the sender traces its own exports: the receiver must not trace its own traces.
    let sampled = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    for (listener, context) in [("inbound", None), ("outbound", None), ("inbound", Some(sampled))] {
        for (path, content_type, agent) in table {
            let port = stage.envoy.port(listener)?;
            let client = if path == GRPC { Client::http2(port) } else { Client::http1(port) };
            let mut headers = vec![("content-type", content_type), ("user-agent", agent)];
            headers.extend(context);
            client.send(client.request("POST", "otel-collector", path, &headers, "spans")?).await?;
            let passed = stage.app.take().pop().expect("it was passed on");
            let traceparent = passed.header("traceparent").unwrap_or_default().to_owned();
            // The second lowest bit only says that the trace id is random.
            let unsampled = traceparent.ends_with("-00") || traceparent.ends_with("-02");
            assert!(traceparent.len() == 55 && unsampled, "{path}: {traceparent}");
            if let Some((_, context)) = context {
                let (trace, parent) = (&traceparent[3..35], &traceparent[36..52]);
                assert!(trace == &context[3..35] && parent != &context[36..52], "{path}: {traceparent}");
            }
        }
    }
    // The control: a request like any other does make a span, and is the only one.
    stage.client("inbound")?.get("backend", "/orders", &[]).await?;
    let spans = stage.spans(1).await?;
    assert_eq!(spans.len(), 1, "{spans:#?}");
    let ledger = Ledger::settled(&stage.envoy, &Ledger::default(), 1, SOON).await?;
    assert_eq!((ledger.get("spans_created"), ledger.get("requests_ignored")), (1, 15), "{ledger:?}");
    stage.envoy.assert_no_trap();
    Ok(())
}
