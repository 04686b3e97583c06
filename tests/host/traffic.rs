//! One request through one sidecar: headers, spans, and the call that carries them.

use super::attributes::{Direction, EndFacts};
use super::headers::HeaderMap;
use super::world::World;
use std::time::Duration;

/// Everything is kept and sent to one cluster.
pub const KEEP_ALL: &str =
    r#"{"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"randomSamplingPercentage": 100}}"#;
/// Nothing is kept but what the late decision keeps.
pub const ERRORS_ONLY: &str =
    r#"{"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"randomSamplingPercentage": 0}}"#;
/// A trace id whose randomness is large: kept at any rate above a few percent.
pub const TRACE: &str = "4bf92f3577b34da6a3ff929d0e0e4736";
/// The caller's span.
pub const PARENT: &str = "00f067aa0ba902b7";

/// A request without any trace header.
pub fn get(path: &str) -> HeaderMap {
    HeaderMap::from(&[(":method", "GET"), (":path", path), (":authority", "shop.store:8080"), (":scheme", "http")])
}

/// A request within [`TRACE`].
pub fn traced(flags: &str) -> HeaderMap {
    get("/api/users/42").with("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))
}

/// Long enough for a batch to leave.
pub const FLUSH: Duration = Duration::from_secs(2);

/// The four fields of the one `traceparent`.
pub fn traceparent(headers: &HeaderMap) -> Vec<String> {
    let value = headers.text("traceparent").expect("a traceparent");
    assert_eq!(value.len(), 55, "{value}");
    value.split('-').map(str::to_owned).collect()
}

#[test]
fn the_id_that_goes_upstream_is_the_id_of_the_span_and_its_parent_is_what_came_in() {
    for (direction, kind) in [(Direction::Inbound, "SERVER"), (Direction::Outbound, "CLIENT")] {
        let mut world = World::new(KEEP_ALL);
        let start = world.now_ns();
        let stream = world.request(direction, traced("01"));
        let sent = traceparent(&stream.upstream_headers());
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
        assert_eq!(world.sent().len(), 0, "only a tick sends");
        world.tick_after(FLUSH);

        let spans = world.exported();
        assert_eq!(spans.len(), 1, "{:?}", world.log(0));
        let span = &spans[0];
        assert_eq!((sent[1].as_str(), sent[3].as_str()), (TRACE, "01"));
        assert_eq!((span.trace_id(), span.parent_id(), span.span_id()), (TRACE.into(), PARENT.into(), sent[2].clone()));
        assert_eq!((span.kind().as_str(), span.status()), (kind, "UNSET"));
        let times = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
        assert_eq!(times, (start, start + 5_000_000), "Envoy's clock");
        assert_eq!(span.resource("k8s.namespace.name").as_deref(), Some("store"));
    }
}

#[test]
fn spans_leave_in_one_call_that_a_collector_understands() {
    let mut world = World::new(KEEP_ALL);
    for _ in 0..3 {
        let stream = world.request(Direction::Inbound, traced("01"));
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
    }
    world.tick_after(FLUSH);
    let sent = world.sent();
    assert_eq!((sent.len(), sent[0].spans().len()), (1, 3));
    assert_eq!(sent[0].cluster, "collector");
    let expected = [(":method", "POST"), (":path", "/v1/traces"), ("content-type", "application/x-protobuf")];
    for (name, value) in expected {
        assert_eq!(sent[0].headers.text(name).as_deref(), Some(value), "{name}");
    }
    assert!(sent[0].timeout_ms > 0, "zero would be for ever");
    assert_eq!(traceparent(&sent[0].headers)[3], "00", "an export is not traced: no feedback");
    world.respond_all(200);
    world.tick_after(FLUSH);
    assert_eq!(world.sent().len(), 1, "nothing is sent twice");
    assert_eq!(world.metric("sidespan_spans_exported_total"), 3);
}

#[test]
fn a_request_without_context_starts_a_trace() {
    let mut world = World::new(KEEP_ALL);
    let stream = world.request(Direction::Inbound, get("/"));
    let sent = traceparent(&stream.upstream_headers());
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
    world.tick_after(FLUSH);
    let spans = world.exported();
    assert_eq!((spans[0].trace_id(), spans[0].parent_id()), (sent[1].clone(), String::new()));
    assert_eq!(sent[3], "03", "sampled, and random because we made it");
}

#[test]
fn b3_that_came_in_goes_out_and_agrees_with_traceparent() {
    let mut world = World::new(KEEP_ALL);
    let headers = get("/").with("x-b3-traceid", TRACE).with("x-b3-spanid", PARENT).with("x-b3-sampled", "1");
    let stream = world.request(Direction::Inbound, headers.with("x-b3-parentspanid", "1111111111111111"));
    let out = stream.upstream_headers();
    let sent = traceparent(&out);
    assert_eq!((out.text("x-b3-traceid"), out.text("x-b3-spanid")), (Some(TRACE.into()), Some(sent[2].clone())));
    assert!(out.text("x-b3-parentspanid").is_none_or(|parent| parent == PARENT), "never the caller's");
}

#[test]
fn bytes_that_are_not_utf_8_pass_and_the_next_request_still_has_its_span() {
    let names =
        ["x", "traceparent", "tracestate", "b3", "x-b3-traceid", "baggage", "user-agent", ":path", ":authority"];
    for name in names {
        let mut world = World::new(KEEP_ALL);
        let wild = get("/").without(name).with(name, b"\xff\xfe\x80");
        let stream = world.request(Direction::Inbound, &wild);
        if !["traceparent", "tracestate", "b3", "x-b3-traceid"].contains(&name) {
            assert_eq!(stream.upstream_headers().first(name), Some(&b"\xff\xfe\x80"[..]), "{name}");
        }
        stream.response(HeaderMap::from(&[(":status", "200")]).with("server-timing", b"\xff"));
        stream.finish(EndFacts::default());
        world.request(Direction::Inbound, traced("01")).finish(EndFacts::default());
        world.tick_after(FLUSH);
        assert!(world.exported().iter().any(|span| span.trace_id() == TRACE), "after {name}");
    }
}

#[test]
fn a_request_rejected_before_the_filter_saw_it_has_one_span_and_untouched_headers() {
    let mut world = World::new(KEEP_ALL);
    let stream = world.unseen(Direction::Inbound, traced("01"));
    stream.unseen_response(&[(":status", "403")]);
    let facts = EndFacts { details: "rbac_access_denied_matched_policy[none]", attempts: 0, ..EndFacts::default() };
    let (upstream, _) = stream.finish(facts);
    assert_eq!(upstream, traced("01"), "in on_log it is too late to change anything");
    world.tick_after(FLUSH);
    let spans = world.exported();
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].trace_id(), spans[0].parent_id()), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(spans[0].attribute("http.response.status_code").as_deref(), Some("403"));
}

#[test]
fn a_request_that_never_got_an_answer_is_an_error() {
    let mut world = World::new(ERRORS_ONLY);
    world.request(Direction::Outbound, traced("00")).finish(EndFacts::reset());
    world.tick_after(FLUSH);
    let spans = world.exported();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].status(), "ERROR");
    assert_eq!(spans[0].attribute("sidespan.sampling.reason").as_deref(), Some("error"));
    assert_eq!(spans[0].threshold().as_deref(), Some("0"), "kept with certainty");
}

#[test]
fn a_late_keep_waits_for_a_batch_like_any_span_and_for_nothing_else() {
    let mut world = World::new(ERRORS_ONLY);
    world.tick_after(FLUSH);
    let stream = world.request(Direction::Inbound, traced("00"));
    stream.response(&[(":status", "503")]);
    stream.finish(EndFacts::default());
    world.tick_after(FLUSH);
    assert_eq!(world.sent().len(), 1, "the batch's delay has passed, once");
}

#[test]
fn an_unsampled_success_is_not_exported_and_an_unsampled_error_is() {
    let mut world = World::new(ERRORS_ONLY);
    for status in ["200", "503", "404"] {
        let stream = world.request(Direction::Inbound, traced("00"));
        assert_eq!(traceparent(&stream.upstream_headers())[3], "00", "the head decision stands");
        stream.response(&[(":status", status)]);
        stream.finish(EndFacts::default());
    }
    world.tick_after(FLUSH);
    let spans = world.exported();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].attribute("http.response.status_code").as_deref(), Some("503"));
}

#[test]
fn without_configuration_the_context_is_propagated_and_nothing_is_sent() {
    for configuration in ["", "{}"] {
        let mut world = World::new(configuration);
        assert!(world.root().accepted());
        let stream = world.request(Direction::Inbound, traced("01"));
        assert_eq!(traceparent(&stream.upstream_headers())[1], TRACE);
        stream.response(&[(":status", "503")]);
        stream.finish(EndFacts::default());
        world.tick_after(Duration::from_secs(60));
        assert_eq!(world.sent().len(), 0);
    }
}
