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
//! tag at all. Everything else is a problem of the configuration, see [`check_formatter`].

use crate::config::{Config, CustomTag, Problem, member};
use crate::http::authority::split_port;
use crate::span::attributes::{Once, boolean, int, path};
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
    Format(Vec<Piece>),
    /// The path, segments joined by NUL.
    Property(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// What, and at most how many characters of it.
    Operator(Operand, Option<usize>),
}

#[derive(Clone, Debug)]
enum Operand {
    Header(Side, String, Option<String>),
    Attribute(Cow<'static, [u8]>, Show),
    Outcome(Fact),
    Fixed(Option<String>),
}

/// How an attribute's bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Text,
    Int,
    Host,
    Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    ResponseCode,
    Flags,
    FlagsLong,
    DurationMillis,
    GrpcStatus,
    GrpcNumber,
    Attempts,
    TraceId,
}

/// Operators that an attribute answers. Addresses know `_WITHOUT_PORT` and `_PORT` too.
const OPERATORS: &[(&str, &[u8], Show)] = &[
    ("PROTOCOL", path::REQUEST_PROTOCOL, Show::Text),
    ("REQUESTED_SERVER_NAME", path::CONNECTION_REQUESTED_SERVER_NAME, Show::Text),
    ("ROUTE_NAME", path::ROUTE_NAME, Show::Text),
    ("VIRTUAL_HOST_NAME", path::VIRTUAL_HOST_NAME, Show::Text),
    ("FILTER_CHAIN_NAME", path::FILTER_CHAIN_NAME, Show::Text),
    ("RESPONSE_CODE_DETAILS", path::RESPONSE_CODE_DETAILS, Show::Text),
    ("CONNECTION_TERMINATION_DETAILS", path::CONNECTION_TERMINATION_DETAILS, Show::Text),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", path::UPSTREAM_TRANSPORT_FAILURE_REASON, Show::Text),
    ("BYTES_RECEIVED", path::REQUEST_SIZE, Show::Int),
    ("BYTES_SENT", path::RESPONSE_SIZE, Show::Int),
    ("CONNECTION_ID", path::CONNECTION_ID, Show::Int),
    ("STREAM_ID", path::REQUEST_ID, Show::Text),
    ("UPSTREAM_CLUSTER", path::CLUSTER_NAME, Show::Text),
    ("UPSTREAM_CLUSTER_RAW", path::CLUSTER_NAME, Show::Text),
    ("UPSTREAM_HOST", path::UPSTREAM_ADDRESS, Show::Text),
    ("UPSTREAM_REMOTE_ADDRESS", path::UPSTREAM_ADDRESS, Show::Text),
    ("UPSTREAM_LOCAL_ADDRESS", path::UPSTREAM_LOCAL_ADDRESS, Show::Text),
    ("UPSTREAM_PEER_URI_SAN", path::UPSTREAM_URI_SAN_PEER, Show::Text),
    ("UPSTREAM_PEER_SUBJECT", path::UPSTREAM_SUBJECT_PEER, Show::Text),
    ("UPSTREAM_TLS_VERSION", path::UPSTREAM_TLS_VERSION, Show::Text),
    ("DOWNSTREAM_REMOTE_ADDRESS", path::SOURCE_ADDRESS, Show::Text),
    ("DOWNSTREAM_LOCAL_ADDRESS", path::DESTINATION_ADDRESS, Show::Text),
    ("DOWNSTREAM_PEER_URI_SAN", path::CONNECTION_URI_SAN_PEER, Show::Text),
    ("DOWNSTREAM_PEER_SUBJECT", path::CONNECTION_SUBJECT_PEER, Show::Text),
    ("DOWNSTREAM_LOCAL_URI_SAN", path::CONNECTION_URI_SAN_LOCAL, Show::Text),
    ("DOWNSTREAM_LOCAL_SUBJECT", path::CONNECTION_SUBJECT_LOCAL, Show::Text),
    ("DOWNSTREAM_TLS_VERSION", path::CONNECTION_TLS_VERSION, Show::Text),
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

/// Whether a `formatter` can be answered.
///
/// # Errors
/// What is wrong with the first operator that cannot.
pub fn check_formatter(format: &str) -> Result<(), String> {
    parse(format, &Environment::new()).map(drop)
}

/// The second half of judging a configuration, after `config::parse`, which cannot know attributes:
/// `parse(json).and_then(tags::check)`.
///
/// # Errors
/// Every formatter that no attribute can answer, in the order of the tags' keys.
pub fn check(config: Config) -> Result<Config, Vec<Problem>> {
    let hint = "docs/tags.md lists the operators; `property` gives any Envoy attribute";
    let problem = |(key, tag): (&String, &CustomTag)| {
        let CustomTag::Formatter(tag) = tag else { return None };
        let problem = check_formatter(&tag.value).err()?;
        Some(Problem { path: format!("{}.formatter.value", member("customTags", key)), problem, hint: hint.to_owned() })
    };
    let problems: Vec<_> = config.custom_tags.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

// === impl Tag ===

impl Tag {
    /// `None` if the tag can never have a value: a variable that is absent, a formatter that `check` has refused.
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
            CustomTag::Formatter(tag) => (Source::Format(parse(&tag.value, environment).ok()?), None),
            CustomTag::Property(tag) => (Source::Property(property_path(&tag.path)), tag.default_value.clone()),
        };
        Some(Self { key: key.to_owned(), source, default })
    }

    /// Whether headers of this side are looked at.
    pub fn needs(&self, side: Side) -> bool {
        match &self.source {
            Source::Header(wanted, _) => *wanted == side,
            Source::Format(pieces) => pieces
                .iter()
                .any(|piece| matches!(piece, Piece::Operator(Operand::Header(wanted, ..), _) if *wanted == side)),
            Source::Fixed(_) | Source::Property(_) => false,
        }
    }

    /// The value for one request, or the default; `None` leaves the tag out.
    pub fn value<'a>(&'a self, call: &Exchange<'a>, once: &mut Once<'a>) -> Option<Value> {
        let found = match &self.source {
            Source::Fixed(text) => Some(text.clone().into()),
            Source::Header(side, name) => call.header(*side, name).map(Value::from),
            Source::Format(pieces) => format(pieces, call, once).map(Value::from),
            Source::Property(path) => property(path, call, once),
        };
        found.or_else(|| self.default.clone().map(Value::from))
    }
}

fn format<'a>(pieces: &'a [Piece], call: &Exchange<'a>, once: &mut Once<'a>) -> Option<String> {
    if let [Piece::Operator(operand, limit)] = pieces {
        return operand.value(call, once).map(|value| first_chars(value, *limit));
    }
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Operator(operand, limit) => match operand.value(call, once) {
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
    fn value<'a>(&'a self, call: &Exchange<'a>, once: &mut Once<'a>) -> Option<String> {
        match self {
            Self::Header(side, name, fallback) => {
                call.header(*side, name).or_else(|| call.header(*side, fallback.as_deref()?))
            }
            Self::Fixed(text) => text.clone(),
            Self::Outcome(fact) => fact.value(call),
            Self::Attribute(path, Show::Int) => once.int(path).map(|number| number.to_string()),
            Self::Attribute(path, Show::Text) => once.get(path).filter(|text| !text.is_empty()).map(|b| call.text(b)),
            Self::Attribute(path, Show::Host) => Some(split_port(&once.text(path)?).0.to_owned()),
            Self::Attribute(path, Show::Port) => split_port(&once.text(path)?).1.map(|port| port.to_string()),
        }
    }
}

// === impl Fact ===

impl Fact {
    fn value(self, call: &Exchange<'_>) -> Option<String> {
        let outcome = call.outcome;
        match self {
            Self::ResponseCode => status::http_status(outcome).map(|code| code.to_string()),
            Self::Flags => status::short_flags(outcome.flags),
            Self::FlagsLong => status::long_flags(outcome.flags),
            Self::DurationMillis => Some((outcome.duration_ns / 1_000_000).to_string()),
            Self::GrpcStatus => outcome.grpc_status.map(|code| status::grpc_code_name(code).into_owned()),
            Self::GrpcNumber => outcome.grpc_status.map(|code| code.to_string()),
            Self::Attempts => Some(outcome.attempts.to_string()),
            Self::TraceId => Some(call.trace_id.to_string()),
        }
    }
}

// === parsing ===

fn parse(format: &str, environment: &Environment) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        push_text(&mut pieces, text);
        let (operator, tail) = after.split_once('%').ok_or("a `%` without its partner; a percent sign is `%%`")?;
        if operator.is_empty() {
            push_text(&mut pieces, "%");
        } else {
            pieces.push(parse_operator(operator, environment)?);
        }
        rest = tail;
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// `NAME`, `NAME(arguments)`, either with `:limit`.
fn parse_operator(text: &str, environment: &Environment) -> Result<Piece, String> {
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
        Some(arguments) => with_arguments(name, arguments, environment)?,
        None => without_arguments(name)?,
    };
    Ok(Piece::Operator(operand, limit))
}

fn with_arguments(name: &str, arguments: &str, environment: &Environment) -> Result<Operand, String> {
    let header = |side| {
        let (first, second) = match arguments.split_once('?') {
            Some((first, second)) => (first, Some(second.to_ascii_lowercase())),
            None => (arguments, None),
        };
        if first.is_empty() {
            return Err(format!("`%{name}()%` names no header"));
        }
        Ok(Operand::Header(side, first.to_ascii_lowercase(), second))
    };
    match name {
        "REQ" => header(Side::Request),
        "RESP" => header(Side::Response),
        "TRAILER" => header(Side::Trailer),
        "ENVIRONMENT" => Ok(Operand::Fixed(environment.get(arguments).filter(|value| !value.is_empty()).cloned())),
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
            Ok(Operand::Attribute(path.into_bytes().into(), Show::Text))
        }
        _ if without_arguments(name).is_ok() => Err(format!("`%{name}%` takes no arguments")),
        _ => Err(unknown(name)),
    }
}

fn without_arguments(name: &str) -> Result<Operand, String> {
    if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == name) {
        return Ok(Operand::Outcome(*fact));
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
        .map(|(path, show)| Operand::Attribute(path.into(), show))
        .or_else(|| port_of_side(name))
        .ok_or_else(|| unknown(name))
}

/// `%DOWNSTREAM_REMOTE_PORT%` and its kin: Envoy leaves `ADDRESS` out there.
fn port_of_side(name: &str) -> Option<Operand> {
    let base = format!("{}_ADDRESS", name.strip_suffix("_PORT")?);
    let (_, path, _) = OPERATORS.iter().find(|(known, ..)| *known == base)?;
    Some(Operand::Attribute((*path).into(), Show::Port))
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
            assert_eq!(check_formatter(format), expected.map_err(str::to_owned), "{format}");
        }
    }

    #[test]
    fn a_configuration_with_a_formatter_that_nothing_answers_is_refused_by_path() {
        let judge = |json: &str| {
            crate::config::parse(json.as_bytes()).and_then(check).map_err(|problems| {
                problems.iter().map(|problem| format!("{}: {}", problem.path, problem.problem)).collect::<Vec<_>>()
            })
        };
        let tags =
            |format: &str| format!(r#"{{"customTags": {{"my.tag": {{"formatter": {{"value": "{format}"}}}}}}}}"#);
        assert!(judge(&tags("%PROTOCOL%")).is_ok());
        let refused = r#"customTags["my.tag"].formatter.value: `%NO%` cannot be answered by an Envoy attribute"#;
        assert_eq!(judge(&tags("%NO%")).expect_err("refused"), [refused]);
    }

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
