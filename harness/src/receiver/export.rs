//! One export call and its payload.

use super::protocol::Protocol;
use super::reply::Reply;
use super::zipkin::ZipkinSpan;
use crate::span::spans_of;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use std::time::SystemTime;

/// One export call, whatever it was answered.
#[derive(Clone, Debug)]
pub struct Export {
    /// When its body had come.
    pub at: SystemTime,
    /// How it was sent.
    pub protocol: Protocol,
    /// Path.
    pub path: String,
    /// `:authority` or `host`.
    pub authority: String,
    /// Headers; names are lower-case.
    pub headers: Vec<(String, Bytes)>,
    /// `content-encoding` (HTTP) or, if the message was compressed, `grpc-encoding`; empty for none.
    pub encoding: String,
    /// Size on the wire, without HTTP framing.
    pub wire_bytes: usize,
    /// Size after decompression, without gRPC framing.
    pub decoded_bytes: usize,
    /// What it held.
    pub payload: Payload,
    /// What it was answered.
    pub reply: Reply,
}

/// Decoded spans.
#[derive(Clone, Debug)]
pub enum Payload {
    /// OTLP.
    Otlp(ExportTraceServiceRequest),
    /// Zipkin.
    Zipkin(Vec<ZipkinSpan>),
}

// === impl Export ===

impl Export {
    /// The first value of a header as text; `None` if it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// How many spans it held.
    pub fn span_count(&self) -> usize {
        match &self.payload {
            Payload::Otlp(request) => spans_of(request).len(),
            Payload::Zipkin(spans) => spans.len(),
        }
    }
}
