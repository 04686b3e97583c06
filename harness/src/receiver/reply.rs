//! What the receiver answers: the script of its behaviour.

use super::protocol::Protocol;
use crate::grpc;
use crate::server::{Abort, Answer, empty, full};
use crate::upstream::{header, respond};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use std::time::Duration;

/// One answer. Spans count as received only where it says so.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Success. Received.
    Accept,
    /// An HTTP status, also to a gRPC call; `retry_after` is the header's value.
    Status {
        /// Status code.
        code: u16,
        /// `Retry-After`, seconds or a date.
        retry_after: Option<String>,
    },
    /// A gRPC status in a trailers-only answer (to an HTTP export: 500).
    Grpc {
        /// Status code.
        code: u32,
        /// Message.
        message: String,
        /// `RetryInfo` in `grpc-status-details-bin`.
        retry_delay: Option<Duration>,
    },
    /// Success, but for so many spans. The others are received, the last ones are those rejected.
    Partial {
        /// How many were rejected.
        rejected: usize,
        /// Message.
        message: String,
    },
    /// 200 with a body that is no answer. Received.
    Garbage,
    /// Another answer, later. The request counts as received (or not) when it answers.
    Delay(Duration, Box<Reply>),
    /// The connection is reset, nothing is received.
    Reset,
    /// Received, but the connection is reset instead of an answer: the sender cannot know.
    ReceiveThenReset,
    /// Never answers, nothing is received.
    Never,
}

// === impl Reply ===

impl Reply {
    /// A status without `Retry-After`.
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None }
    }

    /// A gRPC status without details.
    pub fn grpc(code: u32, message: &str) -> Self {
        Self::Grpc { code, message: message.to_owned(), retry_delay: None }
    }

    /// This answer, after a delay.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::Delay(delay, Box::new(self))
    }

    /// How many of `n` spans count as received.
    pub(super) fn received(&self, n: usize) -> usize {
        match self {
            Self::Accept | Self::Garbage | Self::ReceiveThenReset => n,
            Self::Partial { rejected, .. } => n.saturating_sub(*rejected),
            Self::Delay(_, then) => then.received(n),
            Self::Status { .. } | Self::Grpc { .. } | Self::Reset | Self::Never => 0,
        }
    }

    /// The answer without its delays, and their sum.
    pub(super) fn undelayed(self) -> (Duration, Self) {
        match self {
            Self::Delay(delay, then) => {
                let (more, reply) = then.undelayed();
                (delay.saturating_add(more), reply)
            }
            reply => (Duration::ZERO, reply),
        }
    }

    /// The answer on the wire, at once.
    pub(super) async fn answer(&self, protocol: Protocol) -> Answer {
        match self {
            Self::Accept => success(protocol, &ExportTraceServiceResponse::default()),
            Self::Partial { rejected, message } => success(protocol, &partial(*rejected, message)),
            Self::Garbage => {
                header(respond(200, full(&b"\xff\xff\xffgarbage"[..])), "content-type", media_type(protocol))
            }
            Self::Status { code, retry_after } => {
                let answer = respond(*code, full("refused by the script"));
                retry_after.iter().fold(answer, |answer, value| header(answer, "retry-after", value))
            }
            Self::Grpc { code, message, retry_delay } if protocol == Protocol::Grpc => {
                trailers_only(*code, message, *retry_delay)
            }
            Self::Grpc { .. } => respond(500, full("a gRPC status for an HTTP export")),
            Self::Reset | Self::ReceiveThenReset => Err(Abort::Reset),
            Self::Never => std::future::pending().await,
            Self::Delay(_, then) => Box::pin(then.answer(protocol)).await,
        }
    }
}

fn partial(rejected: usize, message: &str) -> ExportTraceServiceResponse {
    let rejected_spans = i64::try_from(rejected).unwrap_or(i64::MAX);
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: message.to_owned() };
    ExportTraceServiceResponse { partial_success: Some(partial) }
}

fn success(protocol: Protocol, response: &ExportTraceServiceResponse) -> Answer {
    let answer = match protocol {
        Protocol::Zipkin => return respond(202, empty()),
        Protocol::HttpProtobuf => respond(200, full(response.encode_to_vec())),
        Protocol::HttpJson => respond(200, full(json(response))),
        Protocol::Grpc => {
            let trailers = async { Some(Ok(grpc::status_headers(0, ""))) };
            let message = Full::new(grpc::frame(&response.encode_to_vec())).with_trailers(trailers);
            respond(200, message.map_err(|never| match never {}).boxed_unsync())
        }
    };
    header(answer, "content-type", media_type(protocol))
}

/// A 64-bit number of protobuf's JSON mapping is a string.
fn json(response: &ExportTraceServiceResponse) -> Bytes {
    let value = response.partial_success.as_ref().map_or_else(
        || serde_json::json!({}),
        |partial| {
            let rejected = partial.rejected_spans.to_string();
            serde_json::json!({"partialSuccess": {"rejectedSpans": rejected, "errorMessage": partial.error_message}})
        },
    );
    value.to_string().into()
}

fn media_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HttpProtobuf => "application/x-protobuf",
        Protocol::HttpJson | Protocol::Zipkin => "application/json",
        Protocol::Grpc => "application/grpc",
    }
}

fn trailers_only(code: u32, message: &str, retry_delay: Option<Duration>) -> Answer {
    let mut answer = header(respond(200, empty()), "content-type", "application/grpc")?;
    answer.headers_mut().extend(grpc::status_headers(code, message));
    if let Some(delay) = retry_delay {
        answer.headers_mut().extend(retry_info(code, message, delay));
    }
    Ok(answer)
}

// === google.rpc.Status with RetryInfo, field by field ===

#[derive(Message)]
struct RpcStatus {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

#[derive(Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

#[derive(Message)]
struct RpcDuration {
    #[prost(uint64, tag = "1")]
    seconds: u64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

fn retry_info(code: u32, message: &str, delay: Duration) -> HeaderMap {
    let delay = RpcDuration { seconds: delay.as_secs(), nanos: delay.subsec_nanos() };
    let info = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
    let detail = RpcAny { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info };
    let status = RpcStatus { code, message: message.to_owned(), details: vec![detail] }.encode_to_vec();
    let value = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status));
    value.into_iter().map(|value| (http::HeaderName::from_static("grpc-status-details-bin"), value)).collect()
}
