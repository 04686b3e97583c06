//! Beside Envoy's own tracer (`nativeTracer: adopt`): its ids, and no header of ours.

use crate::ledger::Ledger;
use crate::stage::{SOON, Stage, config, envoy, filter};
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Listener, Tracer};
use sidespan_harness::upstream::status;
use sidespan_harness::{Receiver, Result, Upstream};

#[tokio::test]
async fn errors_that_the_native_tracer_leaves_out_are_exported_under_its_ids() -> Result<()> {
    for version in ["1.38.2", "1.40.0"] {
        let native = Receiver::start().await?;
        let tracer = Tracer::OpenTelemetry { cluster: "native".to_owned(), service: "native".to_owned() };
        let config = config(json!({"nativeTracer": "adopt", "sampling": {"errors": {"maxPerSecond": 1000}}}));
        let app = Upstream::start(|request| async move {
            let failing = request.uri().path() == "/failing";
            status(if failing { 503 } else { 200 }, "answer").await
        })
        .await?;
        let mut stage = Stage::with(&envoy(version)?, app, |bootstrap| {
            bootstrap
                .listener(Listener::inbound("app").filter(filter(&config)).tracer(&tracer, 0.0))
                .cluster(Cluster::new("native", native.port()))
        })
        .await?;
        let client = stage.client("inbound")?;
        for number in 0..20 {
            let path = if number % 2 == 0 { "/failing" } else { "/good" };
            client.get("backend", path, &[]).await?;
        }
        let spans = stage.spans(10).await?;
        for request in stage.app.take().iter().filter(|request| request.path == "/failing") {
            let sent = request.header("traceparent").unwrap_or_default();
            let (trace, span) = (&sent[3..35], &sent[36..52]);
            assert!(spans.iter().any(|found| found.trace_id == trace && found.span_id == span), "{version}: {sent}");
            assert!(sent.ends_with("-00"), "{version}: as the native tracer wrote it: {sent}");
        }
        // In 1.38 metrics are reported when a request ends.
        client.get("backend", "/good", &[]).await?;
        stage.envoy.wait_for_stat("dynamicmodulescustom.sidespan_kept_error_total", 10, SOON).await?;
        let ledger = Ledger::read(&stage.envoy).await?;
        assert_eq!((ledger.get("kept_error"), ledger.get("propagation_overwritten")), (10, 0), "{version}");
        assert!(native.spans().is_empty(), "{version}: it samples nothing");
        stage.envoy.assert_no_trap();
    }
    Ok(())
}
