//! Requests of which nothing is recorded (dropped by a rule, or telemetry): what the next hop is told of their context.

use super::attributes::{Direction, EndFacts};
use super::headers::HeaderMap;
use super::traffic::{PARENT, TRACE, get, traceparent};
use super::world::World;

const DROPS: &str =
    r#"{"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"rules": [{"name": "all", "drop": true}]}}"#;
const KEEPS: &str = r#"{"exporter": {"otlp": {"cluster": "collector"}}}"#;
/// Trace headers of the core formats.
const NAMES: [&str; 6] = ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled"];

/// What of the context goes on.
fn passed(configuration: &str, request: HeaderMap) -> HeaderMap {
    let mut world = World::new(configuration);
    let stream = world.request(Direction::Inbound, request);
    let sent = stream.upstream_headers();
    stream.finish(EndFacts::default());
    let of_context = sent.iter().filter(|(name, _)| NAMES.iter().any(|known| known.as_bytes() == *name));
    of_context.fold(HeaderMap::default(), |map, (name, value)| map.with(name, value))
}

fn with(request: HeaderMap, lines: &[&str]) -> HeaderMap {
    lines.iter().fold(request, |map, line| {
        let (name, value) = line.split_once(": ").expect("a header");
        map.with(name, value)
    })
}

/// Sampled, not sampled, or (`None`) left to the next hop, by each format that is there.
fn decisions(headers: &HeaderMap) -> Vec<(&'static str, Option<bool>)> {
    let state = |text: &str| match text {
        "1" | "d" => Some(true),
        "0" => Some(false),
        _ => None,
    };
    let mut out = Vec::new();
    if headers.first("traceparent").is_some() {
        out.push(("traceparent", Some(traceparent(headers)[3].ends_with(['1', '3']))));
    }
    if let Some(b3) = headers.text("b3") {
        out.push(("b3", state(b3.split('-').nth(2).unwrap_or(if b3.len() == 1 { &b3 } else { "" }))));
    }
    if headers.first("x-b3-traceid").is_some() {
        out.push(("x-b3", headers.text("x-b3-sampled").and_then(|sampled| state(&sampled))));
    }
    out
}

#[test]
fn what_a_dropped_request_is_passed_on_with_agrees_in_all_formats() {
    let (single, multi) =
        (format!("b3: {TRACE}-{PARENT}"), [format!("x-b3-traceid: {TRACE}"), format!("x-b3-spanid: {PARENT}")]);
    let (denied, accepted) = (format!("{single}-0"), format!("{single}-1"));
    let w3c = |flags: &str| format!("traceparent: 00-{TRACE}-{PARENT}-{flags}");
    let (on, off) = (w3c("01"), w3c("00"));
    let table: [(&str, &[&str]); 7] = [
        ("nothing", &[]),
        ("deferred", &[&single]),
        ("deferred in several headers", &[&multi[0], &multi[1]]),
        ("denied", &[&denied]),
        ("accepted", &[&accepted]),
        ("sampled, and deferred", &[&on, &single]),
        ("not sampled, and deferred", &[&off, &multi[0], &multi[1]]),
    ];
    let mut wrong = Vec::new();
    for (what, lines) in table {
        let sent = passed(DROPS, with(get("/"), lines));
        let decisions = decisions(&sent);
        if decisions.is_empty() || decisions.iter().any(|(_, decision)| *decision != decisions[0].1) {
            wrong.push(format!("{what}: {decisions:?} in {sent:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn telemetry() -> HeaderMap {
    let request = get("/v1/traces").without(":method").with(":method", "POST");
    request.with("content-type", "application/x-protobuf").with("user-agent", "OTel-OTLP-Exporter-Java/1.50")
}

/// Nothing has to change, so nothing may: "vendors MUST NOT make any other mutations" (W3C Trace Context level 2, "Mutating the
/// traceparent Field").
#[test]
fn telemetry_that_is_not_sampled_is_passed_on_byte_for_byte() {
    let w3c = |flags: &str| format!("traceparent: 00-{TRACE}-{PARENT}-{flags}");
    let state = "tracestate: vendor=1 , ot=rv:ffffffffffffff";
    let b3 = format!("b3: {TRACE}-{PARENT}-0");
    let multi = [format!("x-b3-traceid: {TRACE}"), format!("x-b3-spanid: {PARENT}"), "x-b3-sampled: 0".to_owned()];
    let (off, random) = (w3c("00"), w3c("02"));
    let table: [(&str, Vec<&str>); 5] = [
        ("not sampled", vec![&off]),
        ("with a state", vec![&off, state]),
        ("of a random trace id", vec![&random, state]),
        ("with B3 beside it", vec![&off, &b3]),
        ("with B3 in several headers beside it", vec![&off, &multi[0], &multi[1], &multi[2]]),
    ];
    let mut wrong = Vec::new();
    for (what, lines) in table {
        let (expected, sent) = (with(HeaderMap::default(), &lines), passed(KEEPS, with(telemetry(), &lines)));
        if NAMES.iter().any(|name| sent.all(name) != expected.all(name)) {
            wrong.push(format!("{what}: {sent:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The flag may change only together with the parent id.
#[test]
fn telemetry_that_is_sampled_goes_on_unsampled_with_another_parent() {
    let lines = [format!("traceparent: 00-{TRACE}-{PARENT}-03"), format!("b3: {TRACE}-{PARENT}-1")];
    let deferred = format!("b3: {TRACE}-{PARENT}");
    for lines in [vec![lines[0].as_str()], vec![&lines[0], &lines[1]], vec![&lines[1]], vec![&deferred]] {
        let sent = passed(KEEPS, with(telemetry(), &lines));
        let decisions = decisions(&sent);
        assert!(
            !decisions.is_empty() && decisions.iter().all(|(_, decision)| *decision == Some(false)),
            "{lines:?}: {sent:?}"
        );
        let fields = traceparent(&sent);
        assert!(fields[1] == TRACE && fields[2] != PARENT, "{lines:?}: {sent:?}");
    }
}

#[test]
fn a_second_parent_of_the_same_trace_is_counted() {
    let other = "b7ad6b7169203331";
    let mut world = World::new(
        r#"{"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"randomSamplingPercentage": 100}}"#,
    );
    let lines = [PARENT, other].map(|span| format!("traceparent: 00-{TRACE}-{span}-01"));
    let request = with(get("/"), &[&lines[0], &lines[1]]);
    let stream = world.request(Direction::Inbound, request);
    let sent = traceparent(&stream.upstream_headers());
    assert_eq!(sent[1], TRACE, "the trace goes on");
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
    world.tick_after(super::traffic::FLUSH);
    world.respond_all(200);
    world.tick_after(super::traffic::FLUSH);
    let spans = world.exported();
    assert_eq!((spans[0].trace_id(), spans[0].parent_id()), (TRACE.to_owned(), PARENT.to_owned()));
    let links: Vec<String> = spans[0]
        .span
        .links
        .iter()
        .map(|link| link.span_id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    assert_eq!(links, [other]);
    assert_eq!(world.metric("sidespan_propagation_conflicts_total"), 1);
}
