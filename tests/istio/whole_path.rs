//! Every failing request has its whole path, at the head rate of 1 % that is shipped.

use crate::world::World;
use serde_json::json;
use sidespan_harness::istio::GATEWAY;
use sidespan_harness::mesh::{Action, Plan};
use sidespan_harness::span::Kind;
use sidespan_harness::{ReceivedSpan, Result};
use std::collections::BTreeMap;

/// Every fifth request fails in the database: one time in two the client sees it, else the backend hides it.
pub fn plan(number: usize) -> Plan {
    let failing = Plan::new().with("database", Action::Status(503));
    match number % 10 {
        3 => failing,
        8 => failing.with("backend", Action::Mask),
        _ => Plan::new(),
    }
}

pub async fn every_failing_request_is_kept_from_the_gateway_to_the_failure_at_one_percent(
    world: &mut World,
) -> Result<()> {
    world.install(vec![world.shipped(json!({})).await?]).await?;
    assert_whole_paths(world, 200).await
}

/// Sends requests of which a fifth fails, and looks for the path of each.
pub async fn assert_whole_paths(world: &World, requests: usize) -> Result<()> {
    let before = world.mesh().metrics().await?;
    let statuses = world.send(requests, plan).await?;
    let expected: Vec<u16> = (0..requests).map(|number| if number % 10 == 3 { 500 } else { 200 }).collect();
    assert_eq!(statuses, expected);
    world.balanced(&before).await?;
    let spans = world.receiver.spans();
    let index: BTreeMap<&str, &ReceivedSpan> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let failures: Vec<_> = spans
        .iter()
        .filter(|span| span.service() == "database" && span.int("http.response.status_code") == Some(503))
        .collect();
    assert_eq!(failures.len(), requests / 5, "each failure has a span where it happened");
    for failure in &failures {
        let mut path = vec![*failure];
        while let Some(parent) = path.last().and_then(|span| index.get(span.parent_span_id.as_str())) {
            path.push(parent);
        }
        let hops: Vec<_> = path.iter().map(|span| (span.service(), span.kind)).collect();
        let expected = [
            ("database", Kind::Server),
            ("backend", Kind::Client),
            ("backend", Kind::Server),
            ("frontend", Kind::Client),
            ("frontend", Kind::Server),
            (GATEWAY, Kind::Server),
        ];
        assert_eq!(hops, expected, "trace {}", failure.trace_id);
        assert!(path.iter().all(|span| span.trace_state.contains("ot=th:0")), "kept for certain: {path:?}");
    }
    let healthy = spans.iter().filter(|span| span.service() == GATEWAY).count() - failures.len();
    assert!(healthy < requests / 10, "{healthy} healthy requests were kept at 1 %");
    world.assert_no_trap();
    Ok(())
}
