//! The operator's tags: a `customTags` block of Istio's Telemetry API, and `property` for any Envoy attribute.
//!
//! `formatter` takes Envoy's access-log operators as far as an attribute, a header or the outcome can answer them:
//!
//! | operator | answered by |
//! |---|---|
//! | `%REQ(X?Y):Z%`, `%RESP(X?Y):Z%`, `%TRAILER(X?Y):Z%` | headers; `:PATH`, `:METHOD`, `:AUTHORITY` as they came in |
//! | `%PROTOCOL%`, `%REQUESTED_SERVER_NAME%`, `%ROUTE_NAME%`, `%VIRTUAL_HOST_NAME%`, `%FILTER_CHAIN_NAME%` | attributes |
//! | `%RESPONSE_CODE%`, `%RESPONSE_FLAGS%`, `%RESPONSE_FLAGS_LONG%`, `%DURATION%`, `%GRPC_STATUS%`, `%GRPC_STATUS_NUMBER%`, `%UPSTREAM_REQUEST_ATTEMPT_COUNT%` | the outcome |
//! | `%RESPONSE_CODE_DETAILS%`, `%CONNECTION_TERMINATION_DETAILS%`, `%UPSTREAM_TRANSPORT_FAILURE_REASON%` | attributes |
//! | `%BYTES_RECEIVED%`, `%BYTES_SENT%`, `%CONNECTION_ID%`, `%STREAM_ID%` | attributes |
//! | `%UPSTREAM_CLUSTER%` (`_RAW`), `%UPSTREAM_HOST%`, `%UPSTREAM_REMOTE_ADDRESS%`, `%UPSTREAM_LOCAL_ADDRESS%` | attributes |
//! | `%DOWNSTREAM_REMOTE_ADDRESS%`, `%DOWNSTREAM_LOCAL_ADDRESS%` | attributes |
//! | the addresses with `_WITHOUT_PORT` or `_PORT` | attributes |
//! | `%DOWNSTREAM_PEER_URI_SAN%`, `%DOWNSTREAM_PEER_SUBJECT%`, `%DOWNSTREAM_LOCAL_URI_SAN%`, `%DOWNSTREAM_LOCAL_SUBJECT%`, `%DOWNSTREAM_TLS_VERSION%`, `%UPSTREAM_PEER_URI_SAN%`, `%UPSTREAM_PEER_SUBJECT%`, `%UPSTREAM_TLS_VERSION%` | attributes |
//! | `%ENVIRONMENT(X)%` | variables passed to the VM |
//! | `%FILTER_STATE(key:PLAIN)%`, `%FILTER_STATE(key:FIELD:name)%` | filter state |
//! | `%TRACE_ID%`, `%%` | the span, a percent sign |
//!
//! `:Z` cuts at Z characters. An absent value is `-`, as in access logs; a formatter that is one absent operator gives no
//! tag at all. Everything else is a problem of the configuration, which reads
//! the format strings: [`crate::config::Formatter`].

use crate::config::{CustomTag, Fact, Formatter, HeaderBlock, Operator, Piece, Show};
use crate::http::authority::split_port;
use crate::span::attributes::{Once, boolean, int};
use crate::span::environment::Environment;
use crate::span::exchange::Exchange;
use crate::span::model::Value;
use crate::span::side::Side;
use crate::span::status;
use std::borrow::Cow;

/// One tag, with everything resolved that does not depend on the request.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The attribute's key.
    pub key: String,
    source: Source,
    default: Option<String>,
}

#[derive(Clone, Debug)]
enum Source {
    Fixed(String),
    Header(Side, String),
    Format(Vec<Part>),
    /// The path, segments joined by NUL.
    Property(Vec<u8>),
}

/// A [`Piece`] of a formatter, with the environment resolved.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// What, and at most how many characters of it.
    Operand(Operand, Option<usize>),
}

#[derive(Clone, Debug)]
enum Operand {
    Header(Side, String, Option<String>),
    Attribute(Cow<'static, [u8]>, Show),
    Outcome(Fact),
    Fixed(Option<String>),
}

/// Attributes that are numbers, times or durations (Envoy, "Attributes"); times in nanoseconds.
const NUMBERS: &[&[u8]] = &[
    b"request\0size",
    b"request\0total_size",
    b"request\0headers_bytes",
    b"request\0time",
    b"request\0duration",
    b"response\0code",
    b"response\0flags",
    b"response\0grpc_status",
    b"response\0size",
    b"response\0total_size",
    b"response\0headers_bytes",
    b"response\0backend_latency",
    b"source\0port",
    b"destination\0port",
    b"upstream\0port",
    b"upstream\0request_attempt_count",
    b"upstream\0num_endpoints",
    b"upstream\0cx_pool_ready_duration",
    b"connection\0id",
    b"connection_id",
    b"xds\0listener_direction",
];

const BOOLEANS: &[&[u8]] = &[b"connection\0mtls", b"connection\0peer_certificate_valid"];

// === impl Tag ===

impl Tag {
    /// `None` if the tag can never have a value: a variable that is absent.
    pub fn new(key: &str, tag: &CustomTag, environment: &Environment) -> Option<Self> {
        let header = |side, name: &str| Source::Header(side, name.to_ascii_lowercase());
        let (source, default) = match tag {
            CustomTag::Literal(tag) => (Source::Fixed(tag.value.clone()), None),
            CustomTag::Environment(tag) => {
                let value = environment.get(&tag.name).filter(|value| !value.is_empty());
                (Source::Fixed(value.or(tag.default_value.as_ref())?.clone()), None)
            }
            CustomTag::Header(tag) => (header(Side::Request, &tag.name), tag.default_value.clone()),
            CustomTag::ResponseHeader(tag) => (header(Side::Response, &tag.name), tag.default_value.clone()),
            CustomTag::ResponseTrailer(tag) => (header(Side::Trailer, &tag.name), tag.default_value.clone()),
            CustomTag::Formatter(tag) => (Source::Format(parts(&tag.value, environment)), None),
            CustomTag::Property(tag) => (Source::Property(property_path(&tag.path)), tag.default_value.clone()),
        };
        Some(Self { key: key.to_owned(), source, default })
    }

    /// Whether headers of this side are looked at.
    pub fn needs(&self, side: Side) -> bool {
        match &self.source {
            Source::Header(wanted, _) => *wanted == side,
            Source::Format(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Operand(Operand::Header(wanted, ..), _) if *wanted == side)),
            Source::Fixed(_) | Source::Property(_) => false,
        }
    }

    /// The value for one request, or the default; `None` leaves the tag out.
    pub fn value<'a>(&'a self, call: &Exchange<'a>, once: &mut Once<'a>) -> Option<Value> {
        let found = match &self.source {
            Source::Fixed(text) => Some(text.clone().into()),
            Source::Header(side, name) => call.header(*side, name).map(Value::from),
            Source::Format(parts) => format(parts, call, once).map(Value::from),
            Source::Property(path) => property(path, call, once),
        };
        found.or_else(|| self.default.clone().map(Value::from))
    }
}

/// A formatter for the tags of one proxy, whose environment does not change.
fn parts(formatter: &Formatter, environment: &Environment) -> Vec<Part> {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => Part::Text(text.clone()),
        Piece::Operator(operator, limit) => Part::Operand(Operand::new(operator, environment), *limit),
    };
    formatter.pieces().iter().map(part).collect()
}

fn format<'a>(parts: &'a [Part], call: &Exchange<'a>, once: &mut Once<'a>) -> Option<String> {
    if let [Part::Operand(operand, limit)] = parts {
        return operand.value(call, once).map(|value| first_chars(value, *limit));
    }
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Operand(operand, limit) => match operand.value(call, once) {
                Some(value) => out.push_str(&first_chars(value, *limit)),
                None => out.push('-'),
            },
        }
    }
    Some(out)
}

/// By type where the type is known, else text; bytes that are no text (a serialised message) are no value.
fn property<'a>(path: &'a [u8], call: &Exchange<'a>, once: &mut Once<'a>) -> Option<Value> {
    let bytes = once.get(path)?;
    if NUMBERS.contains(&path) {
        return int(bytes).map(Value::Int);
    }
    if BOOLEANS.contains(&path) {
        return boolean(bytes).map(Value::Bool);
    }
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
    Some(match path {
        b"request\0path" | b"request\0url_path" | b"request\0referer" => call.url(bytes).into(),
        b"request\0query" => call.settings.redaction.query(bytes, call.settings.limits.value_bytes()).into(),
        _ => call.text(bytes).into(),
    })
}

/// `upstream.address` → segments joined by NUL; `\.` is a dot within a segment.
fn property_path(dotted: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(dotted.len());
    let mut escaped = false;
    for byte in dotted.bytes() {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b'.' if !escaped => out.push(0),
            _ => out.push(byte),
        }
        escaped = false;
    }
    out
}

fn first_chars(mut text: String, limit: Option<usize>) -> String {
    if let Some((end, _)) = limit.and_then(|limit| text.char_indices().nth(limit)) {
        text.truncate(end);
    }
    text
}

// === impl Operand ===

impl Operand {
    fn new(operator: &Operator, environment: &Environment) -> Self {
        match operator {
            Operator::Header(block, name, other) => {
                let side = match block {
                    HeaderBlock::Request => Side::Request,
                    HeaderBlock::Response => Side::Response,
                    HeaderBlock::Trailers => Side::Trailer,
                };
                Self::Header(side, name.clone(), other.clone())
            }
            Operator::Environment(name) => {
                Self::Fixed(environment.get(name).filter(|value| !value.is_empty()).cloned())
            }
            Operator::Attribute(path, show) => Self::Attribute(path.clone(), *show),
            Operator::Fact(fact) => Self::Outcome(*fact),
        }
    }

    fn value<'a>(&'a self, call: &Exchange<'a>, once: &mut Once<'a>) -> Option<String> {
        match self {
            Self::Header(side, name, fallback) => {
                call.header(*side, name).or_else(|| call.header(*side, fallback.as_deref()?))
            }
            Self::Fixed(text) => text.clone(),
            Self::Outcome(known) => fact(*known, call),
            Self::Attribute(path, Show::Int) => once.int(path).map(|number| number.to_string()),
            Self::Attribute(path, Show::Text) => once.get(path).filter(|text| !text.is_empty()).map(|b| call.text(b)),
            Self::Attribute(path, Show::Host) => Some(split_port(&once.text(path)?).0.to_owned()),
            Self::Attribute(path, Show::Port) => split_port(&once.text(path)?).1.map(|port| port.to_string()),
        }
    }
}

fn fact(fact: Fact, call: &Exchange<'_>) -> Option<String> {
    let outcome = call.outcome;
    match fact {
        Fact::ResponseCode => status::http_status(outcome).map(|code| code.to_string()),
        Fact::Flags => status::short_flags(outcome.flags),
        Fact::FlagsLong => status::long_flags(outcome.flags),
        Fact::DurationMillis => Some((outcome.duration_ns / 1_000_000).to_string()),
        Fact::GrpcStatus => outcome.grpc_status.map(|code| status::grpc_code_name(code).into_owned()),
        Fact::GrpcNumber => outcome.grpc_status.map(|code| code.to_string()),
        Fact::Attempts => Some(outcome.attempts.to_string()),
        Fact::TraceId => Some(call.trace_id.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_paths_are_dotted_with_an_escape() {
        for (dotted, expected) in [
            ("upstream.address", &b"upstream\0address"[..]),
            (r"request.headers.x\.y", b"request\0headers\0x.y"),
            (r"a\\b.c", b"a\\b\0c"),
            ("plugin_name", b"plugin_name"),
        ] {
            assert_eq!(property_path(dotted), expected, "{dotted}");
        }
    }
}
