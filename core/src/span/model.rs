//! What a span consists of, independent of any encoding: the terms of OpenTelemetry's `trace.proto`.

use crate::context::{Flags, SpanContext};
use crate::id::{SpanId, TraceId};
use std::borrow::Cow;

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span; also the parent id that was sent upstream.
    pub span_id: SpanId,
    /// The span of the caller; `None` for a root.
    pub parent: Option<SpanId>,
    /// W3C flags of the span's own context: sampled is set on everything exported.
    pub flags: Flags,
    /// The name, of low cardinality.
    pub name: String,
    /// The side of the call that the span shows.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch, from Envoy's clock.
    pub start_ns: u64,
    /// Never before `start_ns`.
    pub end_ns: u64,
    /// Attributes with unique keys.
    pub attributes: Vec<Attribute>,
    /// Attributes that did not fit the limits.
    pub dropped_attributes: u32,
    /// Other traces that this request also belongs to.
    pub links: Vec<Link>,
    /// Whether the request failed.
    pub status: Status,
}

/// `SpanKind` of OTLP, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The callee's side.
    Server = 2,
    /// The caller's side.
    Client = 3,
}

/// `Status` of OTLP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// The request did not fail.
    #[default]
    Unset,
    /// Failed, with a message where the status code does not say it all (may be empty).
    Error(Cow<'static, str>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name by the semantic conventions, or the operator's.
    pub key: Cow<'static, str>,
    /// The typed value.
    pub value: Value,
}

/// `AnyValue` of OTLP, as far as spans need it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text; always valid UTF-8.
    String(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Any other number.
    Double(f64),
    /// Several texts, as header attributes are.
    Strings(Vec<String>),
}

/// Another span that this one relates to.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The other span.
    pub context: SpanContext,
    /// The reason for the link.
    pub attributes: Vec<Attribute>,
}

/// The ids of a span, which were chosen when the request came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Ids {
    /// The trace.
    pub trace_id: TraceId,
    /// The id that was sent upstream.
    pub span_id: SpanId,
    /// The span of the caller; `None` for a root.
    pub parent: Option<SpanId>,
    /// Flags of the exported span.
    pub flags: Flags,
    /// Other traces that the request also belongs to.
    pub links: Vec<Link>,
}

// === impl Attribute, Value ===

impl Attribute {
    /// An attribute with this key and value.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
