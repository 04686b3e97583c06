//! The encodings of spans, and the names that every one of them writes.

/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "sidespan";

/// Version of the instrumentation scope: the filter's.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

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
