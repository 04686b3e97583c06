//! `spans`: what a span looks like.

use crate::config::pattern::PathTemplate;
use crate::{choice, object};

object! {
    /// What a span looks like.
    pub struct Spans {
        /// Which names are written.
        "semanticConventions" => semantic_conventions: SemanticConventions = SemanticConventions::Stable;
        /// Routes that name spans: `/api/users/{id}`; first match wins.
        "pathTemplates" => path_templates: Vec<PathTemplate> = Vec::new(), schema {"uniqueItems": true};
        /// Longest `url.path`, in bytes, cut on a character boundary.
        "maxPathTagLength" => max_path_tag_length: u32 = 256, in 1..=16_384;
        /// Request headers captured as `http.request.header.<name>`.
        "requestHeaders" => request_headers: Vec<String> = Vec::new(),
            schema {"uniqueItems": true, "items": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}};
        /// Response headers captured as `http.response.header.<name>`.
        "responseHeaders" => response_headers: Vec<String> = Vec::new(),
            schema {"uniqueItems": true, "items": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}};
        /// Query parameters whose values are redacted, besides the default list.
        "redactQuery" => redact_query: Vec<String> = Vec::new(), schema {"uniqueItems": true};
        /// Baggage keys that become `baggage.<key>` attributes.
        "baggage" => baggage: Vec<String> = Vec::new(),
            schema {"uniqueItems": true, "items": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}};
        /// The five `istio.*` tags of Istio's native tracing.
        "istioTags" => istio_tags: bool = true;
        /// Most attributes of one span; more are dropped and counted on the span.
        "maxAttributes" => max_attributes: u32 = 128, in 1..=1024;
        /// Longest attribute value, in characters.
        "maxAttributeLength" => max_attribute_length: u32 = 4096, in 1..=65_536;
    }
}

choice! {
    /// Which names of the semantic conventions are written.
    pub enum SemanticConventions {
        /// `http.request.method` and its kin.
        "stable" => Stable,
        /// `http.method` and its kin.
        "old" => Old,
        /// Both.
        "dup" => Dup,
    }
}
