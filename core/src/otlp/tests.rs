//! What is written is read back by decoders that we did not write: prost and serde over `opentelemetry-proto`, serde_json.

use super::*;
use crate::context::{Flags, SpanContext};
use crate::id::{SpanId, TraceId};
use crate::span::{Attribute, Kind, Link, Span, Status, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

fn trace_id() -> impl Strategy<Value = TraceId> {
    (any::<u64>(), 1..u64::MAX).prop_map(|(high, low)| TraceId::from_halves(high, low).expect("not zero"))
}

fn span_id() -> impl Strategy<Value = SpanId> {
    (1..u64::MAX).prop_map(|id| SpanId::from_u64(id).expect("not zero"))
}

fn flags() -> impl Strategy<Value = Flags> {
    (0u8..4).prop_map(Flags::from_bits)
}

/// Short and long enough for lengths of one, two and three bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "[a-z.\"\\\\\u{0}-\u{1f}é\u{1f600}]{0,20}",
        1 => (100usize..300).prop_map(|size| "x".repeat(size)),
        1 => (16_300usize..16_400).prop_map(|size| "y".repeat(size)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Bool),
        // serde_json reads long fractions to the nearest but one; `json.rs` has a test over all numbers.
        any::<i32>().prop_map(|number| Value::Double(f64::from(number) / 8.0)),
        vec(text(), 0..3).prop_map(Value::Strings),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    vec(value(), 0..6).prop_map(|values| {
        values.into_iter().enumerate().map(|(index, value)| Attribute::new(format!("k\"{index}"), value)).collect()
    })
}

fn link() -> impl Strategy<Value = Link> {
    (trace_id(), span_id(), flags(), attributes()).prop_map(|(trace_id, span_id, flags, attributes)| Link {
        context: SpanContext { trace_id, span_id, flags },
        attributes,
    })
}

pub(crate) fn span() -> impl Strategy<Value = Span> {
    let ids = (trace_id(), span_id(), proptest::option::of(span_id()), flags());
    let kind = prop_oneof![Just(Kind::Server), Just(Kind::Client)];
    let status = prop_oneof![Just(Status::Unset), text().prop_map(|text| Status::Error(text.into()))];
    let rest = (text(), kind, any::<u64>(), any::<u64>(), attributes(), any::<u32>(), vec(link(), 0..3), status);
    (ids, rest).prop_map(|((trace_id, span_id, parent, flags), rest)| {
        let (name, kind, start_ns, end_ns, attributes, dropped_attributes, links, status) = rest;
        Span {
            trace_id,
            span_id,
            parent,
            flags,
            name,
            kind,
            start_ns,
            end_ns,
            attributes,
            dropped_attributes,
            links,
            status,
        }
    })
}

fn trace_state() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "ot=th:[0-9a-f]{1,14}", "[a-z]{1,200}=[ -+.-<>-~]{1,200}"]
}

fn expected_attributes(attributes: &[Attribute]) -> Vec<KeyValue> {
    let string = |text: &str| any_value::Value::StringValue(text.to_owned());
    let convert = |value: &Value| match value {
        Value::String(text) => string(text),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Bool(truth) => any_value::Value::BoolValue(*truth),
        Value::Double(number) => any_value::Value::DoubleValue(*number),
        Value::Strings(texts) => any_value::Value::ArrayValue(ArrayValue {
            values: texts.iter().map(|text| AnyValue { value: Some(string(text)) }).collect(),
        }),
    };
    let pair = |attribute: &Attribute| KeyValue {
        key: attribute.key.clone().into_owned(),
        value: Some(AnyValue { value: Some(convert(&attribute.value)) }),
        ..KeyValue::default()
    };
    attributes.iter().map(pair).collect()
}

/// The span as the oracle's own type, field by field.
fn expected(span: &Span, trace_state: &str) -> proto::Span {
    let remote = if span.parent.is_some() { 0x300 } else { 0 };
    proto::Span {
        trace_id: span.trace_id.as_bytes().to_vec(),
        span_id: span.span_id.as_bytes().to_vec(),
        trace_state: trace_state.to_owned(),
        parent_span_id: span.parent.map_or(Vec::new(), |id| id.as_bytes().to_vec()),
        flags: u32::from(span.flags.bits()) | remote,
        name: span.name.clone(),
        kind: match span.kind {
            Kind::Server => proto::span::SpanKind::Server as i32,
            Kind::Client => proto::span::SpanKind::Client as i32,
        },
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns.max(span.start_ns),
        attributes: expected_attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        links: span
            .links
            .iter()
            .map(|link| proto::span::Link {
                trace_id: link.context.trace_id.as_bytes().to_vec(),
                span_id: link.context.span_id.as_bytes().to_vec(),
                attributes: expected_attributes(&link.attributes),
                flags: u32::from(link.context.flags.bits()) | 0x300,
                ..proto::span::Link::default()
            })
            .collect(),
        status: match &span.status {
            Status::Unset => None,
            Status::Error(message) => Some(proto::Status {
                message: message.clone().into_owned(),
                code: proto::status::StatusCode::Error as i32,
            }),
        },
        ..proto::Span::default()
    }
}

/// One request of two sections, as the exporter frames it.
fn request(encoding: Encoding, resource: &[Attribute], spans: &[(Span, String)]) -> Vec<u8> {
    let encoder = Encoder::new(encoding, resource);
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (index, (span, trace_state)) in spans.iter().enumerate() {
        let mut body = Vec::new();
        encoder.encode(span, &mut body);
        // The section in the middle stays empty.
        encoder.seal(&body, trace_state.as_bytes(), &mut sections[if index < spans.len() / 2 { 0 } else { 2 }]);
    }
    let [first, middle, last] = &sections;
    let mut out = Vec::new();
    Envelope::new(encoding, resource, "1.2.3", "https://example.com/1").frame(&[first, middle, last], &mut out);
    out
}

fn check(
    decoded: ExportTraceServiceRequest,
    resource: &[Attribute],
    spans: &[(Span, String)],
) -> Result<(), TestCaseError> {
    let [resource_spans] = decoded.resource_spans.try_into().expect("one resource");
    prop_assert_eq!(resource_spans.resource.expect("a resource").attributes, expected_attributes(resource));
    prop_assert_eq!(&resource_spans.schema_url, SCHEMA_URL);
    let [scope_spans] = resource_spans.scope_spans.try_into().expect("one scope");
    let scope = scope_spans.scope.expect("a scope");
    prop_assert_eq!((scope.name.as_str(), scope.version.as_str()), ("sidespan", "1.2.3"));
    prop_assert_eq!(&scope_spans.schema_url, "https://example.com/1");
    let expected: Vec<_> = spans.iter().map(|(span, trace_state)| expected(span, trace_state)).collect();
    prop_assert_eq!(scope_spans.spans, expected);
    Ok(())
}

fn spans() -> impl Strategy<Value = Vec<(Span, String)>> {
    vec((span(), trace_state()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prost_reads_the_protobuf_we_write(resource in attributes(), spans in spans()) {
        let bytes = request(Encoding::Protobuf, &resource, &spans);
        check(ExportTraceServiceRequest::decode(&*bytes).expect("protobuf"), &resource, &spans)?;
    }

    #[test]
    fn serde_reads_the_json_we_write(resource in attributes(), spans in spans()) {
        let bytes = request(Encoding::Json, &resource, &spans);
        check(serde_json::from_slice(&bytes).expect("OTLP/JSON"), &resource, &spans)?;
    }

    #[test]
    fn zipkin_is_json_of_strings_with_unique_tags(resource in attributes(), spans in spans()) {
        let bytes = request(Encoding::Zipkin, &resource, &spans);
        let decoded: Vec<ZipkinSpan> = serde_json::from_slice(&bytes).expect("Zipkin JSON");
        prop_assert_eq!(decoded.len(), spans.len());
        for (zipkin, (span, trace_state)) in decoded.iter().zip(&spans) {
            prop_assert_eq!(&zipkin.trace_id, &span.trace_id.to_string());
            prop_assert_eq!(&zipkin.id, &span.span_id.to_string());
            prop_assert_eq!(&zipkin.parent_id, &span.parent.map(|id| id.to_string()));
            prop_assert_eq!(&zipkin.name, &span.name);
            prop_assert_eq!(zipkin.timestamp, span.start_ns / 1000);
            prop_assert!(zipkin.duration >= 1);
            let mut keys: Vec<_> = zipkin.tags.0.iter().map(|(key, _)| key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), zipkin.tags.0.len());
            prop_assert_eq!(zipkin.tag("w3c.tracestate").unwrap_or_default(), trace_state);
            prop_assert_eq!(zipkin.tag("error").is_some(), span.status != Status::Unset);
            for attribute in &span.attributes {
                let Value::String(text) = &attribute.value else { continue };
                prop_assert_eq!(zipkin.tag(&attribute.key), Some(text.as_ref()));
            }
        }
    }

    #[test]
    fn a_span_printed_alone_is_the_span_of_the_request(span in span(), trace_state in trace_state()) {
        let printed = json::span_to_string(&span, trace_state.as_bytes());
        let decoded: proto::Span = serde_json::from_str(&printed).expect("OTLP/JSON");
        prop_assert_eq!(decoded, expected(&span, &trace_state));
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ZipkinSpan {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    kind: String,
    name: String,
    timestamp: u64,
    duration: u64,
    local_endpoint: serde_json::Value,
    remote_endpoint: Option<serde_json::Value>,
    tags: Tags,
}

/// Keys as they come, so that a repeated one is seen.
#[derive(Debug)]
struct Tags(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Tags;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Tags, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Tags(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl ZipkinSpan {
    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// A small span that tests dress up.
pub(crate) fn plain_span() -> Span {
    Span {
        trace_id: TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").expect("valid"),
        span_id: SpanId::from_hex(b"00f067aa0ba902b7").expect("valid"),
        parent: None,
        flags: Flags::new(true, true),
        name: "GET /api/users/{id}".to_owned(),
        kind: Kind::Client,
        start_ns: 1_700_000_000_000_000_001,
        end_ns: 1_700_000_000_012_345_678,
        attributes: Vec::new(),
        dropped_attributes: 0,
        links: Vec::new(),
        status: Status::Unset,
    }
}

fn zipkin(span: &Span, resource: &[Attribute]) -> ZipkinSpan {
    let bytes = request(Encoding::Zipkin, resource, &[(span.clone(), String::new())]);
    let mut spans: Vec<ZipkinSpan> = serde_json::from_slice(&bytes).expect("Zipkin JSON");
    spans.pop().expect("one span")
}

#[test]
fn zipkin_times_are_microseconds_and_a_duration_is_never_zero() {
    for (nanoseconds, expected) in [(0, 1), (1, 1), (499, 1), (1_499, 1), (1_500, 2), (12_345_677, 12_346)] {
        let span = Span { end_ns: plain_span().start_ns + nanoseconds, ..plain_span() };
        assert_eq!(zipkin(&span, &[]).duration, expected, "{nanoseconds}");
    }
    let backwards = Span { end_ns: 0, ..plain_span() };
    assert_eq!(zipkin(&backwards, &[]).duration, 1);
    assert_eq!(zipkin(&backwards, &[]).timestamp, 1_700_000_000_000_000);
}

#[test]
fn zipkin_endpoints_name_both_sides() {
    let resource = [Attribute::new("service.name", "shop"), Attribute::new("cloud.region", "eu")];
    let span = zipkin(&plain_span(), &resource);
    assert_eq!(span.local_endpoint, serde_json::json!({"serviceName": "shop"}));
    assert_eq!((span.kind.as_str(), span.tag("cloud.region"), span.tag("service.name")), ("CLIENT", Some("eu"), None));
    assert_eq!(zipkin(&plain_span(), &[]).local_endpoint, serde_json::json!({"serviceName": "unknown_service"}));
    let address = || Attribute::new("network.peer.address", "10.0.0.7");
    let port = || Attribute::new("network.peer.port", 8080);
    let server = || Attribute::new("server.address", "db");
    let table = [
        (vec![server(), address(), port()], serde_json::json!({"serviceName": "db", "ipv4": "10.0.0.7", "port": 8080})),
        (vec![Attribute::new("network.peer.address", "::1")], serde_json::json!({"ipv6": "::1"})),
        (vec![address(), Attribute::new("network.peer.port", 70_000)], serde_json::json!({"ipv4": "10.0.0.7"})),
        (vec![server(), Attribute::new("peer.service", "dbs")], serde_json::json!({"serviceName": "dbs"})),
        (vec![Attribute::new("network.peer.address", "not an address")], serde_json::Value::Null),
    ];
    for (attributes, expected) in table {
        let span = zipkin(&Span { attributes, ..plain_span() }, &[]);
        assert_eq!(span.remote_endpoint.unwrap_or_default(), expected);
    }
}

#[test]
fn only_the_status_makes_a_zipkin_error() {
    let tag = |span: Span| zipkin(&span, &[]).tag("error").map(str::to_owned);
    let attributes = vec![Attribute::new("error", false), Attribute::new("error.type", "503")];
    assert_eq!(tag(Span { attributes: attributes.clone(), ..plain_span() }), None);
    let failed = Span { attributes, status: Status::Error("".into()), ..plain_span() };
    assert_eq!(tag(failed.clone()).as_deref(), Some("503"));
    assert_eq!(tag(Span { status: Status::Error("reset".into()), ..failed }).as_deref(), Some("reset"));
}

#[test]
fn zipkin_tags_are_text_and_the_span_wins_over_the_resource() {
    let attributes = vec![
        Attribute::new("n", 42),
        Attribute::new("d", Value::Double(0.5)),
        Attribute::new("b", true),
        Attribute::new("l", Value::Strings(vec!["a\"".into(), "b".into()])),
        Attribute::new("both", "span"),
    ];
    let context =
        SpanContext { trace_id: plain_span().trace_id, span_id: plain_span().span_id, flags: Flags::default() };
    let links = vec![Link { context, attributes: vec![Attribute::new("reason", "conflict"), Attribute::new("n", 1)] }];
    let span = Span { attributes, links, dropped_attributes: 3, ..plain_span() };
    let span = zipkin(&span, &[Attribute::new("both", "resource")]);
    let expected = [
        ("n", "42"),
        ("d", "0.5"),
        ("b", "true"),
        ("l", r#"["a\"","b"]"#),
        ("both", "span"),
        ("otel.scope.name", "sidespan"),
        ("otel.dropped_attributes_count", "3"),
        ("otlp.link.0", r#"4bf92f3577b34da6a3ce929d0e0e4736|00f067aa0ba902b7||{"reason":"conflict","n":1}|0"#),
    ];
    for (key, value) in expected {
        assert_eq!(span.tag(key), Some(value), "{key}");
    }
}

#[test]
fn a_trace_state_that_is_not_text_is_left_out_and_the_span_stays_readable() {
    for encoding in [Encoding::Protobuf, Encoding::Json, Encoding::Zipkin] {
        let encoder = Encoder::new(encoding, &[]);
        let (mut body, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        encoder.encode(&plain_span(), &mut body);
        encoder.seal(&body, b"a=\xff", &mut with);
        encoder.seal(&body, b"", &mut without);
        assert_eq!(with, without);
    }
}

#[test]
fn the_envelope_says_how_much_it_adds() {
    let resource = [Attribute::new("service.name", "shop")];
    for encoding in [Encoding::Protobuf, Encoding::Json, Encoding::Zipkin] {
        let envelope = Envelope::new(encoding, &resource, SCOPE_VERSION, SCHEMA_URL);
        for size in [1, 100, 200, 20_000, 3_000_000] {
            let mut out = Vec::new();
            envelope.frame(&[&vec![b'x'; size], b"y", b""], &mut out);
            assert!(out.len() <= size + 1 + envelope.overhead(), "{encoding:?} {size}");
        }
    }
}
