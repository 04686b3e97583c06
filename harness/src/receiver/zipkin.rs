//! Zipkin v2 JSON, strictly: a member that the format does not know is an error.

use serde::Deserialize;
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
