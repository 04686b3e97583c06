//! Bytes of the wire: OTLP (protobuf and JSON) and Zipkin v2 JSON; what a receiver answers.
//!
//! A span is encoded once, when it ends, without its `trace_state`: the threshold of a late keep is known only when its
//! window closes (see [`crate::sampling`]). [`Encoder::seal`] adds it and appends the span to a batch; [`Envelope::frame`] makes
//! a request of a batch.

mod envelope;
pub mod gzip;
pub mod json;
pub mod reply;
mod retry_after;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
pub(crate) mod tests;
mod trace;
pub mod wire;
mod zipkin;

pub use self::envelope::Envelope;

use crate::span::{Attribute, Span};

/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "sidespan";

/// Version of the instrumentation scope: the filter's.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// OTLP, binary (over HTTP or gRPC).
    Protobuf,
    /// OTLP, JSON.
    Json,
    /// Zipkin v2 JSON.
    Zipkin,
}

/// Writes spans in one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoder {
    encoding: Encoding,
    local: zipkin::Local,
}

// === impl Encoding ===

impl Encoding {
    /// Media type of a request over HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json | Self::Zipkin => "application/json",
        }
    }
}

// === impl Encoder ===

impl Encoder {
    /// `resource` is what every span repeats where the encoding has no envelope for it (Zipkin).
    pub fn new(encoding: Encoding, resource: &[Attribute]) -> Self {
        let local = match encoding {
            Encoding::Zipkin => zipkin::Local::new(resource, SCOPE_VERSION),
            Encoding::Protobuf | Encoding::Json => zipkin::Local::default(),
        };
        Self { encoding, local }
    }

    /// How it writes.
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

fn append_object(body: &[u8], spans: &mut Vec<u8>) {
    if !spans.is_empty() {
        spans.push(b',');
    }
    spans.extend_from_slice(body);
}
