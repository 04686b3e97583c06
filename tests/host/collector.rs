//! Outbound calls, and what the spans in them say: decoded by `opentelemetry-proto`, which shares no code with the filter.

use super::headers::HeaderMap;
use flate2::read::{GzDecoder, ZlibDecoder};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::fmt;
use std::io::Read;

/// What Envoy knows of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Takes calls.
    Healthy,
    /// Not in the configuration: `BadArgument` (gRPC: `ParseFailure`).
    Unknown,
    /// Refused at once: `InternalFailure`, no callback.
    NoHost,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Under way.
    Pending,
    /// Answered with this `:status`; 0 for a reset.
    Answered(u16),
    /// The root context went away first.
    Cancelled,
}

/// One call to a cluster.
#[derive(Clone, Debug)]
pub struct OutCall {
    /// Its token.
    pub token: u32,
    /// The root context it belongs to.
    pub root: u32,
    /// Envoy's name of the target.
    pub cluster: String,
    /// gRPC: `service/method`.
    pub grpc_method: Option<String>,
    /// Request headers (gRPC: initial metadata).
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Vec<u8>,
    /// Request trailers.
    pub trailers: HeaderMap,
    /// Milliseconds; 0 would be for ever.
    pub timeout_ms: u32,
    /// When it was sent.
    pub sent_ns: u64,
    /// How it ended.
    pub end: End,
}

/// A span as a collector sees it.
#[derive(Clone)]
pub struct ExportedSpan {
    /// Attributes of its resource.
    pub resource: Vec<KeyValue>,
    /// Name of its scope.
    pub scope: String,
    /// The span.
    pub span: Span,
}

// === impl OutCall ===

impl OutCall {
    /// The body without its `content-encoding`.
    pub fn plain_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.headers.text("content-encoding").as_deref() {
            Some("gzip") => GzDecoder::new(&self.body[..]).read_to_end(&mut out).expect("gzip"),
            Some("deflate") => ZlibDecoder::new(&self.body[..]).read_to_end(&mut out).expect("zlib"),
            Some(other) => panic!("unknown content-encoding {other}"),
            None => return self.body.clone(),
        };
        out
    }

    /// The OTLP message in the body.
    ///
    /// # Panics
    /// If there is none.
    pub fn otlp(&self) -> ExportTraceServiceRequest {
        let body = self.plain_body();
        if self.headers.text("content-type").as_deref() == Some("application/json") {
            return serde_json::from_slice(&body).expect("OTLP/JSON");
        }
        ExportTraceServiceRequest::decode(&body[..]).expect("OTLP protobuf")
    }

    /// Every span in the body.
    pub fn spans(&self) -> Vec<ExportedSpan> {
        let mut out = Vec::new();
        for of_resource in self.otlp().resource_spans {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.unwrap_or_default().name;
                out.extend(of_scope.spans.into_iter().map(|span| ExportedSpan {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    span,
                }));
            }
        }
        out
    }
}

// === impl ExportedSpan ===

impl ExportedSpan {
    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// 16 hex digits.
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// 16 hex digits, or nothing for a root.
    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// A span attribute as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text_of(&self.span.attributes, key)
    }

    /// A resource attribute as text.
    pub fn resource(&self, key: &str) -> Option<String> {
        text_of(&self.resource, key)
    }

    /// `SERVER`, `CLIENT`, or the number.
    pub fn kind(&self) -> String {
        match self.span.kind {
            2 => "SERVER".to_owned(),
            3 => "CLIENT".to_owned(),
            other => other.to_string(),
        }
    }

    /// `UNSET`, `OK`, or `ERROR`.
    pub fn status(&self) -> &'static str {
        match self.span.status.as_ref().map_or(0, |status| status.code) {
            0 => "UNSET",
            1 => "OK",
            2 => "ERROR",
            other => panic!("status {other} does not exist"),
        }
    }

    /// The value of `th` in the tracestate's `ot` member.
    pub fn threshold(&self) -> Option<String> {
        let member = self.span.trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
        member.split(';').find_map(|pair| pair.strip_prefix("th:")).map(str::to_owned)
    }
}

/// One line: what tells spans apart.
impl fmt::Debug for ExportedSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, status, reason) = (self.kind(), self.status(), self.attribute("sidespan.sampling.reason"));
        write!(f, "{} {kind} {status} {reason:?}", self.span.name)?;
        write!(f, " trace {} span {} parent {}", self.trace_id(), self.span_id(), self.parent_id())?;
        write!(f, " state {:?}", self.span.trace_state)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let matching: Vec<_> = attributes.iter().filter(|attribute| attribute.key == key).collect();
    assert!(matching.len() <= 1, "{key} appears {} times", matching.len());
    matching.first()?.value.as_ref().map(text)
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}
