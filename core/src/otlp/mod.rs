//! The encodings of spans, OTLP (protobuf and JSON) and Zipkin v2 JSON, and the meaning of a receiver's answer.
//!
//! A span is encoded once, when it ends, without its `trace_state`: the threshold of a late keep is known only when its
//! window closes (see [`crate::sampling`]). [`Encoder::seal`] adds it and appends the span to a batch; [`Envelope::frame`] makes
//! a request of a batch.

mod encoder;
mod encoding;
mod envelope;
mod failure;
pub mod gzip;
pub mod json;
mod log_text;
mod partial_success;
pub(crate) mod reply;
mod retry_after;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
pub(crate) mod tests;
mod trace;
mod wire;
mod zipkin;

pub use self::encoder::Encoder;
pub use self::encoding::{Encoding, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, schema_url};
pub use self::envelope::Envelope;
pub use self::failure::Failure;
