//! The filter beside Envoy's own tracer where failures, applications or the tracer are of another kind: upstream spans, retries,
//! resets, local replies, requests that an earlier filter rejects, gRPC, applications that forward few headers.

use crate::beside_mesh::{
    Beside, Described, PROTOCOLS, SERVICES, assert_headers_of_the_native_tracer, assert_whole, is_ours, trace_of,
};
use crate::paths::{FAILED, MASKED, borrowed, outline, request_headers};
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Filter};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::mesh::{Action, Exchange, Forwarding, NativeTracing, PLAN, Plan};
use sidespan_harness::{ReceivedSpan, Result};

/// How often each case is sent.
const TIMES: usize = 10;
/// Enough that some requests of each case are sampled by the native tracer and some are not.
const MANY: f64 = 30.0;
/// An attempt failed and the next one did not.
const RETRIED: [&str; 6] = ["marked", "marked", "marked", "marked", "marked", "error"];
/// The backend's call fails before it reaches the database.
const FIVE_FAILED: [&str; 5] = ["error"; 5];

struct Case {
    what: &'static str,
    grpc: bool,
    plan: Plan,
    /// Empty: nothing failed.
    reasons: &'static [&'static str],
    /// How many attempts at the last hop, and how many of them failed.
    attempts: (usize, usize),
}

fn case(what: &'static str, plan: Plan, reasons: &'static [&'static str]) -> Case {
    Case { what, grpc: false, plan, reasons, attempts: (1, 1) }
}

fn database(action: Action) -> Plan {
    Plan::new().with("database", action)
}

fn masked(action: Action) -> Plan {
    database(action).with("backend", Action::Mask)
}

impl Case {
    fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    fn attempts(self, all: usize, failed: usize) -> Self {
        Self { attempts: (all, failed), ..self }
    }

    async fn send(&self, client: &Client, host: &str, name: &str) -> Result<()> {
        let headers = request_headers(name, &self.plan, &[]);
        let reply = match self.grpc {
            true => client.grpc(host, "/shop.Cart/Add", &[b"one"], &borrowed(&headers)).await?.http,
            false => client.get(host, "/shop", &borrowed(&headers)).await?,
        };
        assert_eq!(reply.header("server-timing"), None, "{}: the client sees a signal", self.what);
        Ok(())
    }

    /// What the filter exports if the native tracer does not sample, and what comes from the native tracer if it does.
    fn assert(&self, spans: &[ReceivedSpan]) {
        let native = spans.iter().any(|span| !is_ours(span));
        let what = format!("{}, sampled by the native tracer: {native}", self.what);
        match (self.reasons, native) {
            ([], false) => assert!(spans.is_empty(), "{what}: {:#?}", outline(spans)),
            ([], true) => assert_eq!(assert_whole(&what, spans, &FAILED, 1), 0, "{what}"),
            (reasons, false) => drop(assert_whole(&what, spans, reasons, self.attempts.1)),
            (reasons, true) => assert_eq!(assert_whole(&what, spans, reasons, self.attempts.0), 0, "{what}"),
        }
    }
}

/// Sends each case some times, all of them together, and gives each trace with its case to `look`.
async fn prove(beside: &mut Beside, cases: &[Case], look: impl Fn(&Case, &[ReceivedSpan])) -> Result<()> {
    let client = beside.paths.mesh.client();
    let count = cases.len() * TIMES;
    let sent = fire(count, 8, |index| {
        let (client, host) = (client.clone(), beside.paths.mesh.host());
        async move { cases[index / TIMES].send(&client, host, &index.to_string()).await }
    })
    .await;
    sent.into_iter().collect::<Result<()>>()?;
    let traces = beside.traces_of(|name| if name == "gateway" { count as u64 } else { 0 }).await?;
    let exchanges = beside.paths.cases()?;
    assert_eq!(exchanges.len(), count);
    for (name, exchange) in &exchanges {
        assert_headers_of_the_native_tracer(exchange);
        let spans = traces.get(trace_of(exchange)?).map(Vec::as_slice).unwrap_or_default();
        look(&cases[name.parse::<usize>()? / TIMES], spans);
    }
    let known: Vec<_> = exchanges.values().map(trace_of).collect::<Result<_>>()?;
    let strangers: Vec<_> = traces.iter().filter(|(trace, _)| !known.contains(&trace.as_str())).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    beside.paths.mesh.assert_no_trap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_resets_and_broken_bodies_with_upstream_spans() -> Result<()> {
    let cases = [
        case("success", Plan::new(), &[]),
        case("a status", database(Action::Status(503)), &FAILED),
        case("a masked status", masked(Action::Status(503)), &MASKED),
        case("a reset", database(Action::Reset), &FAILED),
        case("a masked reset", masked(Action::Reset), &MASKED),
        case("a closed connection", database(Action::Close), &FAILED),
        case("a body that breaks", database(Action::Cut), &FAILED),
        case("the client's mistake is no error", masked(Action::Status(404)), &[]),
    ];
    for (_, protocol) in PROTOCOLS {
        let described = Described { upstream_spans: true, ..Described::new(protocol, MANY)? };
        let mut beside = described.start(|mesh| mesh).await?;
        prove(&mut beside, &cases, Case::assert).await?;
        beside.paths.mesh.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_over_http2_with_two_workers() -> Result<()> {
    let cases = [
        case("success", Plan::new(), &[]).grpc(),
        case("a status in trailers", database(Action::Grpc(13)), &FAILED).grpc(),
        case("a status in trailers, masked", masked(Action::Grpc(13)), &MASKED).grpc(),
        case("trailers only, masked", masked(Action::TrailersOnly(14)), &MASKED).grpc(),
        case("a reset, masked", masked(Action::Reset), &MASKED).grpc(),
    ];
    let two_workers = |_: &str, bootstrap: sidespan_harness::bootstrap::Bootstrap| bootstrap.concurrency(2);
    let described = Described::new(NativeTracing::opentelemetry, MANY)?;
    let mut beside = described.start(|mesh| mesh.http2().bootstraps(two_workers)).await?;
    prove(&mut beside, &cases, Case::assert).await?;
    beside.paths.mesh.quit().await
}

fn retried() -> [Case; 5] {
    [
        case("success", Plan::new(), &[]),
        case("the second attempt succeeds", database(Action::Once(503)), &RETRIED).attempts(2, 1),
        case("both attempts fail", database(Action::Status(503)), &FAILED).attempts(2, 2),
        case("both attempts fail, masked", masked(Action::Status(503)), &MASKED).attempts(2, 2),
        case("both attempts are reset", database(Action::Reset), &FAILED).attempts(2, 2),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attempts_are_linked_where_they_share_one_native_span() -> Result<()> {
    let backend =
        |service: sidespan_harness::mesh::Service| service.calls("database", "/query").retries("5xx,reset", 1);
    let mut beside = Described { backend, ..Described::new(NativeTracing::zipkin, MANY)? }.start(|mesh| mesh).await?;
    prove(&mut beside, &retried(), Case::assert).await?;
    beside.paths.mesh.quit().await
}

/// With `spawn_upstream_span` each attempt has an id of its own, and only that of the last one is in the headers at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_upstream_spans_the_path_leads_to_the_last_attempt_and_earlier_ones_are_in_the_same_trace() -> Result<()> {
    let backend =
        |service: sidespan_harness::mesh::Service| service.calls("database", "/query").retries("5xx,reset", 1);
    let described = Described { backend, upstream_spans: true, ..Described::new(NativeTracing::opentelemetry, 0.0)? };
    let mut beside = described.start(|mesh| mesh).await?;
    prove(&mut beside, &retried(), |case, spans| {
        let known = |span: &&ReceivedSpan| {
            span.parent_span_id.is_empty() || spans.iter().any(|other| other.span_id == span.parent_span_id)
        };
        let (path, earlier): (Vec<&ReceivedSpan>, Vec<&ReceivedSpan>) = spans.iter().partition(known);
        let path: Vec<_> = path.into_iter().cloned().collect();
        let (attempts, failed) = case.attempts;
        // The last hop is missing where the last attempt succeeded.
        let hops = case.reasons.len().saturating_sub(attempts - failed);
        assert_whole(case.what, &path, &case.reasons[..hops], 1);
        assert!(earlier.iter().all(|span| span.service() == SERVICES[5]), "{}: {:#?}", case.what, outline(spans));
        assert_eq!(earlier.len(), attempts - 1, "{}: {:#?}", case.what, outline(spans));
    })
    .await?;
    beside.paths.mesh.quit().await
}

/// Answers 503 before the filter sees the request, in listeners with a route to `cluster`, if the plan says so.
fn reject(cluster: &str, path: &str, word: &str) -> Filter {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 503, "percentage": {"numerator": 100}},
        "upstream_cluster": cluster,
        "headers": [
            {"name": ":path", "string_match": {"exact": path}},
            {"name": PLAN, "string_match": {"contains": word}},
        ],
    });
    Filter::Raw(json!({"name": format!("reject-{word}"), "typed_config": config}))
}

/// Nothing was sent upstream, so there are no ids to adopt: such a span has an id of its own below the span of its caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_an_earlier_filter_rejects_is_the_end_of_a_whole_path() -> Result<()> {
    let plan = |word: &str| Plan::new().with(word, Action::Status(503));
    let cases = [
        case("success", Plan::new(), &[]),
        case("rejected where it comes in", plan("at-callee"), &FAILED),
        case("rejected where it comes in, masked", plan("at-callee").with("backend", Action::Mask), &MASKED),
        case("rejected where it goes out", plan("at-caller"), &FIVE_FAILED),
    ];
    let earlier = vec![
        reject("inbound|8080||", "/query", "at-callee"),
        reject("outbound|80||database.data.svc.cluster.local", "/query", "at-caller"),
        reject("outbound|80||frontend.shop.svc.cluster.local", "/shop", "at-gateway"),
    ];
    // What the native tracer samples it exports, but the filter cannot know that where nothing was sent.
    let described = Described { earlier, ..Described::new(NativeTracing::opentelemetry, 0.0)? };
    let mut beside = described.start(|mesh| mesh).await?;
    prove(&mut beside, &cases, Case::assert).await?;
    assert_eq!(beside.paths.total("native_unsent").await?, 3 * TIMES as u64);
    assert_eq!(beside.paths.total("native_absent").await?, 0);
    rejected_at_the_gateway(&beside).await?;
    beside.paths.mesh.quit().await
}

/// Nobody but the gateway sees the request: one span, with and without a caller.
async fn rejected_at_the_gateway(beside: &Beside) -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let before = beside.paths.receiver.spans().len();
    let plan = Plan::new().with("at-gateway", Action::Status(503)).to_string();
    let (w3c, b3) = (format!("00-{TRACE}-{CALLER}-00"), format!("{TRACE}-{CALLER}-0"));
    for headers in [&[(PLAN, plan.as_str())][..], &[(PLAN, &plan), ("traceparent", &w3c), ("b3", &b3)]] {
        assert_eq!(beside.paths.mesh.client().get(beside.paths.mesh.host(), "/shop", headers).await?.status, 503);
    }
    let spans = beside.paths.receiver.wait_for(before + 2, crate::stage::SOON).await?.split_off(before);
    assert_eq!(spans.len(), 2, "{:#?}", outline(&spans));
    let child = spans.iter().find(|span| span.trace_id == TRACE).map(|span| &*span.parent_span_id);
    assert_eq!(child, Some(CALLER), "the caller's trace goes on");
    assert_eq!(spans.iter().filter(|span| span.is_root()).count(), 1);
    Ok(())
}

/// Where no host can be chosen nothing is sent; where a connection is refused the ids were in the headers already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_replies_of_the_router_are_the_end_of_a_whole_path() -> Result<()> {
    let backend = |service: sidespan_harness::mesh::Service| {
        let service = service.calls_external("dead.example.com", "/", Cluster::without_endpoints("dead"));
        // Nobody listens on port 1.
        service.calls_external("refused.example.com", "/", Cluster::new("refused", 1))
    };
    let mut beside = Described { backend, ..Described::new(NativeTracing::zipkin, 0.0)? }.start(|mesh| mesh).await?;
    for case in 0..TIMES {
        let plan = if case % 2 == 0 { Plan::new() } else { Plan::new().with("backend", Action::Mask) };
        let headers = request_headers(&case.to_string(), &plan, &[]);
        beside.paths.mesh.client().get(beside.paths.mesh.host(), "/shop", &borrowed(&headers)).await?;
    }
    let times = TIMES as u64;
    let traces = beside
        .traces_of(|name| match name {
            "gateway" => times,
            "frontend" => 2 * times,
            "backend" => 3 * times,
            _ => 0,
        })
        .await?;
    for (case, exchange) in &beside.paths.cases()? {
        let masks = case.parse::<usize>()? % 2 == 1;
        let above = if masks { "marked" } else { "error" };
        let what = format!("case {case}");
        let reasons = [above, above, above, above, "error"];
        assert_whole(&what, &traces[trace_of(exchange)?], &reasons, 2);
    }
    assert_eq!(beside.paths.total("native_unsent").await?, times, "no host: nothing was sent");
    assert_eq!(beside.paths.total("native_adopted").await?, 5 * times);
    beside.paths.mesh.assert_no_trap();
    beside.paths.mesh.quit().await
}

/// Applications that do not forward `x-request-id`: from Envoy 1.39 on each proxy draws its own decision, so the native traces have
/// gaps. Those of failing requests are filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_that_the_native_tracer_leaves_in_a_failing_path_are_filled() -> Result<()> {
    let described = Described {
        frontend: |service| service.calls("backend", "/api").forwards(Forwarding::W3c),
        backend: |service| service.calls("database", "/query").forwards(Forwarding::W3c),
        ..Described::new(NativeTracing::opentelemetry, MANY)?
    };
    let mut beside = described.start(|mesh| mesh).await?;
    let cases = [
        case("failed", database(Action::Status(503)), &FAILED),
        case("masked", masked(Action::Status(503)), &MASKED),
        case("failed again", database(Action::Status(500)), &FAILED),
    ];
    let mixed = std::sync::atomic::AtomicUsize::new(0);
    prove(&mut beside, &cases, |case, spans| {
        let ours = assert_whole(case.what, spans, case.reasons, 1);
        mixed.fetch_add(usize::from(!ours.is_multiple_of(6)), std::sync::atomic::Ordering::Relaxed);
    })
    .await?;
    let mixed = mixed.into_inner();
    println!("{mixed} of {} failing paths have spans of both exporters", cases.len() * TIMES);
    assert!(mixed > 0 || sidespan_harness::envoy_version()? < (1, 39), "both exporters in one path");
    let exchanges: Vec<Exchange> = beside.paths.mesh.exchanges("database")?;
    assert!(exchanges.iter().all(|exchange| exchange.received.header("tracestate").is_none_or(str::is_empty)));
    beside.paths.mesh.quit().await
}
