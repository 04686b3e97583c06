//! What one request becomes: a [`Span`], independent of any encoding.
//!
//! [`Recipe`] and [`Identity`] are made when the configuration is read, a [`Draft`] when a request comes in, and
//! [`build`] turns them and what Envoy knows at the end into a [`Span`].

pub mod attributes;
mod build;
mod captured;
mod draft;
mod envoy;
mod identity;
mod istio;
pub mod limits;
pub mod name;
mod recipe;
pub mod redact;
mod semconv;
pub mod status;
pub mod tags;
#[cfg(test)]
mod tests;

pub use self::attributes::Attributes;
pub use self::build::build;
pub use self::draft::Draft;
pub use self::identity::{Identity, Workload};
pub use self::recipe::{Environment, Recipe};

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
    /// What came in; `None` for a root.
    pub parent: Option<SpanId>,
    /// W3C flags of the span's own context: sampled is set on everything exported.
    pub flags: Flags,
    /// Low cardinality.
    pub name: String,
    /// Which side of the call.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch, from Envoy's clock.
    pub start_ns: u64,
    /// Never before `start_ns`.
    pub end_ns: u64,
    /// Unique keys.
    pub attributes: Vec<Attribute>,
    /// Attributes that did not fit the limits.
    pub dropped_attributes: u32,
    /// Other traces that this request also belongs to.
    pub links: Vec<Link>,
    /// Outcome.
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
    /// Nothing to say.
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
    /// Typed.
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
    /// Why.
    pub attributes: Vec<Attribute>,
}

/// Which span of which trace: decided when the request came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Ids {
    /// The trace.
    pub trace_id: TraceId,
    /// The id that was sent upstream.
    pub span_id: SpanId,
    /// What came in; `None` for a root.
    pub parent: Option<SpanId>,
    /// Flags of the exported span.
    pub flags: Flags,
    /// Other traces that the request also belongs to.
    pub links: Vec<Link>,
}

// === impl Attribute, Value ===

impl Attribute {
    /// From a name and anything that is a value.
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
