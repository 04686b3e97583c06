//! What an answer of a receiver is counted as, and what the operator is told.

use super::attributes::{Direction, EndFacts};
use super::headers::HeaderMap;
use super::traffic::{FLUSH, traced};
use super::world::World;
use serde_json::{Value, json};

const SPANS: u64 = 5;
const WARN: u32 = 3;

/// Exports some spans and answers the call.
fn answered(exporter: Value, headers: &[(&str, &str)], body: &[u8], trailers: HeaderMap) -> World {
    let mut world =
        World::new(json!({"exporter": exporter, "sampling": {"randomSamplingPercentage": 100}}).to_string());
    for _ in 0..SPANS {
        let stream = world.request(Direction::Inbound, traced("01"));
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
    }
    world.tick_after(FLUSH);
    let [call] = &world.pending()[..] else { panic!("one call: {:?}", world.sent().len()) };
    world.respond(call.token, headers, body, trailers);
    world.tick_after(FLUSH);
    world
}

/// The receiver has taken them: a client must not read more of a response than it can hold, but the status has said all.
#[test]
fn spans_of_a_call_that_succeeded_are_delivered_however_long_the_answer_is() {
    let long = vec![b' '; 4 * 1024 * 1024 + 1];
    let otlp = |protocol: &str| json!({"otlp": {"cluster": "collector", "protocol": protocol}});
    let grpc = || HeaderMap::from(&[("grpc-status", "0")]);
    let table = [
        ("protobuf", otlp("http/protobuf"), "200", HeaderMap::default()),
        ("JSON", otlp("http/json"), "200", HeaderMap::default()),
        ("gRPC", otlp("grpc"), "200", grpc()),
        ("Zipkin", json!({"zipkin": {"cluster": "collector"}}), "202", HeaderMap::default()),
    ];
    let mut wrong = Vec::new();
    for (what, exporter, status, trailers) in table {
        let world = answered(exporter, &[(":status", status)], &long, trailers);
        let counted = |name: &str| world.metric(&format!("sidespan_{name}_total"));
        let found = (counted("spans_exported"), counted("dropped_too_large"), counted("dropped_not_retryable"));
        let advice: Vec<_> = world.log(WARN).into_iter().filter(|line| line.text.contains("maxSpans")).collect();
        if found != (SPANS, 0, 0) || !advice.is_empty() {
            wrong.push(format!("{what}: (exported, too large, not retryable) = {found:?}, {advice:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn grpc_to_a_port_that_speaks_http_is_told_by_its_protocol() {
    let exporter = json!({"otlp": {"cluster": "collector", "protocol": "grpc"}});
    let mut wrong = Vec::new();
    for status in ["404", "405", "415", "400", "200"] {
        let headers = [(":status", status), ("content-type", "text/plain; charset=utf-8")];
        let world = answered(exporter.clone(), &headers, b"404 page not found", HeaderMap::default());
        let lines: Vec<String> = world.log(WARN).into_iter().map(|line| line.text).collect();
        let told = |line: &&String| line.contains("protocol") && line.contains("gRPC") && !line.contains("path");
        if !lines.iter().any(|line| told(&line)) {
            wrong.push((status, lines));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
