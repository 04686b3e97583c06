//! Zipkin v2 JSON, strictly: a member that the format does not know is an error.

use crate::span::{Attributes, Event, Kind, ReceivedSpan, Scope, Status};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// One span of `POST /api/v2/spans`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZipkinSpan {
    /// 16 or 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub id: String,
    /// Absent for a root.
    pub parent_id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// `CLIENT`, `SERVER`, `PRODUCER` or `CONSUMER`.
    pub kind: Option<String>,
    /// Microseconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// Microseconds, at least 1.
    pub duration: Option<u64>,
    /// Whether sampling was overridden.
    pub debug: Option<bool>,
    /// Whether the span shares its id with the other side.
    pub shared: Option<bool>,
    /// Who.
    pub local_endpoint: Option<ZipkinEndpoint>,
    /// With whom.
    pub remote_endpoint: Option<ZipkinEndpoint>,
    /// Events.
    #[serde(default)]
    pub annotations: Vec<ZipkinAnnotation>,
    /// Values are text.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A network node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZipkinEndpoint {
    /// Lower-case service name.
    pub service_name: Option<String>,
    /// Dotted.
    pub ipv4: Option<String>,
    /// With colons.
    pub ipv6: Option<String>,
    /// Port.
    pub port: Option<u16>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZipkinAnnotation {
    /// Microseconds since the Unix epoch.
    pub timestamp: u64,
    /// Text.
    pub value: String,
}

// === impl ZipkinSpan ===

impl ZipkinSpan {
    /// The same with the names of OpenTelemetry, so that spans of both formats can be compared. The scope is called `zipkin`, the
    /// service is the local endpoint's, tags are attributes, and a tag `error` is an error.
    pub fn to_received(&self) -> ReceivedSpan {
        let service = self.local_endpoint.as_ref().and_then(|endpoint| endpoint.service_name.clone());
        let resource = service.map(|name| ("service.name".to_owned(), json!(name)));
        let start_ns = self.timestamp.unwrap_or_default().saturating_mul(1000);
        let event = |annotation: &ZipkinAnnotation| Event {
            time_ns: annotation.timestamp.saturating_mul(1000),
            name: annotation.value.clone(),
            attributes: Attributes::new(),
        };
        ReceivedSpan {
            resource: resource.into_iter().collect(),
            scope: Scope { name: "zipkin".to_owned(), ..Scope::default() },
            trace_id: self.trace_id.clone(),
            span_id: self.id.clone(),
            parent_span_id: self.parent_id.clone().unwrap_or_default(),
            trace_state: String::new(),
            flags: 1,
            name: self.name.clone().unwrap_or_default(),
            kind: match self.kind.as_deref() {
                Some("CLIENT") => Kind::Client,
                Some("SERVER") => Kind::Server,
                Some("PRODUCER") => Kind::Producer,
                Some("CONSUMER") => Kind::Consumer,
                _ => Kind::Unspecified,
            },
            start_ns,
            end_ns: start_ns.saturating_add(self.duration.unwrap_or_default().saturating_mul(1000)),
            attributes: self.tags.iter().map(|(tag, text)| (tag.clone(), json!(text))).collect(),
            dropped_attributes: 0,
            events: self.annotations.iter().map(event).collect(),
            links: Vec::new(),
            status: if self.tags.contains_key("error") { Status::Error } else { Status::Unset },
            status_message: String::new(),
            problems: Vec::new(),
        }
    }
}
