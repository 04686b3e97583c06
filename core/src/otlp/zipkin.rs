//! A span as Zipkin v2 JSON (`zipkin-api`, `zipkin2-api.yaml`).
//!
//! The mapping is OpenTelemetry's (`specification/trace/sdk_exporters/zipkin.md`): attributes become tags, all strings; an
//! error is the tag `error`; what Zipkin has no place for (resource, scope, links, trace state) becomes tags under the names
//! that the OpenTelemetry Collector reads back.

use super::encoding::SCOPE_NAME;
use super::json::{append, double, list, string};
use crate::http::number::print_double;
use crate::span::{Attribute, Kind, Link, Span, Status, Value};

/// The parts that are the same in every span of this proxy, rendered once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// `,"localEndpoint":{…}`.
    endpoint: Vec<u8>,
    /// Resource and scope as tags: the key, and `"key":"value"`.
    tags: Vec<(String, Vec<u8>)>,
}

// === impl Local ===

impl Local {
    pub(super) fn new(resource: &[Attribute], scope_version: &str) -> Self {
        let service = resource.iter().find_map(|attribute| match &attribute.value {
            Value::String(name) if attribute.key == "service.name" => Some(name.as_ref()),
            _ => None,
        });
        let mut endpoint = b",\"localEndpoint\":{\"serviceName\":".to_vec();
        string(service.unwrap_or("unknown_service"), &mut endpoint);
        endpoint.push(b'}');
        let tags = resource.iter().filter(|attribute| attribute.key != "service.name").map(rendered);
        let scope = [
            Attribute::new("otel.scope.name", SCOPE_NAME),
            Attribute::new("otel.scope.version", scope_version.to_owned()),
        ];
        Self { endpoint, tags: tags.chain(scope.iter().map(rendered)).collect() }
    }
}

fn rendered(attribute: &Attribute) -> (String, Vec<u8>) {
    let mut out = Vec::new();
    tag(&attribute.key, &text(&attribute.value), &mut out);
    (attribute.key.clone().into_owned(), out.get(1..).unwrap_or_default().to_vec())
}

/// The object with its tags still open: [`close`] adds the trace state as the last of them.
pub(super) fn encode(span: &Span, local: &Local, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"traceId\":\"");
    out.extend_from_slice(&span.trace_id.hex());
    out.extend_from_slice(b"\",\"id\":\"");
    out.extend_from_slice(&span.span_id.hex());
    if let Some(parent) = span.parent {
        out.extend_from_slice(b"\",\"parentId\":\"");
        out.extend_from_slice(&parent.hex());
    }
    out.extend_from_slice(match span.kind {
        Kind::Server => b"\",\"kind\":\"SERVER\",\"name\":",
        Kind::Client => b"\",\"kind\":\"CLIENT\",\"name\":",
    });
    string(&span.name, out);
    append(out, format_args!(",\"timestamp\":{},\"duration\":{}", span.start_ns / 1000, duration_us(span)));
    out.extend_from_slice(&local.endpoint);
    remote(span, out);
    out.extend_from_slice(b",\"tags\":{");
    tags(span, local, out);
}

/// The trace state, and the end of the object.
pub(super) fn close(trace_state: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(trace_state) {
        Ok(text) if !text.is_empty() => tag("w3c.tracestate", text, out),
        _ => {}
    }
    out.extend_from_slice(b"}}");
}

/// Microseconds, rounded, at least 1: Zipkin reads 0 as "unknown".
fn duration_us(span: &Span) -> u64 {
    (span.end_ns.saturating_sub(span.start_ns).saturating_add(500) / 1000).max(1)
}

/// The remote endpoint, from the first attribute that names it. Zipkin needs it to draw the dependency of a client.
fn remote(span: &Span, out: &mut Vec<u8>) {
    let names: &[&str] = match span.kind {
        Kind::Client => &["peer.service", "server.address", "net.peer.name"],
        Kind::Server => &["peer.service"],
    };
    let name = names.iter().find_map(|key| find_text(span, key)).filter(|name| !name.is_empty());
    let address = find_text(span, "network.peer.address")
        .or_else(|| find_text(span, "client.address").filter(|_| span.kind == Kind::Server))
        .and_then(|text| Some((ip_version(text)?, text)));
    if name.is_none() && address.is_none() {
        return;
    }
    out.extend_from_slice(b",\"remoteEndpoint\":");
    let start = out.len();
    if let Some(name) = name {
        tag("serviceName", name, out);
    }
    if let Some((version, address)) = address {
        tag(version, address, out);
        if let Some(port) = find_port(span) {
            append(out, format_args!(",\"port\":{port}"));
        }
    }
    // The first member brought a comma with it.
    if let Some(first) = out.get_mut(start) {
        *first = b'{';
    }
    out.push(b'}');
}

fn find<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

fn find_text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match find(span, key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn find_port(span: &Span) -> Option<u16> {
    match find(span, "network.peer.port")? {
        Value::Int(port) => u16::try_from(*port).ok(),
        _ => None,
    }
}

/// All tags, keys unique: what a span says wins over what the resource says. Zipkin takes any tag `error` for an error,
/// whatever its value, so only the status writes it.
fn tags(span: &Span, local: &Local, out: &mut Vec<u8>) {
    let own = |key: &str| span.attributes.iter().any(|attribute| attribute.key == key);
    // Each tag brings a comma; the first one's is removed at the end.
    let start = out.len();
    for attribute in span.attributes.iter().filter(|attribute| attribute.key != "error") {
        tag(&attribute.key, &text(&attribute.value), out);
    }
    for (_, rendered) in local.tags.iter().filter(|(key, _)| !own(key)) {
        out.push(b',');
        out.extend_from_slice(rendered);
    }
    if let Status::Error(message) = &span.status {
        tag("otel.status_code", "ERROR", out);
        let kind = find_text(span, "error.type").unwrap_or_default();
        tag("error", if message.is_empty() { kind } else { message }, out);
    }
    if span.dropped_attributes > 0 {
        tag("otel.dropped_attributes_count", &span.dropped_attributes.to_string(), out);
    }
    for (index, link) in span.links.iter().enumerate() {
        tag(&format!("otlp.link.{index}"), &link_text(link), out);
    }
    if out.get(start) == Some(&b',') {
        out.remove(start);
    }
}

/// `,"key":"value"`.
fn tag(key: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    string(key, out);
    out.push(b':');
    string(value, out);
}

/// The name of the field for an address, told by its characters: Envoy writes addresses in their canonical form, and a value
/// that is not an address (the path of a pipe, a name) has other characters. (Parsing with std's `IpAddr` adds 6 kB.)
fn ip_version(text: &str) -> Option<&'static str> {
    let is_v4 = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if text.len() <= 15 && text.bytes().filter(|byte| *byte == b'.').count() == 3 && text.bytes().all(is_v4) {
        return Some("ipv4");
    }
    let is_v6 = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    (text.len() <= 45 && text.bytes().filter(|byte| *byte == b':').count() >= 2 && text.bytes().all(is_v6))
        .then_some("ipv6")
}

/// A value as a string; lists as JSON arrays.
fn text(value: &Value) -> std::borrow::Cow<'_, str> {
    match value {
        Value::String(text) => text.as_ref().into(),
        Value::Bool(truth) => truth.to_string().into(),
        Value::Int(number) => number.to_string().into(),
        Value::Double(number) => print_double(*number).into(),
        Value::Strings(texts) => {
            let mut out = Vec::new();
            list(&mut out, texts, |text, out| string(text, out));
            String::from_utf8_lossy(&out).into_owned().into()
        }
    }
}

/// `trace|span|trace state|attributes as JSON|dropped attributes`, as the Collector's translator writes and reads it.
fn link_text(link: &Link) -> String {
    let mut attributes = Vec::new();
    for attribute in &link.attributes {
        attributes.push(b',');
        string(&attribute.key, &mut attributes);
        attributes.push(b':');
        match &attribute.value {
            Value::String(text) => string(text, &mut attributes),
            Value::Double(number) => double(*number, &mut attributes),
            other => attributes.extend_from_slice(text(other).as_bytes()),
        }
    }
    let attributes = String::from_utf8_lossy(attributes.get(1..).unwrap_or_default()).into_owned();
    format!("{}|{}||{{{attributes}}}|0", link.context.trace_id, link.context.span_id)
}
