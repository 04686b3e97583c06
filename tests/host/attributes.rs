//! Envoy's attributes: what `proxy_get_property` answers, with the wire encoding and the visibility of each
//! (`source/extensions/filters/common/expr/context.cc`, `Context::findValue`).

use super::engine::{Phase, Status, Stream};
use super::headers::HeaderMap;
use std::time::Duration;

/// What a test says that an attribute answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A status other than `Ok`.
    Fails(Status),
}

/// Which listener a stream came through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// A sidecar's inbound listener.
    #[default]
    Inbound,
    /// A sidecar's outbound listener; also a gateway's.
    Outbound,
    /// A listener without a direction, as in a plain Envoy.
    Unspecified,
}

/// What Envoy knows of a request, besides headers.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The listener's direction.
    pub direction: Direction,
    /// `request.time`.
    pub start_ns: u64,
    /// `upstream.request_attempt_count` once the router has chosen the response; `None`: one.
    pub attempts: Option<u64>,
    /// How it ended; `None` while it runs.
    pub end: Option<EndFacts>,
}

/// What Envoy knows of a request that has ended.
#[derive(Clone, Debug)]
pub struct EndFacts {
    /// `response.code`; `None`: what the response headers say.
    pub code: Option<u16>,
    /// `response.flags`: a bitmap.
    pub flags: u64,
    /// `response.code_details`.
    pub details: &'static str,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// `upstream.request_attempt_count`.
    pub attempts: u64,
}

// === impl Property ===

impl Property {
    /// The host's answer.
    pub fn answer(&self) -> Result<Vec<u8>, Status> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Fails(status) => Err(*status),
        }
    }
}

impl From<&str> for Property {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Property {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<i64> for Property {
    fn from(number: i64) -> Self {
        Self::Bytes(number.to_le_bytes().to_vec())
    }
}

impl From<bool> for Property {
    fn from(truth: bool) -> Self {
        Self::Bytes(vec![u8::from(truth)])
    }
}

// === impl EndFacts ===

impl Default for EndFacts {
    /// An answer from the first upstream that was tried, after 5 ms.
    fn default() -> Self {
        Self { code: None, flags: 0, details: "via_upstream", duration: Duration::from_millis(5), attempts: 1 }
    }
}

impl EndFacts {
    /// No response came: a reset by the upstream (`UC`).
    pub fn reset() -> Self {
        Self {
            flags: 1 << 6,
            details: "upstream_reset_before_response_started{connection_termination}",
            ..Self::default()
        }
    }

    /// As it is, but so long.
    pub fn after(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }
}

/// What follows from headers and facts; `None` is `NotFound`.
pub fn derived(stream: &Stream, path: &[u8]) -> Option<Vec<u8>> {
    let path = String::from_utf8(path.to_vec()).ok()?.replace('\0', ".");
    let readable = matches!(stream.phase, Phase::RequestHeaders | Phase::Log);
    let request = |name: &str| stream.request.first(name).filter(|_| readable).map(<[u8]>::to_vec);
    let end = stream.facts.end.as_ref().filter(|_| stream.phase == Phase::Log);
    match path.as_str() {
        "request.path" => request(":path"),
        "request.url_path" => {
            request(":path").map(|path| path.split(|byte| *byte == b'?').next().unwrap_or(&[]).to_vec())
        }
        "request.host" => request(":authority"),
        "request.method" => request(":method"),
        "request.scheme" => request(":scheme"),
        "request.useragent" => request("user-agent"),
        "request.id" => request("x-request-id"),
        "request.referer" => request("referer"),
        "request.time" => Some(stream.facts.start_ns.to_le_bytes().to_vec()),
        "request.protocol" => Some(b"HTTP/1.1".to_vec()),
        "request.duration" => end.map(|end| nanos(end.duration)),
        "response.code" => end.and_then(|end| code(stream, end)).map(|code| i64::from(code).to_le_bytes().to_vec()),
        "response.flags" => Some(end.map_or(0, |end| end.flags).to_le_bytes().to_vec()),
        "response.code_details" => end.map(|end| end.details.as_bytes().to_vec()),
        "response.grpc_status" => end.and_then(|end| grpc_status(stream, end)).map(|code| code.to_le_bytes().to_vec()),
        "upstream.request_attempt_count" => Some(attempts(stream, end).to_le_bytes().to_vec()),
        "request.size" | "response.size" => end.map(|_| 0_i64.to_le_bytes().to_vec()),
        "source.address" => Some(b"10.0.0.7:40312".to_vec()),
        "upstream.address" => (attempts(stream, end) > 0).then(|| b"10.0.0.8:8080".to_vec()),
        "xds.cluster_name" => end.map(|_| b"app".to_vec()),
        "xds.route_name" => end.map(|_| Vec::new()),
        "xds.listener_direction" => Some(direction(stream.facts.direction).to_le_bytes().to_vec()),
        _ => None,
    }
}

/// Zero until the router has tried; the response headers come from the last attempt.
fn attempts(stream: &Stream, end: Option<&EndFacts>) -> u64 {
    match stream.phase {
        Phase::Log => end.map_or(0, |end| end.attempts),
        Phase::ResponseHeaders => stream.facts.attempts.unwrap_or(1),
        Phase::RequestHeaders | Phase::Elsewhere => 0,
    }
}

fn direction(direction: Direction) -> i64 {
    match direction {
        Direction::Unspecified => 0,
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    }
}

fn nanos(duration: Duration) -> Vec<u8> {
    i64::try_from(duration.as_nanos()).expect("short").to_le_bytes().to_vec()
}

fn code(stream: &Stream, end: &EndFacts) -> Option<u16> {
    let from_headers = || std::str::from_utf8(stream.response.as_ref()?.first(":status")?).ok()?.parse().ok();
    end.code.or_else(from_headers)
}

/// `Grpc::Common::getGrpcStatus`: trailers, headers, and else one made up from the HTTP status.
fn grpc_status(stream: &Stream, end: &EndFacts) -> Option<i64> {
    let said = |map: &HeaderMap| std::str::from_utf8(map.first("grpc-status")?).ok()?.parse().ok();
    let told = stream.trailers.as_ref().and_then(said).or_else(|| stream.response.as_ref().and_then(said));
    told.or_else(|| {
        Some(match code(stream, end)? {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    })
}
