//! A span as `opentelemetry.proto.trace.v1.Span`, each field with its number in `trace.proto` and `common.proto`.

use super::wire;
use crate::context::Flags;
use crate::span::{Attribute, Link, Span, Status, Value};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit is valid.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent (or the linked span) is in another process.
const IS_REMOTE: u32 = 0x200;

/// The fields of `Span` without key and length, and without `trace_state` (3), which [`super::Encoder::seal`] adds.
pub(super) fn encode(span: &Span, out: &mut Vec<u8>) {
    wire::bytes(out, 1, span.trace_id.as_bytes());
    wire::bytes(out, 2, span.span_id.as_bytes());
    if let Some(parent) = span.parent {
        wire::bytes(out, 4, parent.as_bytes());
    }
    wire::bytes(out, 5, span.name.as_bytes());
    wire::number(out, 6, span.kind as u64);
    wire::fixed64(out, 7, span.start_ns);
    wire::fixed64(out, 8, span.end_ns.max(span.start_ns));
    attributes(out, 9, &span.attributes);
    if span.dropped_attributes > 0 {
        wire::number(out, 10, span.dropped_attributes.into());
    }
    for entry in &span.links {
        wire::message(out, 13, |out| link(entry, out));
    }
    if let Status::Error(text) = &span.status {
        wire::message(out, 15, |out| status(text, out));
    }
    wire::fixed32(out, 16, flags(span));
}

/// `Span.flags`: bits 0 to 7 are the W3C flags, bits 8 and 9 say where the parent is. A root has no parent, so they are not set.
pub(super) fn flags(span: &Span) -> u32 {
    let remote = if span.parent.is_some() { HAS_IS_REMOTE | IS_REMOTE } else { 0 };
    u32::from(span.flags.bits()) | remote
}

/// `Link.flags`: a linked span is always remote, because its context came in with a request.
pub(super) fn link_flags(flags: Flags) -> u32 {
    u32::from(flags.bits()) | HAS_IS_REMOTE | IS_REMOTE
}

/// `repeated KeyValue`, each as field `field`.
pub(super) fn attributes(out: &mut Vec<u8>, field: u32, attributes: &[Attribute]) {
    for attribute in attributes {
        match &attribute.value {
            Value::String(text) => text_attribute(out, field, &attribute.key, text),
            other => wire::message(out, field, |out| {
                wire::bytes(out, 1, attribute.key.as_bytes());
                wire::message(out, 2, |out| value(other, out));
            }),
        }
    }
}

/// `KeyValue` of a string. Most attributes are strings, and their lengths are known, so that no length has to be patched.
fn text_attribute(out: &mut Vec<u8>, field: u32, key: &str, text: &str) {
    let any_value = wire::bytes_len(text.len());
    let key_value = wire::bytes_len(key.len()).saturating_add(wire::bytes_len(any_value));
    out.reserve(wire::bytes_len(key_value).saturating_add(4));
    wire::header(out, field, key_value);
    wire::bytes(out, 1, key.as_bytes());
    wire::header(out, 2, any_value);
    wire::bytes(out, 1, text.as_bytes());
}

/// `AnyValue`. A member of a `oneof` is written even if it is its type's default: that is how it is told from absent.
fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => wire::bytes(out, 1, text.as_bytes()),
        Value::Bool(truth) => wire::number(out, 2, u64::from(*truth)),
        Value::Int(number) => wire::number(out, 3, number.cast_unsigned()),
        Value::Double(number) => wire::fixed64(out, 4, number.to_bits()),
        Value::Strings(texts) => wire::message(out, 5, |out| {
            for text in texts {
                wire::message(out, 1, |out| wire::bytes(out, 1, text.as_bytes()));
            }
        }),
    }
}

fn link(link: &Link, out: &mut Vec<u8>) {
    wire::bytes(out, 1, link.context.trace_id.as_bytes());
    wire::bytes(out, 2, link.context.span_id.as_bytes());
    attributes(out, 4, &link.attributes);
    wire::fixed32(out, 6, link_flags(link.context.flags));
}

/// `Status`: message (2) and code (3), `STATUS_CODE_ERROR` being 2.
fn status(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        wire::bytes(out, 2, text.as_bytes());
    }
    wire::number(out, 3, 2);
}
