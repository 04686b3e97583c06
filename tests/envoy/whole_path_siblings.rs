//! A caller calls the same service twice at once and one call fails: the path of that one is kept, the good one is not.

use crate::paths::{Paths, borrowed, config, is_head_sampled, outline, request_headers, trace_of};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::Cluster;
use sidespan_harness::client::fire;
use sidespan_harness::mesh::{Action, Forwarding, Mesh, Plan, Service};
use sidespan_harness::span::Kind;
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary};
use std::time::Duration;

const TIMES: usize = 40;

/// gateway → frontend ⇉ backend `/bad` and `/good` → database, each at the path of its caller.
async fn start(forwarding: Forwarding) -> Result<Paths> {
    let receiver = Receiver::start().await?;
    let frontend = Service::new("frontend", "shop").calls("backend", "/bad").calls("backend", "/good").in_parallel();
    let mesh = Mesh::builder()
        .gateway("istio-ingressgateway", "frontend")
        .service(frontend.forwards(forwarding))
        .service(Service::new("backend", "shop").calls("database", "").forwards(forwarding))
        .service(Service::new("database", "data"))
        .filter(crate::stage::filter(&config(json!({})))?)
        .cluster(Cluster::new("collector", receiver.port()))
        .bootstraps(|_, bootstrap| bootstrap.concurrency(2))
        .start(&envoy_binary()?)
        .await?;
    Ok(Paths { mesh, receiver })
}

/// The bad call fails while the good one is under way, and that one answers when its mark is there.
fn plan(case: usize) -> Plan {
    let wait = |millis| Action::Delay(Duration::from_millis(millis));
    let plan = Plan::new()
        .with("database/bad", wait(60))
        .with("database/bad", Action::Status(503))
        .with("database/good", wait(200));
    if case.is_multiple_of(2) { plan } else { plan.with("frontend", Action::Mask) }
}

/// The path of the call that a span is about; empty above the two calls.
fn call_of(span: &ReceivedSpan) -> &'static str {
    let path = span.text("url.path").or_else(|| span.text("url.full")).unwrap_or_default();
    ["/bad", "/good"].into_iter().find(|call| path.ends_with(call)).unwrap_or_default()
}

/// What of a trace is kept: service, kind, call.
async fn kept(forwarding: Forwarding) -> Result<Vec<(usize, Vec<ReceivedSpan>)>> {
    let mut paths = start(forwarding).await?;
    let client = paths.mesh.client();
    let replies = fire(TIMES, 4, |case| {
        let (client, host) = (client.clone(), paths.mesh.host());
        let headers = request_headers(&case.to_string(), &plan(case), &[]);
        async move { client.get(host, "/shop", &borrowed(&headers)).await }
    });
    for (case, reply) in replies.await.into_iter().enumerate() {
        assert_eq!(reply?.status, if case.is_multiple_of(2) { 500 } else { 200 });
    }
    let traces = paths.traces(TIMES as u64).await?;
    paths.mesh.assert_no_trap();
    let cases = paths.cases()?;
    let mut out = Vec::new();
    for (case, exchange) in &cases {
        let trace = trace_of(exchange)?;
        if !is_head_sampled(trace) {
            out.push((case.parse()?, traces.get(trace).cloned().unwrap_or_default()));
        }
    }
    Ok(out)
}

const PATH: [(&str, Kind, &str); 6] = [
    ("istio-ingressgateway", Kind::Server, ""),
    ("frontend", Kind::Server, ""),
    ("frontend", Kind::Client, "/bad"),
    ("backend", Kind::Server, "/bad"),
    ("backend", Kind::Client, "/bad"),
    ("database", Kind::Server, "/bad"),
];

/// How many traces lack a span of the path to the failure.
fn assert_path_to_the_failure(traces: &[(usize, Vec<ReceivedSpan>)]) {
    for (case, spans) in traces {
        for (service, kind, call) in PATH {
            let there = |span: &&ReceivedSpan| (span.service(), span.kind, call_of(span)) == (service, kind, call);
            assert_eq!(
                spans.iter().filter(there).count(),
                1,
                "case {case}: {service} {kind:?} {call} {:#?}",
                outline(spans)
            );
        }
    }
}

fn good(traces: &[(usize, Vec<ReceivedSpan>)]) -> Vec<Value> {
    let of_good = traces.iter().flat_map(|(_, spans)| spans).filter(|span| call_of(span) == "/good");
    of_good
        .map(|span| json!([span.service(), format!("{:?}", span.kind), span.text("sidespan.sampling.reason")]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_call_of_a_pair_is_not_kept_for_the_bad_one() -> Result<()> {
    let traces = kept(Forwarding::All).await?;
    let with_good = traces.iter().filter(|(_, spans)| spans.iter().any(|span| call_of(span) == "/good")).count();
    println!("{with_good} of {} traces have spans of the good call", traces.len());
    assert_path_to_the_failure(&traces);
    let good = good(&traces);
    assert!(good.is_empty(), "{} spans of good calls, such as {:?}", good.len(), good.first());
    Ok(())
}

/// The outbound request's parent is a span that no proxy knows, so nobody can tell which inbound request it belongs to: both are kept
/// rather than none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_with_spans_of_its_own_still_has_its_whole_path() -> Result<()> {
    let traces = kept(Forwarding::OwnSpan).await?;
    println!("{} spans of good calls in {} traces", good(&traces).len(), traces.len());
    assert_path_to_the_failure(&traces);
    Ok(())
}
