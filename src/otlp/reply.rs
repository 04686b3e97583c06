//! What a receiver's answer means: accepted, to be sent again, or lost.
//!
//! `opentelemetry-proto`, `docs/specification.md`: "OTLP/HTTP Response" and "OTLP/gRPC Response"; RFC 9110 section 10.2.3
//! (Retry-After). Envoy answers for a receiver that it cannot reach, with a status of its own and a known text.

use super::Encoding;
use super::wire::Fields;
use crate::propagation::headers::{self, Header};

/// A client must limit what it reads of a response; larger ones are failures that are not tried again (same chapter).
const MAX_RESPONSE: usize = 4 * 1024 * 1024;
/// No partial success is longer; a longer body is not looked into.
const MAX_PARTIAL: usize = 64 * 1024;
/// Longest message of a receiver that is shown, in bytes.
const MAX_MESSAGE: usize = 200;
/// Longest wait that a receiver can ask for: a mistake in a date must not silence the exporter for a year.
const MAX_WAIT_S: u64 = 600;
const SECOND_NS: u64 = 1_000_000_000;

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

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, but for `rejected` spans, which must not be sent again.
    Accepted {
        /// `rejected_spans` of a partial success; not yet bounded by what was sent.
        rejected: u64,
        /// What the receiver says about it; also a mere warning.
        message: String,
    },
    /// Not taken.
    Failed {
        /// What happened.
        failure: Failure,
        /// Whether the same request may be sent again.
        retryable: bool,
        /// How long the receiver asks us to wait, in nanoseconds.
        wait_ns: Option<u64>,
        /// Status and the receiver's own words, for the log.
        message: String,
    },
}

/// Everything that can go wrong with a call, each counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Envoy has no cluster of this name: not configured, not visible from here, or not arrived yet.
    UnknownCluster,
    /// The cluster has no endpoint that could be called.
    NoHealthyHost,
    /// No connection to the endpoint, or lost before it answered.
    Refused,
    /// No answer in time.
    Timeout,
    /// The stream was reset, or an answer never came.
    Reset,
    /// The receiver asks for less (429, `RESOURCE_EXHAUSTED`).
    Throttled,
    /// The receiver cannot now (502, 503, 504, `UNAVAILABLE` and the like).
    Unavailable,
    /// Request or response too large.
    TooLarge,
    /// The receiver will never take this.
    Refusal,
    /// The host would not make the call.
    Dispatch,
}

/// The answer to an OTLP/HTTP or Zipkin call. `now_s`: seconds since the Unix epoch, to make sense of a date.
pub fn http(encoding: Encoding, reply: &Reply<'_>, now_s: u64) -> Verdict {
    let Some(status) = reply.status else {
        return Failure::Reset.retryable(None, "reset".to_owned());
    };
    if reply.body.len() > MAX_RESPONSE {
        return Failure::TooLarge.fatal(format!("HTTP {status} with a body of {} bytes", reply.body.len()));
    }
    let wait = headers::first(reply.headers, b"retry-after").and_then(|value| retry_after(value, now_s));
    let message = || describe(status, encoding, reply.body);
    match status {
        200..=299 => partial(encoding, reply.body),
        429 => Failure::Throttled.retryable(wait, message()),
        502..=504 => by_envoy(reply).unwrap_or(Failure::Unavailable).retryable(wait, message()),
        413 => Failure::TooLarge.fatal(message()),
        _ => Failure::Refusal.fatal(message()),
    }
}

/// The answer to an OTLP/gRPC call.
pub fn grpc(reply: &Reply<'_>, now_s: u64) -> Verdict {
    let field = |name: &[u8]| headers::first(reply.trailers, name).or_else(|| headers::first(reply.headers, name));
    let Some(http_status) = reply.status else {
        return Failure::Reset.retryable(None, "reset".to_owned());
    };
    // An answer that is not gRPC is read as HTTP; 200 without a status is then UNKNOWN, which is not tried again.
    let Some(code) = field(b"grpc-status").and_then(number) else {
        return match http_status {
            200..=299 => {
                Failure::Refusal.fatal(format!("HTTP {http_status} without grpc-status: not a gRPC receiver?"))
            }
            _ => http(Encoding::Protobuf, reply, now_s),
        };
    };
    if code == 0 {
        return partial(Encoding::Protobuf, unframed(reply.body));
    }
    let text = percent_decoded(field(b"grpc-message").unwrap_or_default());
    let message = join(format!("grpc-status {code}"), &text);
    let wait = field(b"grpc-status-details-bin").and_then(base64).and_then(|status| retry_info(&status));
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED with RetryInfo only.
    match code {
        4 => Failure::Timeout.retryable(wait, message),
        8 if wait.is_some() => Failure::Throttled.retryable(wait, message),
        8 if message.contains("larger than max") => Failure::TooLarge.fatal(message),
        8 => Failure::Throttled.fatal(message),
        14 => by_envoy(reply).or_else(|| envoys_words(&text)).unwrap_or(Failure::Unavailable).retryable(wait, message),
        1 | 10 | 11 | 15 => Failure::Unavailable.retryable(wait, message),
        _ => Failure::Refusal.fatal(message),
    }
}

// === impl Failure ===

impl Failure {
    /// What an operator should look at, after the name of the cluster.
    pub fn hint(self) -> &'static str {
        match self {
            Self::UnknownCluster => {
                "Envoy has no such cluster: check service, port and name, exportTo, and the egress hosts of a Sidecar resource"
            }
            Self::NoHealthyHost => "no endpoint to call: check that it runs, and that its service is not headless",
            Self::Refused => "cannot connect: check that it runs, its port, and mTLS",
            Self::Timeout => "no answer in time: check its load, or raise exporter timeout",
            Self::Reset => "the stream was reset: check its protocol (gRPC needs a port named grpc-*) and its log",
            Self::Throttled => "asks for less: give it more replicas, or lower the sampling rate",
            Self::Unavailable => "cannot take spans now: check its health and memory limiter",
            Self::TooLarge => "too large: lower batch.maxSpans, or raise the receiver's limit",
            Self::Refusal => "refuses what is sent: check path, protocol, headers and credentials",
            Self::Dispatch => "Envoy would not make the call: check the configured headers",
        }
    }

    fn retryable(self, wait_ns: Option<u64>, message: String) -> Verdict {
        Verdict::Failed { failure: self, retryable: true, wait_ns, message }
    }

    fn fatal(self, message: String) -> Verdict {
        Verdict::Failed { failure: self, retryable: false, wait_ns: None, message }
    }
}

/// Whether it was Envoy that answered, and why: the texts of its local replies (`source/common/router/router.cc`).
fn by_envoy(reply: &Reply<'_>) -> Option<Failure> {
    envoys_words(reply.body)
}

fn envoys_words(text: &[u8]) -> Option<Failure> {
    const WORDS: [(&[u8], Failure); 3] = [
        (b"upstream request timeout", Failure::Timeout),
        (b"no healthy upstream", Failure::NoHealthyHost),
        (b"upstream connect error", Failure::Refused),
    ];
    WORDS.iter().find(|(words, _)| text.starts_with(words)).map(|(_, failure)| *failure)
}

/// `ExportTraceServiceResponse { partial_success = 1 { rejected_spans = 1, error_message = 2 } }`. What cannot be read is a
/// full success: the status said so.
fn partial(encoding: Encoding, body: &[u8]) -> Verdict {
    let body = if body.len() > MAX_PARTIAL { &[] } else { body };
    let (rejected, message) = match encoding {
        Encoding::Protobuf => {
            let partial = Fields(Fields(body).bytes(1).unwrap_or_default());
            (partial.number(1).cast_signed(), shown(partial.bytes(2).unwrap_or_default()))
        }
        Encoding::Json => partial_json(body).unwrap_or_default(),
        Encoding::Zipkin => (0, String::new()),
    };
    Verdict::Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message }
}

/// 64-bit integers come as strings or as numbers.
fn partial_json(body: &[u8]) -> Option<(i64, String)> {
    let reply: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = reply.get("partialSuccess")?;
    let rejected = match partial.get("rejectedSpans") {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0),
        Some(number) => number.as_i64().unwrap_or(0),
        None => 0,
    };
    let message = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
    Some((rejected, shown(message.as_bytes())))
}

/// Status, and the message of a `google.rpc.Status` (protobuf) or the body itself.
fn describe(status: u16, encoding: Encoding, body: &[u8]) -> String {
    let inner = if encoding == Encoding::Protobuf { Fields(body).bytes(2) } else { None };
    join(format!("HTTP {status}"), inner.unwrap_or(body))
}

fn join(status: String, text: &[u8]) -> String {
    let text = shown(text);
    if text.is_empty() { status } else { format!("{status}: {text}") }
}

/// Foreign text, made fit for one line of a log.
fn shown(text: &[u8]) -> String {
    let (text, cut) = text.split_at_checked(MAX_MESSAGE).map_or((text, false), |(head, tail)| (head, !tail.is_empty()));
    let mut out: String =
        String::from_utf8_lossy(text).chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if cut {
        out.push('…');
    }
    out.trim().to_owned()
}

/// The message of the first frame of a gRPC response; empty if it is compressed or cut (then it is only a success).
fn unframed(body: &[u8]) -> &[u8] {
    let Some(([compressed, length @ ..], rest)) = body.split_first_chunk::<5>() else { return &[] };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed == 0 { rest.get(..length).unwrap_or_default() } else { &[] }
}

/// `google.rpc.Status { details = 3: Any { type_url = 1, value = 2 } }` holding
/// `google.rpc.RetryInfo { retry_delay = 1: Duration { seconds = 1, nanos = 2 } }`.
fn retry_info(status: &[u8]) -> Option<u64> {
    let details = Fields(status).filter_map(|field| match field {
        (3, super::wire::Field::Bytes(any)) => Some(Fields(any)),
        _ => None,
    });
    let info = details
        .filter(|any| any.bytes(1).is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo")))
        .find_map(|any| any.bytes(2))?;
    let delay = Fields(Fields(info).bytes(1).unwrap_or_default());
    let seconds = delay.number(1).cast_signed().clamp(0, MAX_WAIT_S.cast_signed()).cast_unsigned();
    let nanos = delay.number(2).cast_signed().clamp(0, 999_999_999).cast_unsigned();
    Some(seconds.saturating_mul(SECOND_NS).saturating_add(nanos))
}

/// `Retry-After`: whole seconds, or a date in one of the three forms of RFC 9110 section 5.6.7. Nanoseconds to wait.
fn retry_after(value: &[u8], now_s: u64) -> Option<u64> {
    let value = headers::trim(value);
    let seconds = number(value).map(u64::from).or_else(|| Some(http_date(value)?.saturating_sub(now_s)))?;
    Some(seconds.min(MAX_WAIT_S).saturating_mul(SECOND_NS))
}

/// Decimal digits only; what does not fit is the largest number.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(text).ok()?.parse().unwrap_or(u32::MAX))
}

/// Seconds since the Unix epoch. `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`; the name of the day is not checked.
fn http_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split([' ', '-']).filter(|word| !word.is_empty());
    let weekday = words.next()?;
    let (day, month, year, time) = if weekday.ends_with(',') {
        let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (words.next()? == "GMT").then_some((day, month, year, time))?
    } else {
        let (month, day, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (day, month, year, time)
    };
    if words.next().is_some() {
        return None;
    }
    days(four_digits(year)?, month_number(month)?, small(day, 31)?)?.checked_mul(86_400)?.checked_add(seconds(time)?)
}

/// A year of two digits is one of 1970 to 2069.
fn four_digits(year: &str) -> Option<u64> {
    match (year.len(), small(year, 9999)?) {
        (4, year) => Some(year),
        (2, year) => year.checked_add(if year < 70 { 2000 } else { 1900 }),
        _ => None,
    }
}

fn month_number(name: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.iter().zip(1..).find(|(month, _)| **month == name).map(|(_, number)| number)
}

/// `08:49:37`, as seconds of the day; a leap second is allowed.
fn seconds(time: &str) -> Option<u64> {
    let mut parts = time.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let seconds = [(hour, 23, 3600), (minute, 59, 60), (second, 60, 1)]
        .into_iter()
        .try_fold(0u64, |sum, (text, max, scale): (&str, u64, u64)| {
            sum.checked_add(small(text, max)?.checked_mul(scale)?)
        });
    seconds.filter(|_| parts.next().is_none())
}

fn small(text: &str, max: u64) -> Option<u64> {
    number(text.as_bytes()).map(u64::from).filter(|number| *number <= max)
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` before it. Years begin in March, so that a leap day comes last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before_month = month.checked_mul(153)?.checked_add(2)? / 5;
    let days = year.checked_mul(365)?.checked_add(leap_days)?.checked_add(before_month)?.checked_add(day)?;
    // 1 March of year 0 to 1 January 1970 is 719,468 days; `day` counts from 1.
    days.checked_sub(719_469)
}

/// gRPC percent-encodes messages (gRPC over HTTP/2, "Status-Message"); a `%` that is no escape stays as it is.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = tail.split_first_chunk::<2>().filter(|_| *byte == b'%');
        let mut value = [0];
        match escaped {
            Some((digits, after)) if hex::decode_to_slice(digits, &mut value).is_ok() => {
                out.extend_from_slice(&value);
                rest = after;
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

/// Base64 of the standard alphabet, padded or not, as gRPC sends binary headers.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.chunks(4) {
        let bits = chunk.iter().try_fold(0u32, |bits, digit| Some((bits << 6) | sextet(*digit)?))?;
        // 4, 3 or 2 digits are 3, 2 or 1 bytes; one digit alone is none.
        let missing = 4usize.checked_sub(chunk.len()).filter(|missing| *missing < 3)?;
        let aligned = (0..missing).fold(bits << 8, |bits, _| bits << 6);
        out.extend_from_slice(aligned.to_be_bytes().get(..3usize.checked_sub(missing)?)?);
    }
    Some(out)
}

fn sextet(digit: u8) -> Option<u32> {
    Some(match digit {
        b'A'..=b'Z' => u32::from(digit.wrapping_sub(b'A')),
        b'a'..=b'z' => u32::from(digit.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => u32::from(digit.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
