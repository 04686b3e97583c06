//! One library in every version of Envoy that can load it.

use crate::stage::{SOON, Stage, config, envoy, filter};
use serde_json::json;
use sidespan_harness::{Result, Upstream};

const VERSIONS: [&str; 3] = ["1.38.2", "1.39.3", "1.40.0"];
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn one_library_propagates_and_exports_in_each_version() -> Result<()> {
    for version in VERSIONS {
        let mut stage = Stage::start(&envoy(version)?, Upstream::ok().await?, &filter(&config(json!({})))).await?;
        let reply = stage.client("inbound")?.get("backend", "/api/users/42", &[("traceparent", PARENT)]).await?;
        assert_eq!(reply.status, 200, "{version}");
        let span = stage.spans(1).await?.remove(0);
        assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736", "{version}");
        assert_eq!(span.parent_span_id, "00f067aa0ba902b7", "{version}");
        let sent = stage.app.requests()[0].header("traceparent").map(str::to_owned);
        assert_eq!(sent, Some(format!("00-{}-{}-01", span.trace_id, span.span_id)), "{version}");
        // In 1.38 a metric can only be changed while a request runs.
        stage.client("inbound")?.get("backend", "/", &[]).await?;
        stage.envoy.wait_for_stat("dynamicmodulescustom.sidespan_spans_kept_total", 1, SOON).await?;
        stage.envoy.assert_no_trap();
    }
    Ok(())
}
