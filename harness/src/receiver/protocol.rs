//! Protocols of exports.

/// Protocol of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/HTTP, binary.
    HttpProtobuf,
    /// OTLP/HTTP, JSON.
    HttpJson,
    /// OTLP/gRPC.
    Grpc,
    /// Zipkin v2 JSON.
    Zipkin,
}
