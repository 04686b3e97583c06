//! Partial success: a receiver that took the request but not all of its spans (`opentelemetry-proto`,
//! `docs/specification.md`, "Partial Success").

use super::encoding::Encoding;
use super::log_text::one_line;
use super::wire::Fields;

/// A partial success is never longer than this. A longer body is not parsed: the status has said that the spans were taken
/// ("OTLP/HTTP Response": a client must limit what it reads).
const MAX_BODY: usize = 64 * 1024;

/// `ExportTraceServiceResponse { partial_success = 1 { rejected_spans = 1, error_message = 2 } }`. Returns
/// how many spans the receiver rejected and what it says about it. A body that cannot be read is a full success, because the
/// status says so.
pub(super) fn parse(encoding: Encoding, body: &[u8]) -> (u64, String) {
    if body.len() > MAX_BODY {
        return (0, format!("the answer of {} bytes is too large to read", body.len()));
    }
    let (rejected, message) = match encoding {
        Encoding::Protobuf => {
            let partial = Fields(Fields(body).bytes(1).unwrap_or_default());
            (partial.number(1).cast_signed(), one_line(partial.bytes(2).unwrap_or_default()))
        }
        Encoding::Json => partial_json(body).unwrap_or_default(),
        Encoding::Zipkin => (0, String::new()),
    };
    (u64::try_from(rejected).unwrap_or(0), message)
}

/// The same as JSON, where a 64-bit integer may be a string or a number.
fn partial_json(body: &[u8]) -> Option<(i64, String)> {
    let reply: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = reply.get("partialSuccess")?;
    let rejected = match partial.get("rejectedSpans") {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0),
        Some(number) => number.as_i64().unwrap_or(0),
        None => 0,
    };
    let message = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
    Some((rejected, one_line(message.as_bytes())))
}
