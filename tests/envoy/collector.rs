//! A real OpenTelemetry Collector takes every protocol, encoding and compression, and what it passes on is what was sent.
//!
//! It is built from its Go modules (`cargo xtask collector`); `cargo xtask test --no-collector` leaves this out.

use crate::ledger::Ledger;
use crate::protocols::{self, REQUESTS, content};
use crate::stage::{SOON, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Route};
use sidespan_harness::client::Client;
use sidespan_harness::collector::Pipeline;
use sidespan_harness::provide::{GoProgress, collector_binary};
use sidespan_harness::span::Attributes;
use sidespan_harness::{Collector, Envoy, ReceivedSpan, Receiver, Result, envoy_binary};
use std::path::PathBuf;

/// Listener, exporter.
fn cases() -> Vec<(String, Value)> {
    let mut cases = vec![
        ("direct".to_owned(), json!({"otlp": {"cluster": "direct"}})),
        ("zipkin".to_owned(), json!({"otlp": null, "zipkin": {"cluster": "zipkin"}})),
    ];
    for compression in ["none", "deflate", "gzip"] {
        for (protocol, cluster) in [("http/protobuf", "http"), ("http/json", "http"), ("grpc", "grpc")] {
            let otlp = json!({"cluster": cluster, "protocol": protocol, "compression": compression});
            if (protocol, compression) != REFUSED {
                cases.push((format!("{}-{compression}", protocol.replace('/', "-")), json!({ "otlp": otlp })));
            }
        }
    }
    cases
}

/// gRPC for Go knows gzip and no other compression.
const REFUSED: (&str, &str) = ("grpc", "deflate");

pub async fn binary() -> Result<PathBuf> {
    let build = || {
        collector_binary(|progress| match progress {
            GoProgress::Waiting => eprintln!("waiting for another process that builds the collector"),
            GoProgress::Building => eprintln!("building the collector: minutes, once"),
            GoProgress::Compiled(_) => {}
        })
    };
    tokio::task::spawn_blocking(build).await?
}

async fn start(app: u16, receiver: u16, collector: &Collector) -> Result<Envoy> {
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app))
        .cluster(Cluster::new("direct", receiver))
        .cluster(Cluster::new("http", collector.http_port()))
        .cluster(Cluster::new("grpc", collector.grpc_port()).http2())
        .cluster(Cluster::new("zipkin", collector.zipkin_port()));
    let refused = json!({"otlp": {"cluster": "grpc", "protocol": REFUSED.0, "compression": REFUSED.1}});
    for (name, exporter) in cases().into_iter().chain([("refused".to_owned(), refused)]) {
        let config = config(json!({
            "exporter": exporter,
            "resource": {"test.case": name},
            "customTags": {"tenant": {"header": {"name": "x-tenant"}}, "stage": {"literal": {"value": "test"}}},
        }));
        let wasm = filter(&config)?.named(&format!("istio-system.{name}"));
        let listener = Listener::new(&name, Direction::Inbound).route(Route::cluster("/", "app")).filter(wasm);
        bootstrap = bootstrap.listener(listener);
    }
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

fn of_case(spans: &[ReceivedSpan], case: &str) -> Vec<ReceivedSpan> {
    let is = |span: &&ReceivedSpan| {
        span.resource.get("test.case").or(span.attributes.get("test.case")) == Some(&json!(case))
    };
    let mut spans: Vec<_> = spans.iter().filter(is).cloned().collect();
    spans.sort_by(|one, other| one.trace_id.cmp(&other.trace_id));
    spans
}

fn without_case(mut span: ReceivedSpan) -> ReceivedSpan {
    span.resource.remove("test.case");
    content(span)
}

/// Zipkin knows text only.
fn as_text(attributes: &Attributes) -> Attributes {
    let text = |value: &Value| value.as_str().map_or_else(|| json!(value.to_string()), |text| json!(text));
    attributes.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

#[tokio::test]
async fn a_real_collector_passes_on_what_was_sent() -> Result<()> {
    let binary = binary().await?;
    let (app, receiver) = (protocols::app().await?, Receiver::start().await?);
    let collector = Collector::start(&binary, Pipeline::Guide, receiver.port()).await?;
    let mut envoy = start(app.port(), receiver.port(), &collector).await?;
    for (name, _) in cases() {
        protocols::send_requests(&Client::http1(envoy.port(&name)?)).await?;
    }
    let all = cases().len() * REQUESTS.len();
    let ledger = Ledger::settled(&envoy, &Ledger::default(), all as u64, SOON).await?;
    assert_eq!((ledger.get("spans_exported"), ledger.get("calls_partial")), (all as u64, 0), "{ledger:?}");
    assert_eq!(ledger.get("calls"), ledger.get("calls_success"), "{ledger:?}");
    let spans = receiver.wait_for(all, SOON).await?;
    assert_eq!(spans.len(), all);
    let expected: Vec<_> = of_case(&spans, "direct").into_iter().map(without_case).collect();
    assert_eq!(expected.len(), REQUESTS.len());
    for (name, _) in cases() {
        let found = of_case(&spans, &name);
        assert_eq!(found.len(), REQUESTS.len(), "{name}");
        // Identity: the very spans whose ids went upstream.
        let sent: Vec<_> =
            app.requests().iter().filter_map(|request| request.header("traceparent").map(str::to_owned)).collect();
        for span in &found {
            assert!(sent.contains(&format!("00-{}-{}-01", span.trace_id, span.span_id)), "{name}: {span:#?}");
            assert!(span.start_ns > 0 && span.end_ns > span.start_ns, "{name}: {span:#?}");
        }
        let mut found: Vec<_> = found.into_iter().map(without_case).collect();
        for (span, sent) in found.iter_mut().zip(&expected) {
            assert!(is_sampled_again(&span.trace_state, &sent.trace_state), "{name}: {span:#?}");
            sent.trace_state.clone_into(&mut span.trace_state);
        }
        if name == "zipkin" {
            found.iter().zip(&expected).for_each(|(zipkin, span)| assert_same(zipkin, span));
        } else {
            assert_eq!(found, expected, "{name}");
        }
    }
    Client::http1(envoy.port("refused")?).get("backend", "/", &[]).await?;
    let since = Ledger::settled(&envoy, &ledger, 1, SOON).await?;
    assert_eq!((since.get("calls_rejected"), since.get("dropped_not_retryable")), (1, 1), "{since:?}");
    envoy.assert_no_trap();
    Ok(())
}

/// The collector's sampler states the probability of what passes it: 100 % of what has none becomes `th:0`.
fn is_sampled_again(found: &str, sent: &str) -> bool {
    found == sent || found == format!("ot=th:0,{sent}")
}

/// What the collector made of Zipkin JSON: the same but for types, resource and scope, which Zipkin does not have.
fn assert_same(zipkin: &ReceivedSpan, span: &ReceivedSpan) {
    let of = |span: &ReceivedSpan| (span.name.clone(), span.kind, span.parent_span_id.clone(), span.status);
    assert_eq!(of(zipkin), of(span));
    assert_eq!(zipkin.service(), span.service());
    let found = as_text(&zipkin.attributes);
    for (key, value) in as_text(&span.attributes) {
        assert_eq!(found.get(&key), Some(&value), "{key} of {zipkin:#?}");
    }
}
