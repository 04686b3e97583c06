//! What a configuration says about the attributes of spans, compiled once.

use super::limits::AttributeLimits;
use super::redact::Redaction;
use super::side::Side;
use crate::config::{Config, SemanticConventions};

/// Everything about attributes that does not depend on the request. (Names and tags: see [`super::SpanBuilder`].)
#[derive(Debug)]
pub(super) struct Settings {
    /// Attributes have the names of the stable semantic conventions.
    pub(super) stable: bool,
    /// Attributes have the names of the conventions before 1.21. Both may be set.
    pub(super) old: bool,
    pub(super) redaction: Redaction,
    pub(super) limits: AttributeLimits,
    /// Longest path, in bytes.
    pub(super) max_path: usize,
    pub(super) istio_tags: bool,
    pub(super) captured: Vec<CapturedHeader>,
    /// Baggage keys that become attributes.
    pub(super) baggage: Vec<String>,
    /// A client that goes away makes an error of the span.
    pub(super) client_gone_is_error: bool,
}

/// A header that becomes an attribute because the operator named it.
#[derive(Debug)]
pub(super) struct CapturedHeader {
    /// Of the request or of the response.
    pub side: Side,
    /// Lower-case.
    pub header: String,
    /// `http.request.header.x-tenant`; the old conventions have `x_tenant`.
    pub keys: Vec<String>,
}

// === impl Settings ===

impl Settings {
    /// Compiles a configuration that is valid.
    pub(super) fn new(config: &Config) -> Self {
        let spans = &config.spans;
        let conventions = spans.semantic_conventions;
        let stable = conventions != SemanticConventions::Old;
        let old = conventions != SemanticConventions::Stable;
        let captured = [(Side::Request, &spans.request_headers), (Side::Response, &spans.response_headers)]
            .into_iter()
            .flat_map(|(side, names)| names.iter().map(move |name| CapturedHeader::new(side, name, stable, old)))
            .collect();
        Self {
            stable,
            old,
            redaction: Redaction::new(&spans.redact_query),
            limits: AttributeLimits {
                count: size(spans.max_attributes),
                value_length: size(spans.max_attribute_length),
            },
            max_path: size(spans.max_path_tag_length),
            istio_tags: spans.istio_tags,
            captured,
            baggage: spans.baggage.clone(),
            client_gone_is_error: config.sampling.errors.client_disconnect,
        }
    }
}

// === impl CapturedHeader ===

impl CapturedHeader {
    fn new(side: Side, name: &str, stable: bool, old: bool) -> Self {
        let header = name.to_ascii_lowercase();
        let prefix = if side == Side::Request { "http.request.header" } else { "http.response.header" };
        let mut keys = Vec::new();
        if stable {
            keys.push(format!("{prefix}.{header}"));
        }
        if old && (!stable || header.contains('-')) {
            keys.push(format!("{prefix}.{}", header.replace('-', "_")));
        }
        Self { side, header, keys }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
