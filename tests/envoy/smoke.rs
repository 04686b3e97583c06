//! The shortest proof that everything is connected.

use crate::stage::{Stage, config};
use serde_json::json;
use sidespan_harness::{Result, Upstream};

#[tokio::test]
async fn a_request_gives_one_span_whose_id_went_upstream() -> Result<()> {
    let mut stage = Stage::start(Upstream::ok().await?, &config(json!({}))).await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = stage.client("inbound")?.get("backend", "/api/users/42", &[("traceparent", parent)]).await?;
    assert_eq!(reply.status, 200);
    let spans = stage.spans(1).await?;
    let span = &spans[0];
    println!("{span:#?}");
    assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id, "00f067aa0ba902b7");
    let sent = stage.app.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(sent, Some(format!("00-{}-{}-01", span.trace_id, span.span_id)));
    println!("{}", stage.envoy.log());
    stage.envoy.assert_no_trap();
    Ok(())
}
