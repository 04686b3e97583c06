//! A received span with its resource and scope.

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// One decoded span with its resource and scope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReceivedSpan {
    /// Attributes of the resource.
    pub resource: Attributes,
    /// The instrumentation scope.
    pub scope: Scope,
    /// Lower-case hex, as many digits as there were bytes.
    pub trace_id: String,
    /// Lower-case hex.
    pub span_id: String,
    /// Lower-case hex; empty for a root.
    pub parent_span_id: String,
    /// W3C `tracestate`, empty if absent.
    pub trace_state: String,
    /// W3C flags in the low byte, "is remote" bits above.
    pub flags: u32,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Attributes.
    pub attributes: Attributes,
    /// Attributes that the sender had to drop.
    pub dropped_attributes: u32,
    /// Events.
    pub events: Vec<Event>,
    /// Links.
    pub links: Vec<Link>,
    /// Status code.
    pub status: Status,
    /// Status message.
    pub status_message: String,
    /// Everything that OTLP forbids and this span does all the same, in words; a good span has none.
    pub problems: Vec<String>,
}

/// The instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Schema of the conventions, from the scope or else from the resource.
    pub schema_url: String,
}

/// `SpanKind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Not given, or not a number that OTLP knows.
    #[default]
    Unspecified,
    /// Within one process.
    Internal,
    /// The callee's side.
    Server,
    /// The caller's side.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

/// `StatusCode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Status {
    /// Nothing to say, or not a number that OTLP knows.
    #[default]
    Unset,
    /// Fine.
    Ok,
    /// Failed.
    Error,
}

/// Something that happened within the span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Name.
    pub name: String,
    /// Attributes.
    pub attributes: Attributes,
}

/// Another span that this one relates to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Link {
    /// Lower-case hex.
    pub trace_id: String,
    /// Lower-case hex.
    pub span_id: String,
    /// W3C `tracestate`.
    pub trace_state: String,
    /// As of the span.
    pub flags: u32,
    /// Attributes.
    pub attributes: Attributes,
}

// === impl ReceivedSpan ===

impl ReceivedSpan {
    /// An attribute's value; JSON `null` if it is absent.
    pub fn attribute(&self, key: &str) -> &Value {
        self.attributes.get(key).unwrap_or(&Value::Null)
    }

    /// An attribute as text; `None` if it is absent or no string.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.attribute(key).as_str()
    }

    /// An attribute as a number; `None` if it is absent or no integer.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.attribute(key).as_i64()
    }

    /// `service.name` of the resource, or nothing.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it has no parent.
    pub fn is_root(&self) -> bool {
        self.parent_span_id.is_empty()
    }

    /// End minus start; zero if the end is before the start (which is one of the problems).
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns))
    }
}

/// The only span that `matches`.
///
/// # Errors
/// If there is none, or more than one; all spans are named.
pub fn only(spans: &[ReceivedSpan], matches: impl Fn(&ReceivedSpan) -> bool) -> Result<&ReceivedSpan> {
    let found: Vec<&ReceivedSpan> = spans.iter().filter(|span| matches(span)).collect();
    let [one] = found.as_slice() else {
        let all: Vec<String> =
            spans.iter().map(|span| format!("{} {:?} {}", span.service(), span.kind, span.name)).collect();
        anyhow::bail!("{} spans match, of {}: {all:#?}", found.len(), spans.len());
    };
    Ok(one)
}
