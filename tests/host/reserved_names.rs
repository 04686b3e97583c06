//! Header names that have a meaning already: a configuration that would overwrite them is refused, with its path and a hint.

use super::world::World;
use serde_json::{Value, json};

/// In responses: what protocols, applications, Envoy and this filter need.
const OF_RESPONSES: &[&str] = &[
    "server-timing",
    "Server-Timing",
    "traceresponse",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "set-cookie",
    "location",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "content-disposition",
    "transfer-encoding",
    "connection",
    "upgrade",
    "trailer",
    "te",
    "host",
    "date",
    "etag",
    "vary",
    "cache-control",
    "www-authenticate",
    "access-control-allow-origin",
    "retry-after",
];
const FREE_IN_RESPONSES: &[&str] = &["x-trace-id", "X-Trace-Id", "trace-id", "x-correlation-id"];

/// In exports: what the protocol, Envoy or the exporter itself writes.
const OF_EXPORTS: &[&str] = &[
    "traceparent",
    "tracestate",
    "Tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-b3-parentspanid",
    "grpc-encoding",
    "grpc-timeout",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "te",
    "host",
];
const FREE_IN_EXPORTS: &[&str] = &["authorization", "x-scope-orgid", "api-key", "X-Tenant-Id"];

/// The error that a configuration is refused with; nothing if it is accepted.
fn refusal(configuration: &Value) -> Option<String> {
    let world = World::new(configuration.to_string());
    world.log(4).into_iter().map(|line| line.text).find(|text| text.contains("pluginConfig is not usable"))
}

fn assert_reserved(path: &str, reserved: &[&str], free: &[&str], configuration: impl Fn(&str) -> Value) {
    let mut wrong = Vec::new();
    for name in reserved {
        match refusal(&configuration(name)) {
            // `path: problem (hint)`.
            Some(text) if text.contains(path) && text.contains(" (") && text.trim_end().ends_with(')') => {}
            Some(text) => wrong.push(format!("{name}: {text}")),
            None => wrong.push(format!("{name}: accepted")),
        }
    }
    for name in free {
        wrong.extend(refusal(&configuration(name)).map(|text| format!("{name}: {text}")));
    }
    assert!(wrong.is_empty(), "{path}: {} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn a_trace_id_is_put_into_no_header_of_a_response_that_has_a_meaning() {
    assert_reserved(
        "propagation.traceIdResponseHeader",
        OF_RESPONSES,
        FREE_IN_RESPONSES,
        |name| json!({"propagation": {"traceIdResponseHeader": name}}),
    );
}

#[test]
fn no_header_that_the_exporter_writes_can_be_configured() {
    assert_reserved(
        "exporter.otlp.headers",
        OF_EXPORTS,
        FREE_IN_EXPORTS,
        |name| json!({"exporter": {"otlp": {"cluster": "collector", "headers": {name: "x"}}}}),
    );
    assert_reserved(
        "exporter.zipkin.headers",
        OF_EXPORTS,
        FREE_IN_EXPORTS,
        |name| json!({"exporter": {"zipkin": {"cluster": "collector", "headers": {name: "x"}}}}),
    );
}
