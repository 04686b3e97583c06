//! The encodings of spans, and the names that every one of them writes.

use crate::config::SemanticConventions;

/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "sidespan";

/// Version of the instrumentation scope: the filter's.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The release of the semantic conventions that the resource follows, and spans under `stable` and `dup`: the first one in which
/// the conventions for RPC are stable, as those for HTTP are since 1.23.0.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// The release that spans follow under `old`: the last one before the conventions for HTTP were made stable.
const OLD_SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.20.0";

/// The schema that the scope declares: that of the names on its spans.
pub fn schema_url(conventions: SemanticConventions) -> &'static str {
    match conventions {
        SemanticConventions::Stable | SemanticConventions::Dup => SCHEMA_URL,
        SemanticConventions::Old => OLD_SCHEMA_URL,
    }
}

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// OTLP, binary (over HTTP or gRPC).
    Protobuf,
    /// OTLP, JSON.
    Json,
    /// Zipkin v2 JSON.
    Zipkin,
}

// === impl Encoding ===

impl Encoding {
    /// Media type of a request over HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json | Self::Zipkin => "application/json",
        }
    }
}
