//! What a configuration says about spans, compiled once.

use crate::config::{Config, SemanticConventions};
use crate::span::build::Side;
use crate::span::limits::Limits;
use crate::span::name::Names;
use crate::span::redact::Redaction;
use crate::span::tags::Tag;
use std::collections::BTreeMap;

/// Environment variables of the VM (proxy-wasm passes only those that the plugin's `vmConfig.env` names).
pub type Environment = BTreeMap<String, String>;

/// Everything about spans that does not depend on the request; and the names given so far.
#[derive(Debug)]
pub struct Recipe {
    pub(super) stable: bool,
    pub(super) old: bool,
    pub(super) names: Names,
    pub(super) redaction: Redaction,
    pub(super) limits: Limits,
    /// Longest path, in bytes.
    pub(super) max_path: usize,
    pub(super) tags: Vec<Tag>,
    pub(super) istio_tags: bool,
    pub(super) captured: Vec<Captured>,
    /// Baggage keys that become attributes.
    pub(super) baggage: Vec<String>,
    pub(super) client_gone_is_error: bool,
    pub(super) reads_response_headers: bool,
    pub(super) reads_response_trailers: bool,
}

/// A header that becomes an attribute because the operator named it.
#[derive(Debug)]
pub struct Captured {
    /// Of the request or of the response.
    pub side: Side,
    /// Lower-case.
    pub header: String,
    /// `http.request.header.x-tenant`; older conventions wrote `x_tenant`.
    pub keys: Vec<String>,
}

// === impl Recipe ===

impl Recipe {
    /// Compiles a configuration that was checked. Literals and environment variables of tags are resolved here.
    pub fn new(config: &Config, environment: &Environment) -> Self {
        let spans = &config.spans;
        let conventions = spans.semantic_conventions;
        let stable = conventions != SemanticConventions::Old;
        let old = conventions != SemanticConventions::Stable;
        let tags: Vec<_> = config.custom_tags.iter().filter_map(|(key, tag)| Tag::new(key, tag, environment)).collect();
        let captured: Vec<_> = [(Side::Request, &spans.request_headers), (Side::Response, &spans.response_headers)]
            .into_iter()
            .flat_map(|(side, names)| names.iter().map(move |name| Captured::new(side, name, stable, old)))
            .collect();
        let captures_response = captured.iter().any(|captured| captured.side == Side::Response);
        Self {
            stable,
            old,
            names: Names::new(&spans.path_templates),
            redaction: Redaction::new(&spans.redact_query),
            limits: Limits { attributes: size(spans.max_attributes), value_length: size(spans.max_attribute_length) },
            max_path: size(spans.max_path_tag_length),
            reads_response_headers: captures_response || tags.iter().any(|tag| tag.needs(Side::Response)),
            reads_response_trailers: tags.iter().any(|tag| tag.needs(Side::Trailer)),
            tags,
            istio_tags: spans.istio_tags,
            captured,
            baggage: spans.baggage.clone(),
            client_gone_is_error: config.sampling.errors.client_disconnect,
        }
    }
}

// === impl Captured ===

impl Captured {
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
