//! However a request ends, it gives exactly one span on each listener, and that span says how.

use crate::request::{How, has_trace, send};
use crate::shape::undocumented;
use crate::stage::{SOON, Stage, config, filter};
use serde_json::json;
use sidespan_harness::bootstrap::{
    Cluster, Direction, Filter, Listener, Node, Route, VirtualHost, fault_abort, rbac_deny,
};
use sidespan_harness::client::fire;
use sidespan_harness::span::{Kind, Status};
use sidespan_harness::upstream::{
    Abort, Answer, break_mid_body, chunked, close, delayed, grpc, grpc_stream, grpc_trailers_only, never, reset,
    status, websocket_echo,
};
use sidespan_harness::{ReceivedSpan, Result, Upstream, envoy_version};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `error.type` and message; `None`: the status is unset.
type Error = Option<(&'static str, &'static str)>;

/// What both listeners must say.
struct Case {
    how: How,
    name: &'static str,
    http: Option<i64>,
    grpc: Option<&'static str>,
    flags: Option<&'static str>,
    /// Least duration in milliseconds; far below a timeout, which Envoy counts from when its loop last woke up.
    at_least: u64,
    server: Error,
    client: Error,
}

/// One request that was made.
struct Sent {
    case: usize,
    kind: Kind,
    trace_id: String,
    before: u64,
    after: u64,
}

const PARENT: &str = "00f067aa0ba902b7";
const LISTENERS: [(&str, Kind); 2] = [("inbound", Kind::Server), ("outbound", Kind::Client)];

fn case(how: How, name: &'static str, http: impl Into<Option<i64>>, server: Error, client: Error) -> Case {
    Case { how, name, http: http.into(), grpc: None, flags: None, at_least: 0, server, client }
}

impl Case {
    fn flags(mut self, flags: &'static str) -> Self {
        self.flags = Some(flags);
        self
    }

    fn grpc(mut self, code: &'static str) -> Self {
        self.grpc = Some(code);
        self
    }

    fn at_least(mut self, millis: u64) -> Self {
        self.at_least = millis;
        self
    }
}

#[rustfmt::skip]
fn cases(version: (u32, u32)) -> Vec<Case> {
    use How::*;
    let refused = match version {
        (..=1, ..=37) => "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused",
        _ => "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
    };
    let same = |error: (&'static str, &'static str)| (Some(error), Some(error));
    let both = |how, name, http: Option<i64>, error| { let (server, client) = same(error); case(how, name, http, server, client) };
    vec![
        case(Get("/ok"), "GET /ok", 200, None, None),
        case(Http2("/ok"), "GET /ok", 200, None, None),
        case(Method("HEAD", "/ok"), "HEAD /ok", 200, None, None),
        case(Method("PROPFIND", "/ok"), "HTTP /ok", 200, None, None),
        case(Get("/status/204"), "GET /status/{id}", 204, None, None),
        case(Get("/status/404"), "GET /status/{id}", 404, None, Some(("404", ""))),
        case(Get("/status/500"), "GET /status/{id}", 500, Some(("500", "")), Some(("500", ""))),
        case(Continue("/ok"), "POST /ok", 200, None, None),
        case(Get("/chunked"), "GET /chunked", 200, None, None).at_least(20),
        // Envoy answers.
        case(Get("/direct"), "GET /direct", 200, None, None),
        case(Get("/redirect"), "GET /redirect", 301, None, None),
        case(Host("nowhere"), "GET /ok", 404, None, Some(("404", "route_not_found"))).flags("NR"),
        case(With("x-deny"), "GET /ok", 403, None, Some(("403", "rbac_access_denied_matched_policy[denied]"))),
        case(With("x-abort"), "GET /ok", 418, None, Some(("418", "fault_filter_abort"))).flags("FI"),
        case(Upgrade("/ok"), "GET /ok", 403, None, Some(("403", "upgrade_failed"))),
        // The upstream fails.
        both(Get("/refused"), "GET /refused", Some(503), ("503", "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}")).flags("UF"),
        both(Get("/nobody"), "GET /nobody", Some(503), ("503", "no_healthy_upstream")).flags("UH"),
        both(Get("/full"), "GET /full", Some(503), ("503", "upstream_reset_before_response_started{overflow}")).flags("UO"),
        both(Get("/close"), "GET /close", Some(503), ("503", "upstream_reset_before_response_started{connection_termination}")).flags("UC"),
        both(Get("/reset"), "GET /reset", Some(503), ("503", "upstream_reset_before_response_started{connection_termination}")).flags("UC"),
        both(Get("/break"), "GET /break", Some(200), ("UpstreamProtocolError", "upstream_reset_after_response_started{protocol_error}")).flags("UPE"),
        both(Get("/timeout"), "GET /timeout", Some(504), ("504", "response_timeout")).flags("UT").at_least(100),
        both(Get("/idle"), "GET /idle", Some(504), ("504", "stream_idle_timeout")).flags("SI").at_least(100),
        both(Get("/retries"), "GET /retries", Some(503), ("503", "UpstreamRetryLimitExceeded")).flags("URX"),
        // The client goes away.
        case(LeaveBefore("/never"), "GET /never", None, None, None).flags("DC"),
        case(LeaveHttp2("/never"), "GET /never", None, None, None).flags("DR"),
        case(LeaveDuring("/endless"), "GET /endless", 200, None, None).flags("DC"),
        // Upgrades.
        // Its server closed it, which is how a websocket ends: no error, although Envoy calls it a reset.
        case(Socket("/websocket"), "GET /websocket", 101, None, None).flags("UC"),
        // gRPC.
        case(Grpc("/shop.Cart/Ok"), "shop.Cart/Ok", None, None, None).grpc("OK"),
        case(Grpc("/shop.Cart/Stream"), "shop.Cart/Stream", None, None, None).grpc("OK").at_least(20),
        case(Grpc("/shop.Cart/NotFound"), "shop.Cart/NotFound", None, None, Some(("NOT_FOUND", "no such cart"))).grpc("NOT_FOUND"),
        both(Grpc("/shop.Cart/Internal"), "shop.Cart/Internal", None, ("INTERNAL", "it broke")).grpc("INTERNAL"),
        both(Grpc("/shop.Cart/TrailersOnly"), "shop.Cart/TrailersOnly", None, ("UNAVAILABLE", "no stock")).grpc("UNAVAILABLE"),
        both(Grpc("/shop.Cart/Late"), "shop.Cart/Late", None, ("DEADLINE_EXCEEDED", "too slow")).grpc("DEADLINE_EXCEEDED"),
        both(Grpc("/shop.Cart/Timeout"), "shop.Cart/Timeout", None, ("UNAVAILABLE", "upstream request timeout")).grpc("UNAVAILABLE").flags("UT").at_least(100),
        both(Grpc("/shop.Cart/Deadline"), "shop.Cart/Deadline", None, ("DEADLINE_EXCEEDED", "downstream duration timeout")).grpc("DEADLINE_EXCEEDED").at_least(100),
        both(Grpc("/shop.Cart/Break"), "shop.Cart/Break", None, ("UpstreamRemoteReset", "upstream_reset_after_response_started{remote_reset}")).flags("UR"),
        both(Grpc("/shop.Cart/Refused"), "shop.Cart/Refused", None, ("UNAVAILABLE", refused)).grpc("UNAVAILABLE").flags("UF"),
    ]
}

async fn answer(path: &str) -> Answer {
    match path {
        "/close" => close().await,
        "/reset" => reset().await,
        "/break" => break_mid_body(Abort::Reset).await,
        "/timeout" | "/idle" | "/never" | "/shop.Cart/Timeout" | "/shop.Cart/Deadline" => never().await,
        "/retries" => status(503, "busy").await,
        "/chunked" => chunked(4, Duration::from_millis(10)).await,
        "/endless" => chunked(100_000, Duration::from_millis(10)).await,
        "/status/204" => status(204, "").await,
        "/status/404" => status(404, "no").await,
        "/status/500" => status(500, "no").await,
        "/shop.Cart/Ok" => grpc(0, "").await,
        "/shop.Cart/Stream" => grpc_stream(5, Duration::from_millis(10), 0, "").await,
        "/shop.Cart/NotFound" => grpc(5, "no such cart").await,
        "/shop.Cart/Internal" => grpc(13, "it broke").await,
        "/shop.Cart/TrailersOnly" => grpc_trailers_only(14, "no stock").await,
        "/shop.Cart/Late" => delayed(Duration::from_millis(5), grpc_trailers_only(4, "too slow")).await,
        "/shop.Cart/Break" => break_mid_body(Abort::Reset).await,
        _ => status(200, "ok").await,
    }
}

fn listener(name: &str, direction: Direction) -> Result<Listener> {
    let routes = [
        Route::direct_response("/direct", 200, "from Envoy"),
        Route::redirect("/redirect", "/ok"),
        Route::cluster("/refused", "refused"),
        Route::cluster("/nobody", "nobody"),
        Route::cluster("/full", "full"),
        Route::cluster("/timeout", "app").timeout("0.5s"),
        Route::cluster("/idle", "app").with(json!({"route": {"idle_timeout": "0.5s"}})),
        Route::cluster("/never", "app").timeout("0s"),
        Route::cluster("/retries", "app").retry("5xx", 2),
        Route::cluster("/websocket", "app").websocket(),
        Route::cluster("/shop.Cart/Timeout", "app2").timeout("0.5s"),
        Route::cluster("/shop.Cart/Deadline", "app2")
            .with(json!({"route": {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "5s"}}})),
        Route::cluster("/shop.Cart/Refused", "refused"),
        Route::cluster("/shop.Cart/", "app2"),
        Route::cluster("/", "app"),
    ];
    let filters: [Filter; 3] = [rbac_deny("x-deny"), filter(&config(json!({})))?.into(), fault_abort("x-abort", 418)];
    let listener = Listener::new(name, direction).virtual_host(VirtualHost::new("backend", &["backend"], routes));
    Ok(filters.into_iter().fold(listener, Listener::filter))
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Every way in which a span differs from what is expected.
fn differences(case: &Case, sent: &Sent, span: &ReceivedSpan, app: &Upstream) -> Vec<String> {
    let error = if sent.kind == Kind::Server { case.server } else { case.client };
    let mut out = span.problems.clone();
    let mut same = |what: &str, found: String, expected: String| {
        if found != expected {
            out.push(format!("{what}: {found}, not {expected}"));
        }
    };
    same("kind", format!("{:?}", span.kind), format!("{:?}", sent.kind));
    same("name", span.name.clone(), case.name.to_owned());
    let status = if error.is_some() { Status::Error } else { Status::Unset };
    same("status", format!("{:?}", span.status), format!("{status:?}"));
    same("message", span.status_message.clone(), error.map_or("", |(_, message)| message).to_owned());
    same("error.type", format!("{:?}", span.text("error.type")), format!("{:?}", error.map(|(kind, _)| kind)));
    same("http", format!("{:?}", span.int("http.response.status_code")), format!("{:?}", case.http));
    same("grpc", format!("{:?}", span.text("rpc.status_code")), format!("{:?}", case.grpc));
    same("flags", format!("{:?}", span.text("envoy.response_flags")), format!("{:?}", case.flags));
    same("parent", span.parent_span_id.clone(), PARENT.to_owned());
    for request in app.requests().iter().filter(|request| has_trace(request, &traceparent(&sent.trace_id))) {
        let expected = format!("00-{}-{}-01", span.trace_id, span.span_id);
        same("sent upstream", format!("{:?}", request.header("traceparent")), format!("{:?}", Some(expected)));
    }
    // The last byte reaches the client a little before Envoy is done with the request.
    let slack = 2_000_000_000;
    if span.start_ns < sent.before || span.start_ns > sent.after || span.end_ns > sent.after + slack {
        out.push(format!("times {} to {}, not within {} to {}", span.start_ns, span.end_ns, sent.before, sent.after));
    }
    if span.end_ns - span.start_ns < case.at_least * 1_000_000 {
        out.push(format!("only {} ns long", span.end_ns - span.start_ns));
    }
    out
}

fn traceparent(trace_id: &str) -> String {
    format!("00-{trace_id}-{PARENT}-01")
}

#[tokio::test]
async fn however_a_request_ends_each_listener_gives_exactly_one_span_that_says_how() -> Result<()> {
    let refused = Upstream::ok().await?;
    refused.refuse().await?;
    let app = Upstream::start(|request| async move {
        match request.uri().path() {
            "/websocket" => websocket_echo(request).await,
            path => answer(path).await,
        }
    })
    .await?;
    let port = app.port();
    let (inbound, outbound) = (listener("inbound", Direction::Inbound)?, listener("outbound", Direction::Outbound)?);
    let mut stage = Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        bootstrap
            .listener(inbound)
            .listener(outbound)
            .cluster(Cluster::new("app2", port).http2())
            .cluster(Cluster::new("full", port).circuit_breaker(0, 0, 0))
            .cluster(Cluster::new("refused", refused.port()))
            .cluster(Cluster::without_endpoints("nobody"))
    })
    .await?;
    let cases = cases(envoy_version()?);
    // All at once: none may take another's place.
    let sent = fire(cases.len() * 2, usize::MAX, |number| {
        let (listener, kind) = LISTENERS[number % 2];
        let (case, trace_id) = (number / 2, format!("4bf92f3577b34da6a3ce929d{number:08x}"));
        let (stage, cases) = (&stage, &cases);
        async move {
            let before = now_ns();
            let port = stage.envoy.port(listener)?;
            send(cases[case].how, port, &stage.app, &traceparent(&trace_id)).await?;
            Ok(Sent { case, kind, trace_id, before, after: now_ns() })
        }
    })
    .await;
    let sent = sent.into_iter().collect::<Result<Vec<_>>>()?;
    let all = |spans: &[ReceivedSpan]| sent.iter().all(|sent| spans.iter().any(|span| span.trace_id == sent.trace_id));
    stage.receiver.wait_until(SOON, all).await?;
    // What is sent last arrives last: after it there can be no second span of any of the others.
    let last = "ffffffffffffffffffffffffffffffff";
    for (listener, _) in LISTENERS {
        stage.client(listener)?.get("backend", "/ok", &[("traceparent", &traceparent(last))]).await?;
    }
    let both = |spans: &[ReceivedSpan]| spans.iter().filter(|span| span.trace_id == last).count() == 2;
    let spans = stage.receiver.wait_until(SOON, both).await?;
    let mut wrong = Vec::new();
    for sent in &sent {
        let case = &cases[sent.case];
        let found: Vec<_> = spans.iter().filter(|span| span.trace_id == sent.trace_id).collect();
        let [span] = found.as_slice() else {
            wrong.push(format!("{} {:?}: {} spans", case.name, sent.kind, found.len()));
            continue;
        };
        wrong.extend(undocumented(span));
        let differences = differences(case, sent, span, &stage.app);
        wrong.extend(differences.iter().map(|text| format!("{} {:?}: {text}", case.name, sent.kind)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stage.envoy.assert_no_trap();
    Ok(())
}
