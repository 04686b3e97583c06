//! From the messages of `opentelemetry-proto` to plain values, with everything that OTLP forbids named.

use super::received::{Attributes, Event, Kind, Link, ReceivedSpan, Scope, Status};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde_json::{Value, json};

/// All spans of a request, in order.
pub fn spans_of(request: &ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut spans = Vec::new();
    for group in &request.resource_spans {
        let mut problems = Vec::new();
        let resource =
            group.resource.as_ref().map(|resource| attributes(&resource.attributes, "resource", &mut problems));
        if resource.is_none() {
            problems.push("no resource".to_owned());
        }
        for scoped in &group.scope_spans {
            let scope = scope_of(scoped, &group.schema_url);
            spans.extend(scoped.spans.iter().map(|span| {
                let mut received = received(span, problems.clone());
                received.resource = resource.clone().unwrap_or_default();
                received.scope = scope.clone();
                received
            }));
        }
    }
    spans
}

fn scope_of(scoped: &otlp::ScopeSpans, resource_schema: &str) -> Scope {
    let scope = scoped.scope.clone().unwrap_or_default();
    let schema = if scoped.schema_url.is_empty() { resource_schema } else { &scoped.schema_url };
    Scope { name: scope.name, version: scope.version, schema_url: schema.to_owned() }
}

fn received(span: &otlp::Span, mut problems: Vec<String>) -> ReceivedSpan {
    let attributes = attributes(&span.attributes, "span", &mut problems);
    let status = span.status.clone().unwrap_or_default();
    check(span, status.code, &mut problems);
    ReceivedSpan {
        resource: Attributes::new(),
        scope: Scope::default(),
        trace_id: hex::encode(&span.trace_id),
        span_id: hex::encode(&span.span_id),
        parent_span_id: hex::encode(&span.parent_span_id),
        trace_state: span.trace_state.clone(),
        flags: span.flags,
        name: span.name.clone(),
        kind: Kind::from_number(span.kind),
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes,
        dropped_attributes: span.dropped_attributes_count,
        events: span.events.iter().map(|event| event_of(event, &mut problems)).collect(),
        links: span.links.iter().map(|link| link_of(link, &mut problems)).collect(),
        status: Status::from_number(status.code),
        status_message: status.message,
        problems,
    }
}

fn event_of(event: &otlp::span::Event, problems: &mut Vec<String>) -> Event {
    let attributes = attributes(&event.attributes, "event", problems);
    Event { time_ns: event.time_unix_nano, name: event.name.clone(), attributes }
}

fn link_of(link: &otlp::span::Link, problems: &mut Vec<String>) -> Link {
    check_id("link trace id", &link.trace_id, 16, problems);
    check_id("link span id", &link.span_id, 8, problems);
    Link {
        trace_id: hex::encode(&link.trace_id),
        span_id: hex::encode(&link.span_id),
        trace_state: link.trace_state.clone(),
        flags: link.flags,
        attributes: attributes(&link.attributes, "link", problems),
    }
}

fn check(span: &otlp::Span, status: i32, problems: &mut Vec<String>) {
    check_id("trace id", &span.trace_id, 16, problems);
    check_id("span id", &span.span_id, 8, problems);
    if !span.parent_span_id.is_empty() {
        check_id("parent span id", &span.parent_span_id, 8, problems);
    }
    if span.parent_span_id == span.span_id {
        problems.push("the span is its own parent".to_owned());
    }
    if span.name.is_empty() {
        problems.push("no name".to_owned());
    }
    if span.start_time_unix_nano == 0 || span.end_time_unix_nano < span.start_time_unix_nano {
        problems.push(format!("start {} end {}", span.start_time_unix_nano, span.end_time_unix_nano));
    }
    if !(1..=5).contains(&span.kind) {
        problems.push(format!("kind {}", span.kind));
    }
    if !(0..=2).contains(&status) {
        problems.push(format!("status {status}"));
    }
}

fn check_id(what: &str, id: &[u8], length: usize, problems: &mut Vec<String>) {
    if id.len() != length || id.iter().all(|byte| *byte == 0) {
        problems.push(format!("{what} {}", hex::encode(id)));
    }
}

fn attributes(list: &[KeyValue], of: &str, problems: &mut Vec<String>) -> Attributes {
    let mut map = Attributes::new();
    for entry in list {
        if entry.key.is_empty() {
            problems.push(format!("{of} attribute without a key"));
        }
        if map.insert(entry.key.clone(), json_of(entry.value.as_ref())).is_some() {
            problems.push(format!("{of} attribute {} twice", entry.key));
        }
    }
    map
}

/// Bytes become `{"bytes": "<hex>"}`, so that they can be told from text.
fn json_of(value: Option<&AnyValue>) -> Value {
    use any_value::Value as Any;
    match value.and_then(|any| any.value.as_ref()) {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(array)) => array.values.iter().map(|item| json_of(Some(item))).collect(),
        Some(Any::KvlistValue(list)) => {
            list.values.iter().map(|entry| (entry.key.clone(), json_of(entry.value.as_ref()))).collect()
        }
        Some(Any::BytesValue(bytes)) => json!({"bytes": hex::encode(bytes)}),
        Some(Any::StringValueStrindex(index)) => json!({"strindex": index}),
    }
}

// === impl Kind, Status ===

impl Kind {
    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

impl Status {
    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_otlp_forbids_is_named() {
        let good = otlp::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "n".to_owned(),
            kind: 2,
            start_time_unix_nano: 1,
            end_time_unix_nano: 1,
            ..otlp::Span::default()
        };
        assert_eq!(received(&good, Vec::new()).problems, Vec::<String>::new());
        let twice = KeyValue { key: "k".to_owned(), ..KeyValue::default() };
        let table = [
            (otlp::Span { trace_id: vec![0; 16], ..good.clone() }, "trace id 00000000000000000000000000000000"),
            (otlp::Span { span_id: vec![1; 7], ..good.clone() }, "span id 01010101010101"),
            (otlp::Span { parent_span_id: vec![2; 8], ..good.clone() }, "the span is its own parent"),
            (otlp::Span { name: String::new(), ..good.clone() }, "no name"),
            (otlp::Span { end_time_unix_nano: 0, ..good.clone() }, "start 1 end 0"),
            (otlp::Span { kind: 0, ..good.clone() }, "kind 0"),
            (otlp::Span { attributes: vec![twice.clone(), twice], ..good.clone() }, "span attribute k twice"),
        ];
        for (span, expected) in table {
            assert_eq!(received(&span, Vec::new()).problems, [expected]);
        }
    }
}
