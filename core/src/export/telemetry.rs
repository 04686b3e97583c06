//! How calls of sidespan and other telemetry are told from the traffic of applications.

/// The `user-agent` of every export call.
pub(super) const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-sidespan/", env!("CARGO_PKG_VERSION"));

/// Whether a request carries telemetry: calls of sidespan anywhere in the mesh, and OTLP or Zipkin traffic of others. Such a
/// request is not traced, because its span would be telemetry again. All values as they came, empty if absent.
pub fn is_telemetry(path: &[u8], content_type: &[u8], user_agent: &[u8]) -> bool {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let known_path =
        [&b"/v1/traces"[..], b"/v1/metrics", b"/v1/logs", b"/api/v2/spans", b"/api/v1/spans"].contains(&path);
    let otlp_agent = user_agent.starts_with(b"OTel-") || user_agent.starts_with(b"OpenTelemetry");
    user_agent.starts_with(b"OTel-OTLP-Exporter-sidespan/")
        || path.starts_with(b"/opentelemetry.proto.collector.")
        || (known_path
            && (otlp_agent || content_type.starts_with(b"application/x-protobuf") || path.starts_with(b"/api/")))
}
