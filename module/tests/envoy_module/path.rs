//! What crosses the listeners, workers and protocols of one process.

use crate::ledger::Ledger;
use crate::stage::{SOON, Stage, config, filter, newest};
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Listener};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::receiver::{Protocol, Reply};
use sidespan_harness::upstream::status;
use sidespan_harness::{Receiver, Result, Upstream};
use std::sync::{Arc, OnceLock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_at_the_outbound_listener_keeps_the_span_of_the_inbound_one() -> Result<()> {
    // The application answers 200 whatever its own call came to, and passes trace headers on.
    let outbound = Arc::new(OnceLock::<Client>::new());
    let next = Arc::clone(&outbound);
    let app = Upstream::start(move |request| {
        let next = next.get().cloned();
        async move {
            if request.uri().path() != "/outer" {
                return status(503, "no").await;
            }
            let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            let headers = [("traceparent", header("traceparent")), ("tracestate", header("tracestate"))];
            if let Some(next) = next {
                let _ = next.get("other", "/inner", &headers).await;
            }
            status(200, "ok").await
        }
    })
    .await?;
    let config = config(json!({"sampling": {"randomSamplingPercentage": 0, "errors": {"maxPerSecond": 10_000}}}));
    let mut stage = Stage::with(&newest()?, app, |bootstrap| {
        bootstrap
            .concurrency(2)
            .listener(Listener::inbound("app").filter(filter(&config)))
            .listener(Listener::outbound("app").filter(filter(&config)))
    })
    .await?;
    let _ = outbound.set(stage.client("outbound")?);
    let inbound = stage.client("inbound")?;
    for reply in fire(100, 4, |_| {
        let inbound = inbound.clone();
        async move { inbound.get("backend", "/outer", &[]).await }
    })
    .await
    {
        assert_eq!(reply?.status, 200);
    }
    let ledger = Ledger::settled(&stage.envoy, 200, SOON).await?;
    assert_eq!((ledger.get("kept_error"), ledger.get("kept_marked")), (100, 100));
    let spans = stage.spans(200).await?;
    let inbound: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(inbound.len(), 100);
    for parent in inbound {
        assert!(spans.iter().any(|span| span.trace_id == parent.trace_id && span.parent_span_id == parent.span_id));
    }
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn every_export_protocol_works_and_grpc_answers_in_trailers_are_understood() -> Result<()> {
    let collector = Receiver::start().await?;
    let cases = [
        ("http/protobuf", "collector", Protocol::HttpProtobuf),
        ("http/json", "collector", Protocol::HttpJson),
        ("grpc", "collector-h2", Protocol::Grpc),
    ];
    for compression in ["none", "gzip", "deflate"] {
        for (protocol, cluster, expected) in cases {
            if protocol == "grpc" && compression == "deflate" {
                continue;
            }
            let otlp = json!({"cluster": cluster, "protocol": protocol, "compression": compression});
            let config = config(json!({"exporter": {"otlp": otlp}}));
            let mut stage = Stage::with(&newest()?, Upstream::ok().await?, |bootstrap| {
                bootstrap
                    .cluster(Cluster::new("collector-h2", collector.port()).http2())
                    .listener(Listener::inbound("app").filter(filter(&config)))
            })
            .await?;
            assert_eq!(stage.client("inbound")?.get("backend", "/", &[]).await?.status, 200);
            let receiver = if protocol == "grpc" { &collector } else { &stage.receiver };
            let exports = receiver.wait_for_exports(1, SOON).await?;
            assert_eq!(exports[0].protocol, expected, "{protocol} {compression}");
            let ledger = Ledger::settled(&stage.envoy, 1, SOON).await?;
            assert_eq!(ledger.get("spans_exported"), 1, "{protocol} {compression}");
            if protocol == "grpc" {
                // A status in the trailers that asks to come again.
                collector.script([Reply::grpc(14, "later")]);
                assert_eq!(stage.client("inbound")?.get("backend", "/", &[]).await?.status, 200);
                let ledger = Ledger::settled(&stage.envoy, 2, SOON).await?;
                assert_eq!((ledger.get("spans_retried"), ledger.get("calls_unavailable")), (1, 1));
                collector.clear();
            }
            stage.envoy.assert_no_trap();
        }
    }
    Ok(())
}
