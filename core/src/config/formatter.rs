//! Format strings of Envoy's access logs, as far as an attribute, a header or the outcome can answer their operators.
//!
//! ```text
//! format   = *( text / "%%" / operator )
//! operator = "%" NAME [ "(" arguments ")" ] [ ":" length ] "%"
//! ```
//! (Envoy, "Access logging", "Format strings".) An absent value is `-`, as in access logs; a formatter that is one absent
//! operator gives no tag at all. Which operators there are is listed in `docs/tags.md`.

use super::node::{At, Node};
use super::report::Report;
use std::borrow::Cow;

/// What to do about a formatter that cannot be answered.
const HINT: &str = "docs/tags.md lists the operators; `property` gives any Envoy attribute";

/// A format string, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Formatter {
    pieces: Vec<Piece>,
}

/// A part of a format string.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// What, and at most how many characters of it.
    Operator(Operator, Option<usize>),
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// A header by its name in lower case, and the name of another one if that is absent.
    Header(HeaderBlock, String, Option<String>),
    /// An environment variable of the proxy.
    Environment(String),
    /// An Envoy attribute: its path, segments joined by NUL.
    Attribute(Cow<'static, [u8]>, Show),
    /// Something that the filter knows itself.
    Fact(Fact),
}

/// Where a header is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderBlock {
    /// `REQ`: request headers.
    Request,
    /// `RESP`: response headers.
    Response,
    /// `TRAILER`: response trailers.
    Trailers,
}

/// How the bytes of an attribute are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As text.
    Text,
    /// As a whole number.
    Int,
    /// An address without its port.
    Host,
    /// The port of an address.
    Port,
}

/// What the outcome or the span answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `%RESPONSE_CODE%`.
    ResponseCode,
    /// `%RESPONSE_FLAGS%`.
    Flags,
    /// `%RESPONSE_FLAGS_LONG%`.
    FlagsLong,
    /// `%DURATION%`, in milliseconds.
    DurationMillis,
    /// `%GRPC_STATUS%`, by name.
    GrpcStatus,
    /// `%GRPC_STATUS_NUMBER%`.
    GrpcNumber,
    /// `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`.
    Attempts,
    /// `%TRACE_ID%`.
    TraceId,
}

/// Operators that an attribute answers. Addresses know `_WITHOUT_PORT` and `_PORT` too.
const OPERATORS: &[(&str, &[u8], Show)] = &[
    ("PROTOCOL", b"request\0protocol", Show::Text),
    ("REQUESTED_SERVER_NAME", b"connection\0requested_server_name", Show::Text),
    ("ROUTE_NAME", b"xds\0route_name", Show::Text),
    ("VIRTUAL_HOST_NAME", b"xds\0virtual_host_name", Show::Text),
    ("FILTER_CHAIN_NAME", b"xds\0filter_chain_name", Show::Text),
    ("RESPONSE_CODE_DETAILS", b"response\0code_details", Show::Text),
    ("CONNECTION_TERMINATION_DETAILS", b"connection\0termination_details", Show::Text),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", b"upstream\0transport_failure_reason", Show::Text),
    ("BYTES_RECEIVED", b"request\0size", Show::Int),
    ("BYTES_SENT", b"response\0size", Show::Int),
    ("CONNECTION_ID", b"connection\0id", Show::Int),
    ("STREAM_ID", b"request\0id", Show::Text),
    ("UPSTREAM_CLUSTER", b"xds\0cluster_name", Show::Text),
    ("UPSTREAM_CLUSTER_RAW", b"xds\0cluster_name", Show::Text),
    ("UPSTREAM_HOST", b"upstream\0address", Show::Text),
    ("UPSTREAM_REMOTE_ADDRESS", b"upstream\0address", Show::Text),
    ("UPSTREAM_LOCAL_ADDRESS", b"upstream\0local_address", Show::Text),
    ("UPSTREAM_PEER_URI_SAN", b"upstream\0uri_san_peer_certificate", Show::Text),
    ("UPSTREAM_PEER_SUBJECT", b"upstream\0subject_peer_certificate", Show::Text),
    ("UPSTREAM_TLS_VERSION", b"upstream\0tls_version", Show::Text),
    ("DOWNSTREAM_REMOTE_ADDRESS", b"source\0address", Show::Text),
    ("DOWNSTREAM_LOCAL_ADDRESS", b"destination\0address", Show::Text),
    ("DOWNSTREAM_PEER_URI_SAN", b"connection\0uri_san_peer_certificate", Show::Text),
    ("DOWNSTREAM_PEER_SUBJECT", b"connection\0subject_peer_certificate", Show::Text),
    ("DOWNSTREAM_LOCAL_URI_SAN", b"connection\0uri_san_local_certificate", Show::Text),
    ("DOWNSTREAM_LOCAL_SUBJECT", b"connection\0subject_local_certificate", Show::Text),
    ("DOWNSTREAM_TLS_VERSION", b"connection\0tls_version", Show::Text),
];

/// Operators that the outcome or the span answers.
const FACTS: &[(&str, Fact)] = &[
    ("RESPONSE_CODE", Fact::ResponseCode),
    ("RESPONSE_FLAGS", Fact::Flags),
    ("RESPONSE_FLAGS_LONG", Fact::FlagsLong),
    ("DURATION", Fact::DurationMillis),
    ("GRPC_STATUS", Fact::GrpcStatus),
    ("GRPC_STATUS_NUMBER", Fact::GrpcNumber),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Fact::Attempts),
    ("TRACE_ID", Fact::TraceId),
];

// === impl Formatter ===

impl Formatter {
    /// Understands a format string.
    ///
    /// # Errors
    /// What is wrong with the first operator that cannot be answered.
    pub fn parse(format: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some((text, after)) = rest.split_once('%') {
            push_text(&mut pieces, text);
            let (operator, tail) = after.split_once('%').ok_or("a `%` without its partner; a percent sign is `%%`")?;
            if operator.is_empty() {
                push_text(&mut pieces, "%");
            } else {
                pieces.push(parse_operator(operator)?);
            }
            rest = tail;
        }
        push_text(&mut pieces, rest);
        Ok(Self { pieces })
    }

    /// The parts, in order; texts never side by side.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl Node for Formatter {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        match Self::parse(&at.text(|_| None, report)?) {
            Ok(formatter) => Some(formatter),
            Err(problem) => {
                report.add(at.path, &problem, HINT);
                None
            }
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// `NAME`, `NAME(arguments)`, either with `:limit`.
fn parse_operator(text: &str) -> Result<Piece, String> {
    let (name, arguments, limit) = match text.split_once('(') {
        Some((name, rest)) => {
            let (arguments, limit) = rest.rsplit_once(')').ok_or_else(|| format!("`%{text}%` has no `)`"))?;
            (name, Some(arguments), limit)
        }
        None => {
            let (name, limit) = text.split_at_checked(text.find(':').unwrap_or(text.len())).unwrap_or((text, ""));
            (name, None, limit)
        }
    };
    let limit = match limit.strip_prefix(':') {
        Some(number) => Some(number.parse().map_err(|_| format!("`{number}` in `%{text}%` is no length"))?),
        None if limit.is_empty() => None,
        None => return Err(format!("`{limit}` in `%{text}%` is not understood")),
    };
    let operand = match arguments {
        Some(arguments) => with_arguments(name, arguments)?,
        None => without_arguments(name)?,
    };
    Ok(Piece::Operator(operand, limit))
}

fn with_arguments(name: &str, arguments: &str) -> Result<Operator, String> {
    let header = |block| {
        let (first, second) = match arguments.split_once('?') {
            Some((first, second)) => (first, Some(second.to_ascii_lowercase())),
            None => (arguments, None),
        };
        if first.is_empty() {
            return Err(format!("`%{name}()%` names no header"));
        }
        Ok(Operator::Header(block, first.to_ascii_lowercase(), second))
    };
    match name {
        "REQ" => header(HeaderBlock::Request),
        "RESP" => header(HeaderBlock::Response),
        "TRAILER" => header(HeaderBlock::Trailers),
        "ENVIRONMENT" => Ok(Operator::Environment(arguments.to_owned())),
        "FILTER_STATE" => {
            let path = match arguments.split_once(':') {
                None | Some((_, "PLAIN")) => {
                    format!("filter_state\0{}", arguments.strip_suffix(":PLAIN").unwrap_or(arguments))
                }
                Some((key, rest)) => match rest.strip_prefix("FIELD:") {
                    Some(field) => format!("filter_state\0{key}\0{field}"),
                    None => return Err(format!("`%FILTER_STATE({arguments})%`: only PLAIN and FIELD are answered")),
                },
            };
            Ok(Operator::Attribute(path.into_bytes().into(), Show::Text))
        }
        _ if without_arguments(name).is_ok() => Err(format!("`%{name}%` takes no arguments")),
        _ => Err(unknown(name)),
    }
}

fn without_arguments(name: &str) -> Result<Operator, String> {
    if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == name) {
        return Ok(Operator::Fact(*fact));
    }
    let find = |name: &str| OPERATORS.iter().find(|(known, ..)| *known == name);
    let address = |suffix, show| {
        let base = name.strip_suffix(suffix).filter(|base| *base == "UPSTREAM_HOST" || base.ends_with("_ADDRESS"));
        base.and_then(find).map(|(_, path, _)| (*path, show))
    };
    find(name)
        .map(|(_, path, show)| (*path, *show))
        .or_else(|| address("_WITHOUT_PORT", Show::Host))
        .or_else(|| address("_PORT", Show::Port).filter(|_| !name.ends_with("_WITHOUT_PORT")))
        .map(|(path, show)| Operator::Attribute(path.into(), show))
        .or_else(|| port_of_side(name))
        .ok_or_else(|| unknown(name))
}

/// `%DOWNSTREAM_REMOTE_PORT%` and its kin: Envoy leaves `ADDRESS` out there.
fn port_of_side(name: &str) -> Option<Operator> {
    let base = format!("{}_ADDRESS", name.strip_suffix("_PORT")?);
    let (_, path, _) = OPERATORS.iter().find(|(known, ..)| *known == base)?;
    Some(Operator::Attribute((*path).into(), Show::Port))
}

fn unknown(name: &str) -> String {
    format!("`%{name}%` cannot be answered by an Envoy attribute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatters_are_understood_or_refused_with_a_reason() {
        let table: &[(&str, Result<(), &str>)] = &[
            ("%PROTOCOL%", Ok(())),
            ("plain text", Ok(())),
            ("100%%", Ok(())),
            ("%REQ(X-TENANT?:AUTHORITY):10%", Ok(())),
            ("%REQ(:PATH)%-%RESP(x)%-%TRAILER(y)%", Ok(())),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Ok(())),
            ("%UPSTREAM_HOST_WITHOUT_PORT%", Ok(())),
            ("%DOWNSTREAM_REMOTE_PORT%", Ok(())),
            ("%RESPONSE_CODE%/%RESPONSE_FLAGS%/%DURATION%", Ok(())),
            ("%FILTER_STATE(wasm.x:PLAIN)%", Ok(())),
            ("%FILTER_STATE(upstream_peer:FIELD:workload)%", Ok(())),
            ("%ENVIRONMENT(HOSTNAME)%", Ok(())),
            ("%PROTOCOL", Err("a `%` without its partner; a percent sign is `%%`")),
            ("%NOT_KNOWN%", Err("`%NOT_KNOWN%` cannot be answered by an Envoy attribute")),
            ("%METADATA(ROUTE:a:b)%", Err("`%METADATA%` cannot be answered by an Envoy attribute")),
            ("%PROTOCOL_WITHOUT_PORT%", Err("`%PROTOCOL_WITHOUT_PORT%` cannot be answered by an Envoy attribute")),
            ("%REQ()%", Err("`%REQ()%` names no header")),
            ("%REQ(x%", Err("`%REQ(x%` has no `)`")),
            ("%REQ(x):long%", Err("`long` in `%REQ(x):long%` is no length")),
            ("%REQ(x)y%", Err("`y` in `%REQ(x)y%` is not understood")),
            ("%PROTOCOL(x)%", Err("`%PROTOCOL%` takes no arguments")),
            ("%FILTER_STATE(k:TYPED)%", Err("`%FILTER_STATE(k:TYPED)%`: only PLAIN and FIELD are answered")),
        ];
        for (format, expected) in table {
            assert_eq!(Formatter::parse(format).map(drop), expected.map_err(str::to_owned), "{format}");
        }
    }
}
