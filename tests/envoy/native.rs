//! Envoy's own tracer is on as well: who writes the headers, and does the operator learn of it.

use crate::stage::{SOON, Stage, config, filter};
use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Tracer};
use sidespan_harness::provide::Shell;
use sidespan_harness::span::Kind;
use sidespan_harness::{Receiver, Result, Upstream, envoy_version};

const OVERWRITTEN: &str = "wasmcustom.sidespan_propagation_overwritten_total";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_native_tracer_that_overwrites_us_is_counted_and_warned_of_once() -> Result<()> {
    let native = Receiver::start().await?;
    let tracer = Tracer::OpenTelemetry { cluster: "native".to_owned(), service: "native".to_owned() };
    let filter = |name: &str| Ok::<_, anyhow::Error>(filter(&config(json!({})))?.named(&format!("test.{name}")));
    let mut listeners = vec![
        Listener::inbound("app").named("tracing").filter(filter("tracing")?).tracer(&tracer, 100.0),
        Listener::inbound("app").named("null").filter(filter("null")?).tracer(&Tracer::Null, 100.0),
        Listener::inbound("app")
            .named("zipkin")
            .filter(filter("zipkin")?)
            .tracer(&Tracer::Zipkin { cluster: "native".to_owned() }, 100.0),
    ];
    let mut harmless = vec!["inbound", "null"];
    // What Istio 1.30 calls `disableContextPropagation`.
    if envoy_version()? >= (1, 38) {
        let polite = Listener::inbound("app").named("polite").filter(filter("polite")?).tracer(&tracer, 100.0);
        listeners.push(polite.manager(json!({"tracing": {"no_context_propagation": true}})));
        harmless.push("polite");
    }
    let add = |bootstrap: Bootstrap| {
        let bootstrap = listeners.into_iter().fold(bootstrap, Bootstrap::listener);
        bootstrap.cluster(Cluster::new("native", native.port())).runtime("tracing.opentelemetry.min_flush_spans", 1)
    };
    let mut stage = Stage::with(Upstream::ok().await?, &config(json!({})), add).await?;
    // Ours alone, a tracer that does nothing, and one that leaves headers alone: our span is the parent upstream.
    for listener in harmless {
        stage.receiver.clear();
        stage.client(listener)?.get("backend", "/", &[("traceparent", PARENT)]).await?;
        let span = stage.spans(1).await?.remove(0);
        let sent = stage.app.take().remove(0);
        let expected = format!("{}{}-01", &PARENT[..36], span.span_id);
        assert_eq!(sent.header("traceparent"), Some(expected.as_str()), "{listener}");
    }
    let warnings =
        |stage: &Stage| stage.envoy.log().matches("trace headers were changed after this filter wrote them").count();
    assert_eq!(warnings(&stage), 0);
    assert_eq!(stage.envoy.stats().await?.get(OVERWRITTEN).copied().unwrap_or_default(), 0);
    // One that writes them: its span is the parent upstream, and ours is beside it.
    stage.receiver.clear();
    native.clear();
    for _ in 0..5 {
        stage.client("tracing")?.get("backend", "/", &[("traceparent", PARENT)]).await?;
    }
    let (ours, theirs) = (stage.spans(5).await?, native.wait_for(5, SOON).await?);
    for sent in stage.app.take() {
        let parent = sent.header("traceparent").unwrap_or_default();
        assert!(theirs.iter().any(|span| parent.contains(&span.span_id)), "{parent}");
        assert!(!ours.iter().any(|span| parent.contains(&span.span_id)), "{parent}");
    }
    assert!(ours.iter().all(|span| span.kind == Kind::Server && span.parent_span_id == PARENT[36..52]));
    assert_eq!(stage.envoy.wait_for_stat(OVERWRITTEN, 5, SOON).await?, 5);
    assert_eq!(warnings(&stage), 1, "one line, not five");
    assert!(stage.envoy.log().contains("set nativeTracer: adopt"), "it names the mode that goes with such a tracer");
    // Zipkin's writes B3 beside our traceparent, where nobody had asked for B3: two headers that disagree.
    stage.client("zipkin")?.get("backend", "/", &[("traceparent", PARENT)]).await?;
    let sent = stage.app.take().remove(0);
    let (w3c, b3) = (sent.header("traceparent").unwrap_or_default(), sent.header("x-b3-spanid").unwrap_or_default());
    assert!(b3.len() == 16 && !w3c.contains(b3), "{w3c} and {b3}");
    assert_eq!(stage.envoy.wait_for_stat(OVERWRITTEN, 6, SOON).await?, 6);
    // Listeners with the same configuration share it in a dynamic module; each wasm filter has its own.
    let configurations = if Shell::from_environment()? == Shell::Wasm { 2 } else { 1 };
    assert_eq!(warnings(&stage), configurations, "one for each configuration");
    stage.envoy.assert_no_trap();
    Ok(())
}
