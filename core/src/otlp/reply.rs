//! What the answer of a receiver means: the spans were accepted, must be sent again, or are lost.
//!
//! `opentelemetry-proto`, `docs/specification.md`: "OTLP/HTTP Response" and "OTLP/gRPC Response"; RFC 9110 section 10.2.3
//! (Retry-After). Envoy answers for a receiver that it cannot reach, with a status of its own and a known text.

use super::encoding::Encoding;
use super::failure::Failure;
use super::log_text::one_line;
use super::wire::Fields;
use super::{partial_success, retry_after};
use crate::http::headers::{self, Header};
use crate::http::{number, percent};

/// An answer as the host hands it over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reply<'a> {
    /// `None`: the call came back without any header, which is how Envoy reports a reset stream.
    pub status: Option<u16>,
    /// Response headers, names in lower case.
    pub headers: &'a [Header<'a>],
    /// Response body.
    pub body: &'a [u8],
    /// Response trailers.
    pub trailers: &'a [Header<'a>],
}

/// The result of one export call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExportResult {
    /// The receiver accepted all but `rejected` spans, which must not be sent again.
    Accepted {
        /// `rejected_spans` of a partial success; not yet bounded by what was sent.
        rejected: u64,
        /// The message of the receiver, which may be a warning only.
        message: String,
    },
    /// The receiver accepted nothing.
    Failed {
        /// The reason.
        failure: Failure,
        /// Whether the same request may be sent again.
        retryable: bool,
        /// How long the receiver asks us to wait, in nanoseconds.
        wait_ns: Option<u64>,
        /// Status and message of the receiver, for the log.
        message: String,
    },
}

/// The answer to an OTLP/HTTP or Zipkin call. `now_s`: seconds since the Unix epoch, to compare a date with.
pub(crate) fn http(encoding: Encoding, reply: &Reply<'_>, now_s: u64) -> ExportResult {
    let Some(status) = reply.status else {
        return retryable(Failure::Reset, None, "reset".to_owned());
    };
    let wait = headers::first(reply.headers, b"retry-after").and_then(|value| retry_after::from_header(value, now_s));
    let message = || describe(status, encoding, reply.body);
    match status {
        200..=299 | 404 | 415 if refused_by_grpc(reply) => fatal(Failure::Protocol, message()),
        200..=299 => accepted(encoding, reply.body),
        429 => retryable(Failure::Throttled, wait, message()),
        502..=504 => retryable(by_envoy(reply).unwrap_or(Failure::Unavailable), wait, message()),
        413 => fatal(Failure::TooLarge, message()),
        _ => fatal(Failure::Refusal, message()),
    }
}

/// The answer to an OTLP/gRPC call.
pub(crate) fn grpc(reply: &Reply<'_>, now_s: u64) -> ExportResult {
    let field = |name: &[u8]| headers::first(reply.trailers, name).or_else(|| headers::first(reply.headers, name));
    let Some(http_status) = reply.status else {
        return retryable(Failure::Reset, None, "reset".to_owned());
    };
    // An answer that is not gRPC is read as HTTP. These statuses say that HTTP was understood and the request was not.
    let Some(code) = field(b"grpc-status").and_then(number::parse_saturating) else {
        return match http_status {
            200..=299 | 400 | 404 | 405 | 415 | 426 | 505 => {
                fatal(Failure::Protocol, format!("HTTP {http_status} without grpc-status"))
            }
            _ => http(Encoding::Protobuf, reply, now_s),
        };
    };
    if code == 0 {
        return accepted(Encoding::Protobuf, unframed(reply.body));
    }
    let text = percent::decode(field(b"grpc-message").unwrap_or_default());
    let message = join(format!("grpc-status {code}"), &text);
    let wait = field(b"grpc-status-details-bin").and_then(retry_after::from_grpc_details);
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED with RetryInfo only.
    match code {
        4 => retryable(Failure::Timeout, wait, message),
        8 if wait.is_some() => retryable(Failure::Throttled, wait, message),
        8 if message.contains("larger than max") => fatal(Failure::TooLarge, message),
        8 => fatal(Failure::Throttled, message),
        14 => retryable(by_envoy(reply).or_else(|| by_text(&text)).unwrap_or(Failure::Unavailable), wait, message),
        1 | 10 | 11 | 15 => retryable(Failure::Unavailable, wait, message),
        _ => fatal(Failure::Refusal, message),
    }
}

/// Whether a gRPC server answers a request that is not gRPC. (What translates between the two says 0, or an HTTP status of its
/// own.)
fn refused_by_grpc(reply: &Reply<'_>) -> bool {
    headers::first(reply.headers, b"grpc-status").is_some_and(|code| code != b"0")
}

fn accepted(encoding: Encoding, body: &[u8]) -> ExportResult {
    let (rejected, message) = partial_success::parse(encoding, body);
    ExportResult::Accepted { rejected, message }
}

fn retryable(failure: Failure, wait_ns: Option<u64>, message: String) -> ExportResult {
    ExportResult::Failed { failure, retryable: true, wait_ns, message }
}

fn fatal(failure: Failure, message: String) -> ExportResult {
    ExportResult::Failed { failure, retryable: false, wait_ns: None, message }
}

/// What Envoy's local reply says, if the body is one.
fn by_envoy(reply: &Reply<'_>) -> Option<Failure> {
    by_text(reply.body)
}

/// The failure behind the text of one of Envoy's local replies (`source/common/router/router.cc`).
fn by_text(text: &[u8]) -> Option<Failure> {
    const WORDS: [(&[u8], Failure); 3] = [
        (b"upstream request timeout", Failure::Timeout),
        (b"no healthy upstream", Failure::NoHealthyHost),
        (b"upstream connect error", Failure::Refused),
    ];
    // Bytes that are not HTTP, such as those of a gRPC server that was asked in HTTP/1.1.
    const NOT_HTTP: &[u8] = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    if text.starts_with(NOT_HTTP) {
        return Some(Failure::Protocol);
    }
    WORDS.iter().find(|(words, _)| text.starts_with(words)).map(|(_, failure)| *failure)
}

/// Status, and the message of a `google.rpc.Status` (protobuf) or the body itself.
fn describe(status: u16, encoding: Encoding, body: &[u8]) -> String {
    let inner = if encoding == Encoding::Protobuf { Fields(body).bytes(2) } else { None };
    join(format!("HTTP {status}"), inner.unwrap_or(body))
}

fn join(status: String, text: &[u8]) -> String {
    let text = one_line(text);
    if text.is_empty() { status } else { format!("{status}: {text}") }
}

/// The message of the first frame of a gRPC response; empty if it is compressed or cut (then it is only a success).
fn unframed(body: &[u8]) -> &[u8] {
    let Some(([compressed, length @ ..], rest)) = body.split_first_chunk::<5>() else { return &[] };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed == 0 { rest.get(..length).unwrap_or_default() } else { &[] }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
mod tests {
    use super::super::log_text::MAX_MESSAGE;
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use proptest::prelude::*;
    use prost::Message as _;

    const S: u64 = 1_000_000_000;

    fn partial_response(rejected_spans: i64, message: &str) -> ExportTraceServiceResponse {
        let error_message = message.to_owned();
        ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }),
        }
    }

    fn taken(rejected: u64, message: &str) -> ExportResult {
        ExportResult::Accepted { rejected, message: message.to_owned() }
    }

    /// Failure, retryable, wait in seconds.
    fn failed(verdict: ExportResult) -> (Failure, bool, Option<u64>) {
        match verdict {
            ExportResult::Failed { failure, retryable, wait_ns, .. } => {
                (failure, retryable, wait_ns.map(|wait| wait / S))
            }
            accepted => panic!("{accepted:?}"),
        }
    }

    fn http_status(status: u16, body: &[u8]) -> ExportResult {
        http(Encoding::Protobuf, &Reply { status: Some(status), body, ..Reply::default() }, 0)
    }

    #[test]
    fn only_four_statuses_are_tried_again() {
        for status in 100..=599 {
            let verdict = http_status(status, b"");
            match status {
                200..=299 => assert_eq!(verdict, taken(0, "")),
                429 => assert_eq!(failed(verdict), (Failure::Throttled, true, None)),
                502..=504 => assert_eq!(failed(verdict), (Failure::Unavailable, true, None)),
                413 => assert_eq!(failed(verdict), (Failure::TooLarge, false, None)),
                _ => assert_eq!(failed(verdict), (Failure::Refusal, false, None), "{status}"),
            }
        }
    }

    #[test]
    fn envoys_own_answers_are_told_apart() {
        let table: &[(u16, &str, Failure)] = &[
            (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
                Failure::Refused,
            ),
            (503, "no healthy upstream", Failure::NoHealthyHost),
            (504, "upstream request timeout", Failure::Timeout),
            (503, "the collector is full", Failure::Unavailable),
        ];
        for (status, body, failure) in table {
            assert_eq!(failed(http_status(*status, body.as_bytes())), (*failure, true, None), "{body}");
        }
        assert_eq!(failed(http(Encoding::Json, &Reply::default(), 0)), (Failure::Reset, true, None));
        assert_eq!(failed(grpc(&Reply::default(), 0)), (Failure::Reset, true, None));
    }

    #[test]
    fn a_receiver_says_when_to_come_back() {
        for status in [429, 503] {
            let headers = [Header::new("retry-after", "7")];
            let reply = Reply { status: Some(status), headers: &headers, ..Reply::default() };
            assert_eq!(failed(http(Encoding::Json, &reply, 0)).2, Some(7));
        }
    }

    #[test]
    fn a_partial_success_is_a_success() {
        let response = partial_response(7, "too\nold").encode_to_vec();
        assert_eq!(http_status(200, &response), taken(7, "too old"));
        let json = |body: &[u8]| http(Encoding::Json, &Reply { status: Some(200), body, ..Reply::default() }, 0);
        let table: &[(&str, u64, &str)] = &[
            (r#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"old"}}"#, 7, "old"),
            (r#"{"partialSuccess":{"rejectedSpans":7}}"#, 7, ""),
            (r#"{"partialSuccess":{"errorMessage":"only a warning"}}"#, 0, "only a warning"),
            (r#"{"partialSuccess":{"rejectedSpans":-1}}"#, 0, ""),
            (r#"{"partialSuccess":{}}"#, 0, ""),
            ("{}", 0, ""),
            ("", 0, ""),
            ("not JSON", 0, ""),
        ];
        for (body, rejected, message) in table {
            assert_eq!(json(body.as_bytes()), taken(*rejected, message), "{body}");
        }
        assert_eq!(http_status(200, &partial_response(-3, "").encode_to_vec()), taken(0, ""));
        assert_eq!(http_status(202, &[0xff; 100]), taken(0, ""));
    }

    #[test]
    fn of_a_response_that_is_too_large_the_status_counts() {
        let long = vec![b'x'; 65_537];
        let warning = || taken(0, "the answer of 65537 bytes is too large to read");
        assert_eq!(http_status(200, &long), warning());
        let trailers = [Header::new("grpc-status", "0")];
        let framed = [&[0, 0, 1, 0, 1][..], &long].concat();
        let reply = Reply { status: Some(200), body: &framed, trailers: &trailers, ..Reply::default() };
        assert_eq!(grpc(&reply, 0), warning());
        assert_eq!(failed(http_status(503, &long)), (Failure::Unavailable, true, None));
    }

    #[test]
    fn a_receiver_of_another_protocol_is_recognised() {
        let plain = [Header::new("content-type", "text/plain")];
        let grpc_headers = [Header::new("content-type", "application/grpc"), Header::new("grpc-status", "3")];
        let reply = |status, headers, body| Reply { status: Some(status), headers, body, ..Reply::default() };
        for status in [200, 400, 404, 405, 415] {
            let found = failed(grpc(&reply(status, &plain, b"404 page not found"), 0));
            assert_eq!(found, (Failure::Protocol, false, None), "gRPC to HTTP: {status}");
        }
        for status in [401, 403] {
            let found = failed(grpc(&reply(status, &plain, b""), 0));
            assert_eq!(found, (Failure::Refusal, false, None), "gRPC that is not allowed: {status}");
        }
        for status in [200, 415] {
            let found = failed(http(Encoding::Protobuf, &reply(status, &grpc_headers, b""), 0));
            assert_eq!(found, (Failure::Protocol, false, None), "HTTP/2 to gRPC: {status}");
        }
        let reset = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error";
        assert_eq!(failed(http_status(503, reset)), (Failure::Protocol, true, None), "HTTP/1.1 to gRPC");
    }

    #[test]
    fn messages_of_a_receiver_fit_one_line() {
        let ExportResult::Failed { message, .. } = http_status(400, "bad\r\nthing\u{1b}[31m".as_bytes()) else {
            panic!()
        };
        assert_eq!(message, "HTTP 400: bad  thing [31m");
        let ExportResult::Failed { message, .. } = http_status(400, &[b'x'; 10_000]) else { panic!() };
        assert!(message.len() < MAX_MESSAGE + 20);
        // A google.rpc.Status with its message in field 2.
        let ExportResult::Failed { message, .. } = http_status(400, b"\x08\x03\x12\x03bad") else { panic!() };
        assert_eq!(message, "HTTP 400: bad");
    }

    fn grpc_status(code: &str, details: Option<&str>) -> ExportResult {
        let mut trailers = vec![Header::new("grpc-status", code), Header::new("grpc-message", "why%20not%3f")];
        trailers.extend(details.map(|details| Header::new("grpc-status-details-bin", details)));
        grpc(&Reply { status: Some(200), trailers: &trailers, ..Reply::default() }, 0)
    }

    #[test]
    fn grpc_codes_are_tried_again_as_the_specification_says() {
        for code in 1..=20 {
            let (failure, retryable, _) = failed(grpc_status(&code.to_string(), None));
            assert_eq!(retryable, [1, 4, 10, 11, 14, 15].contains(&code), "{code}");
            let expected = match code {
                4 => Failure::Timeout,
                8 => Failure::Throttled,
                1 | 10 | 11 | 14 | 15 => Failure::Unavailable,
                _ => Failure::Refusal,
            };
            assert_eq!(failure, expected, "{code}");
        }
        let ExportResult::Failed { message, .. } = grpc_status("3", None) else { panic!() };
        assert_eq!(message, "grpc-status 3: why not?");
    }

    #[test]
    fn an_exhausted_resource_is_tried_again_only_with_retry_info() {
        // google.rpc.Status { code: 8, details: [Any { RetryInfo { 5 s } }] }
        let mut any = Vec::new();
        crate::otlp::wire::bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
        crate::otlp::wire::bytes(&mut any, 2, &[0x0a, 2, 8, 5]);
        let mut status = vec![8, 8];
        crate::otlp::wire::bytes(&mut status, 3, &any);
        assert_eq!(failed(grpc_status("8", Some("CAg"))), (Failure::Throttled, false, None));
        assert_eq!(failed(grpc_status("8", Some(&encoded(&status)))), (Failure::Throttled, true, Some(5)));
        assert_eq!(failed(grpc_status("14", Some(&encoded(&status)))), (Failure::Unavailable, true, Some(5)));
    }

    fn encoded(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
        let digit = |bits: &[u8]| (0..6).fold(0, |sum, bit| sum * 2 + bits.get(bit).copied().unwrap_or(0));
        bits.chunks(6).map(|bits| char::from(DIGITS[usize::from(digit(bits))])).collect()
    }

    #[test]
    fn a_grpc_status_may_come_in_the_headers_or_not_at_all() {
        let headers = [Header::new("grpc-status", "14")];
        let reply = Reply { status: Some(200), headers: &headers, ..Reply::default() };
        assert_eq!(failed(grpc(&reply, 0)), (Failure::Unavailable, true, None));
        let none = |status| grpc(&Reply { status: Some(status), body: b"<html>", ..Reply::default() }, 0);
        assert_eq!(failed(none(200)), (Failure::Protocol, false, None));
        assert_eq!(failed(none(404)), (Failure::Protocol, false, None));
        assert_eq!(failed(none(403)), (Failure::Refusal, false, None));
        assert_eq!(failed(none(503)), (Failure::Unavailable, true, None));
        let headers = [Header::new("grpc-status", "14"), Header::new("grpc-message", "no healthy upstream")];
        let reply = Reply { status: Some(200), headers: &headers, ..Reply::default() };
        assert_eq!(failed(grpc(&reply, 0)), (Failure::NoHealthyHost, true, None));
    }

    #[test]
    fn a_grpc_message_is_taken_out_of_its_frame() {
        let message = partial_response(3, "old").encode_to_vec();
        let mut body = vec![0, 0, 0, 0, message.len() as u8];
        body.extend_from_slice(&message);
        let trailers = [Header::new("grpc-status", "0")];
        let reply = |body| Reply { status: Some(200), body, trailers: &trailers, ..Reply::default() };
        assert_eq!(grpc(&reply(&body), 0), taken(3, "old"));
        for (body, why) in
            [(&b""[..], "no message"), (&[0, 0, 0, 0, 0], "an empty one"), (&[1, 0, 0, 0, 9, 1], "a cut one")]
        {
            assert_eq!(grpc(&reply(body), 0), taken(0, ""), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_gives_one_short_line(status in proptest::option::of(any::<u16>()), body: Vec<u8>, value: Vec<u8>, code in 0u8..20) {
            let code = code.to_string();
            let headers = [Header::new("retry-after", &value), Header::new("grpc-message", &value)];
            let trailers = [Header::new("grpc-status", &code), Header::new("grpc-status-details-bin", &value)];
            let reply = Reply { status, headers: &headers, body: &body, trailers: &trailers };
            let http = [Encoding::Protobuf, Encoding::Json, Encoding::Zipkin].map(|encoding| http(encoding, &reply, 1));
            for result in http.into_iter().chain([grpc(&reply, 1)]) {
                let (ExportResult::Accepted { message, .. } | ExportResult::Failed { message, .. }) = result;
                prop_assert!(!message.contains(char::is_control), "{message:?}");
                // A byte that is not UTF-8 becomes three.
                prop_assert!(message.len() <= 3 * MAX_MESSAGE + 60, "{message:?}");
            }
        }
    }
}
