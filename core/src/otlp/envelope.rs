//! The message around the spans of one request: resource and scope, rendered once when the configuration is read.

use super::encoding::{Encoding, SCHEMA_URL, SCOPE_NAME};
use super::{json, trace, wire};
use crate::span::Attribute;

/// The request of one export call, but for its spans. All spans have one resource (the proxy) and one scope (the filter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    encoding: Encoding,
    /// Protobuf: the fields of `ResourceSpans` before its `scope_spans`. JSON: all up to the spans.
    head: Vec<u8>,
    /// Protobuf: the fields of `ScopeSpans` before its `spans`. JSON: all after the spans.
    inner: Vec<u8>,
}

// === impl Envelope ===

impl Envelope {
    /// Renders `resource`, and the scope `sidespan` with its version and the schema of its spans. Zipkin has neither: its spans carry them as tags.
    pub fn new(encoding: Encoding, resource: &[Attribute], version: &str, schema_url: &str) -> Self {
        let (mut head, mut inner) = (Vec::new(), Vec::new());
        match encoding {
            Encoding::Protobuf => protobuf(resource, (version, schema_url), &mut head, &mut inner),
            Encoding::Json => document(resource, (version, schema_url), &mut head, &mut inner),
            Encoding::Zipkin => {
                head.push(b'[');
                inner.push(b']');
            }
        }
        Self { encoding, head, inner }
    }

    /// Appends the whole request: the sealed spans of all `sections`, in their order. Not to be called without any span:
    /// empty requests are not sent.
    pub fn frame(&self, sections: &[&[u8]], out: &mut Vec<u8>) {
        let spans = sections.iter().fold(0usize, |sum, section| sum.saturating_add(section.len()));
        out.reserve_exact(self.overhead().saturating_add(spans));
        if self.encoding == Encoding::Protobuf {
            // ExportTraceServiceRequest.resource_spans = 1 { ResourceSpans.scope_spans = 2 { ScopeSpans } }
            let scope = self.inner.len().saturating_add(spans);
            let head = wire::varint_len(scope as u64).saturating_add(1).saturating_add(self.head.len());
            wire::header(out, 1, head.saturating_add(scope));
            out.extend_from_slice(&self.head);
            wire::header(out, 2, scope);
            out.extend_from_slice(&self.inner);
            sections.iter().for_each(|section| out.extend_from_slice(section));
        } else {
            out.extend_from_slice(&self.head);
            for (index, section) in sections.iter().filter(|section| !section.is_empty()).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(section);
            }
            out.extend_from_slice(&self.inner);
        }
    }

    /// Upper bound of what [`Self::frame`] adds to the bytes of the spans.
    pub fn overhead(&self) -> usize {
        self.head.len().saturating_add(self.inner.len()).saturating_add(24)
    }
}

/// `ResourceSpans { resource = 1 { attributes = 1 }, schema_url = 3 }`, `ScopeSpans { scope = 1 { name = 1, version = 2 },
/// schema_url = 3 }`. The order of fields is free, so that what varies can come last.
fn protobuf(resource: &[Attribute], (version, schema_url): (&str, &str), head: &mut Vec<u8>, inner: &mut Vec<u8>) {
    wire::message(head, 1, |out| trace::attributes(out, 1, resource));
    wire::bytes(head, 3, SCHEMA_URL.as_bytes());
    wire::message(inner, 1, |out| {
        wire::bytes(out, 1, SCOPE_NAME.as_bytes());
        wire::bytes(out, 2, version.as_bytes());
    });
    wire::bytes(inner, 3, schema_url.as_bytes());
}

fn document(resource: &[Attribute], (version, schema_url): (&str, &str), head: &mut Vec<u8>, tail: &mut Vec<u8>) {
    json::append(head, format_args!("{{\"resourceSpans\":[{{\"schemaUrl\":\"{SCHEMA_URL}\",\"resource\":{{"));
    let start = head.len();
    json::attributes(resource, head);
    // The list brought a comma with it, for objects in which it is not the first member.
    if head.get(start) == Some(&b',') {
        head.remove(start);
    }
    json::append(head, format_args!("}},\"scopeSpans\":[{{\"schemaUrl\":\"{schema_url}\",\"scope\":"));
    json::append(head, format_args!("{{\"name\":\"{SCOPE_NAME}\",\"version\":"));
    json::string(version, head);
    head.extend_from_slice(b"},\"spans\":[");
    tail.extend_from_slice(b"]}]}]}");
}
