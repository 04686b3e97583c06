//! A span as OTLP/JSON, written directly to bytes in one pass.
//!
//! The rules that differ from plain protobuf JSON (`opentelemetry-proto`, `docs/specification.md`, "JSON Protobuf
//! Encoding"): ids are hex, not base64; enumerations are integers; keys are lowerCamelCase; 64-bit integers are strings.

use super::trace;
use crate::http::number::print_double;
use crate::span::{Attribute, Link, Span, Status, Value};
use std::io::Write as _;

/// A complete span object, as `sidespan explain` prints it and a file for Jaeger's user interface holds it.
///
/// ```
/// # use sidespan_core::{context::Flags, id::{SpanId, TraceId}, otlp::json, span::{Kind, Span, Status}};
/// # let (Some(trace_id), Some(span_id)) = (TraceId::from_halves(0, 1), SpanId::from_u64(2)) else { return };
/// let span = Span {
///     trace_id, span_id, parent: None, flags: Flags::new(true, false), name: "GET".to_owned(), kind: Kind::Server,
///     start_ns: 1, end_ns: 2, attributes: vec![], dropped_attributes: 0, links: vec![], status: Status::Unset,
/// };
/// assert!(json::span_to_string(&span, b"ot=th:0").ends_with(r#","flags":1,"traceState":"ot=th:0"}"#));
/// ```
pub fn span_to_string(span: &Span, trace_state: &[u8]) -> String {
    let mut out = Vec::new();
    encode(span, &mut out);
    close(trace_state, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The object up to, but not including, `traceState` and the closing brace.
pub(super) fn encode(span: &Span, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"traceId\":\"");
    out.extend_from_slice(&span.trace_id.hex());
    out.extend_from_slice(b"\",\"spanId\":\"");
    out.extend_from_slice(&span.span_id.hex());
    if let Some(parent) = span.parent {
        out.extend_from_slice(b"\",\"parentSpanId\":\"");
        out.extend_from_slice(&parent.hex());
    }
    out.extend_from_slice(b"\",\"name\":");
    string(&span.name, out);
    let (kind, end) = (span.kind as u8, span.end_ns.max(span.start_ns));
    append(out, format_args!(",\"kind\":{kind},\"startTimeUnixNano\":\"{}\"", span.start_ns));
    append(out, format_args!(",\"endTimeUnixNano\":\"{end}\""));
    attributes(&span.attributes, out);
    if span.dropped_attributes > 0 {
        append(out, format_args!(",\"droppedAttributesCount\":{}", span.dropped_attributes));
    }
    links(&span.links, out);
    if let Status::Error(text) = &span.status {
        status(text, out);
    }
    append(out, format_args!(",\"flags\":{}", trace::flags(span)));
}

/// Writes the end of the object: `traceState` and the closing brace. A trace state that is not UTF-8 is left out; no valid
/// header has one.
pub(super) fn close(trace_state: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(trace_state) {
        Ok(text) if !text.is_empty() => {
            out.extend_from_slice(b",\"traceState\":");
            string(text, out);
        }
        _ => {}
    }
    out.push(b'}');
}

/// `,"attributes":[…]`, or nothing if there are none.
pub(super) fn attributes(attributes: &[Attribute], out: &mut Vec<u8>) {
    if attributes.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"attributes\":");
    list(out, attributes, |attribute, out| {
        out.extend_from_slice(b"{\"key\":");
        string(&attribute.key, out);
        out.extend_from_slice(b",\"value\":");
        value(&attribute.value, out);
        out.push(b'}');
    });
}

/// A JSON array of whatever `write` makes of each item.
pub(super) fn list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// A JSON string: quotes, backslashes and control characters escaped (RFC 8259 section 7), all else as it is.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        let (plain, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((special, tail)) = tail.split_first() else { break };
        escape(*special, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => append(out, format_args!("\\u{byte:04x}")),
    }
}

/// A number. NaN and the infinities, for which JSON has no numbers, are strings, as in protobuf's JSON.
pub(super) fn double(number: f64, out: &mut Vec<u8>) {
    match number {
        number if number.is_finite() => out.extend_from_slice(print_double(number).as_bytes()),
        number => append(out, format_args!("\"{}\"", print_double(number))),
    }
}

/// Appends formatted text.
pub(super) fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            out.extend_from_slice(b"{\"stringValue\":");
            string(text, out);
        }
        Value::Bool(truth) => append(out, format_args!("{{\"boolValue\":{truth}")),
        Value::Int(number) => append(out, format_args!("{{\"intValue\":\"{number}\"")),
        Value::Double(number) => {
            out.extend_from_slice(b"{\"doubleValue\":");
            double(*number, out);
        }
        Value::Strings(texts) => {
            out.extend_from_slice(b"{\"arrayValue\":{\"values\":");
            list(out, texts, |text, out| {
                out.extend_from_slice(b"{\"stringValue\":");
                string(text, out);
                out.push(b'}');
            });
            out.push(b'}');
        }
    }
    out.push(b'}');
}

fn links(links: &[Link], out: &mut Vec<u8>) {
    if links.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"links\":");
    list(out, links, |link, out| {
        out.extend_from_slice(b"{\"traceId\":\"");
        out.extend_from_slice(&link.context.trace_id.hex());
        out.extend_from_slice(b"\",\"spanId\":\"");
        out.extend_from_slice(&link.context.span_id.hex());
        out.push(b'"');
        attributes(&link.attributes, out);
        append(out, format_args!(",\"flags\":{}}}", trace::link_flags(link.context.flags)));
    });
}

/// `STATUS_CODE_ERROR` is 2.
fn status(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"status\":{");
    if !text.is_empty() {
        out.extend_from_slice(b"\"message\":");
        string(text, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"code\":2}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_survives_the_escaping(text in "\\PC*|[\\x00-\\x7f\"\\\\]*") {
            let mut out = Vec::new();
            string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("valid JSON"), text);
        }

        #[test]
        fn any_finite_number_survives(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let mut out = Vec::new();
            double(number, &mut out);
            let text = std::str::from_utf8(&out).expect("text");
            serde_json::from_str::<serde_json::Value>(text).expect("valid JSON");
            prop_assert_eq!(text.parse::<f64>().expect("a number"), number);
        }
    }

    #[test]
    fn what_json_has_no_number_for_is_a_string() {
        for (number, expected) in
            [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (f64::NEG_INFINITY, "\"-Infinity\"")]
        {
            let mut out = Vec::new();
            double(number, &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
