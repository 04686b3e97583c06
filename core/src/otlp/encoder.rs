//! A span as bytes, in two steps: the body when the span ends, the trace state when it joins a batch.

use super::encoding::{Encoding, SCOPE_VERSION};
use super::{json, trace, wire, zipkin};
use crate::span::{Attribute, Span};

/// Writes spans in one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoder {
    encoding: Encoding,
    local: zipkin::Local,
}

// === impl Encoder ===

impl Encoder {
    /// An encoder for spans of this resource, which Zipkin repeats in every span, having no envelope for it.
    pub fn new(encoding: Encoding, resource: &[Attribute]) -> Self {
        let local = match encoding {
            Encoding::Zipkin => zipkin::Local::new(resource, SCOPE_VERSION),
            Encoding::Protobuf | Encoding::Json => zipkin::Local::default(),
        };
        Self { encoding, local }
    }

    /// The encoding of the bodies.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends everything of `span` but the trace state: a body for [`Self::seal`].
    pub fn encode(&self, span: &Span, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Protobuf => trace::encode(span, out),
            Encoding::Json => json::encode(span, out),
            Encoding::Zipkin => zipkin::encode(span, &self.local, out),
        }
    }

    /// Appends `body` as one more span to `spans`, which holds nothing but sealed spans of this encoding. An empty or invalid
    /// (not UTF-8) trace state is left out.
    pub fn seal(&self, body: &[u8], trace_state: &[u8], spans: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Protobuf => seal_protobuf(body, trace_state, spans),
            Encoding::Json => {
                append_object(body, spans);
                json::close(trace_state, spans);
            }
            Encoding::Zipkin => {
                append_object(body, spans);
                zipkin::close(trace_state, spans);
            }
        }
    }
}

/// `ScopeSpans.spans` = 2 with `Span.trace_state` = 3 behind all other fields.
fn seal_protobuf(body: &[u8], trace_state: &[u8], spans: &mut Vec<u8>) {
    let trace_state = if std::str::from_utf8(trace_state).is_ok() { trace_state } else { &[] };
    let state_len = match trace_state.len() {
        0 => 0,
        length => wire::bytes_len(length),
    };
    wire::header(spans, 2, body.len().saturating_add(state_len));
    spans.extend_from_slice(body);
    if !trace_state.is_empty() {
        wire::bytes(spans, 3, trace_state);
    }
}

/// Appends a JSON object to a comma-separated list.
fn append_object(body: &[u8], spans: &mut Vec<u8>) {
    if !spans.is_empty() {
        spans.push(b',');
    }
    spans.extend_from_slice(body);
}
