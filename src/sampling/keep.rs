//! The late keep travels up while every ancestor is still open: a signal in the response, a mark for the other listener.
//!
//! W3C Trace Context level 3 (draft), "Trace Context HTTP Response Headers Format" and "deferred sampling":
//! ```text
//! server-timing: trace;desc=00-<trace-id>-<child-id>-<flags>;th=<T>     th is ours: the threshold it was kept with
//! traceresponse: 00-<trace-id>-<child-id>-<flags>                       an older draft, only read
//! ```

use crate::id::{SpanId, TraceId, decode_lower_hex};
use crate::propagation::headers::{Header, HeaderEdit, trim, values};
use crate::sampling::threshold::Threshold;

/// Slots for marks in shared data, which neither expires nor can be removed: at most 33 bytes and a short key each.
pub const SLOTS: u64 = 4096;

/// A mark this young may still be needed when another one takes its slot.
const LIVE_NS: u64 = 10_000_000_000;
const MARK: usize = 33;
const VERSION: u8 = 1;
const UNKNOWN: u64 = u64::MAX;

/// With which threshold something below was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Iff R is not below it.
    At(Threshold),
    /// Nobody said.
    Unknown,
}

/// "Keep your span too", sent with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Only believed by callers of the same trace.
    pub trace_id: TraceId,
    /// The span that is kept.
    pub span_id: SpanId,
    /// With which threshold.
    pub kept: Kept,
}

/// "Keep your span too", left for the listener that serves our caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Only believed for the same trace.
    pub trace_id: TraceId,
    /// With which threshold.
    pub kept: Kept,
    /// When it was left, in nanoseconds since the epoch.
    pub time_ns: u64,
}

// === impl Kept ===

impl Kept {
    /// Whether a trace of randomness `r` is kept by it. What was signalled without a threshold was kept.
    pub fn includes(self, r: u64) -> bool {
        match self {
            Self::At(threshold) => threshold.samples(r),
            Self::Unknown => true,
        }
    }

    /// Kept by one or by the other.
    pub fn or(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    /// Of two, the one of smaller rank is what their union is kept with. Beside 100 % an unknown one adds nothing; beside
    /// anything else nobody knows how much it adds.
    pub(super) fn rank(self) -> u64 {
        match self {
            Self::At(threshold) => threshold.value(),
            Self::Unknown => 1,
        }
    }
}

// === impl Signal ===

impl Signal {
    /// The metric for `server-timing`.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(b"trace;desc=00-");
        out.extend_from_slice(&self.trace_id.hex());
        out.push(b'-');
        out.extend_from_slice(&self.span_id.hex());
        out.extend_from_slice(b"-01;th=");
        match self.kept {
            Kept::At(threshold) => out.extend_from_slice(threshold.text().as_bytes()),
            Kept::Unknown => out.push(b'u'),
        }
        out
    }
}

/// What the response says about spans of `trace_id` that were kept below. A signal without our `th` comes from others; it
/// is news only to a caller that had not asked for sampling (`unsampled`).
pub fn find(headers: &[Header<'_>], trace_id: TraceId, unsampled: bool) -> Option<Kept> {
    let timing = values(headers, b"server-timing").flat_map(metrics).filter_map(|metric| read(metric, trace_id));
    let response = values(headers, b"traceresponse")
        .filter_map(|value| described(trim(value), trace_id).then_some(Heard { kept: Kept::Unknown, ours: false }));
    timing.chain(response).filter(|heard| heard.ours || unsampled).map(|heard| heard.kept).reduce(Kept::or)
}

/// Removes our metric from `server-timing`, of whatever trace; everything else stays byte for byte.
pub fn strip(headers: &[Header<'_>], edits: &mut Vec<HeaderEdit>) {
    if !values(headers, b"server-timing").flat_map(metrics).any(is_ours) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for metric in values(headers, b"server-timing").flat_map(metrics).filter(|metric| !is_ours(metric)) {
        if !trim(metric).is_empty() {
            if !kept.is_empty() {
                kept.push(b',');
            }
            kept.extend_from_slice(metric);
        }
    }
    edits.push(match kept.is_empty() {
        true => HeaderEdit::Remove("server-timing".into()),
        false => HeaderEdit::Set("server-timing".into(), trim(&kept).to_vec()),
    });
}

struct Heard {
    kept: Kept,
    ours: bool,
}

fn read(metric: &[u8], trace_id: TraceId) -> Option<Heard> {
    let mut parameters = split(metric, b';').map(trim);
    if parameters.next() != Some(b"trace") {
        return None;
    }
    let (mut believed, mut heard) = (false, Heard { kept: Kept::Unknown, ours: false });
    for (name, value) in parameters.filter_map(parameter) {
        match name {
            b"desc" => believed = described(value, trace_id),
            b"th" if value == b"u" => heard.ours = true,
            b"th" => heard = Heard { kept: Kept::At(Threshold::parse(value)?), ours: true },
            _ => {}
        }
    }
    believed.then_some(heard)
}

fn is_ours(metric: &[u8]) -> bool {
    let mut parameters = split(metric, b';').map(trim);
    parameters.next() == Some(b"trace") && parameters.filter_map(parameter).any(|(name, _)| name == b"th")
}

/// `00-<trace-id>-<child-id>-<flags>` of this trace, sampled.
fn described(text: &[u8], trace_id: TraceId) -> bool {
    let mut fields = text.split(|byte| *byte == b'-');
    fields.next() == Some(b"00")
        && fields.next().and_then(TraceId::from_hex) == Some(trace_id)
        && fields.next().and_then(SpanId::from_hex).is_some()
        && fields.next().and_then(decode_lower_hex::<1>).is_some_and(|[flags]| flags & 1 == 1)
        && fields.next().is_none()
}

/// `name = value`, the value without its quotes.
fn parameter(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let value = trim(text.get(equals.saturating_add(1)..)?);
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    Some((trim(text.get(..equals)?), value))
}

fn metrics(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',')
}

/// Splits outside quoted strings (RFC 9110 section 5.6.4: `\` escapes).
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let ends = *byte == separator && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
}

// === impl Mark ===

/// The slot of a trace.
pub fn slot(randomness: u64) -> u64 {
    randomness % SLOTS
}

/// The key of a slot; shared data is one namespace for the plugins of all vendors.
pub fn slot_key(slot: u64) -> String {
    format!("io.sidespan.mark.{slot:03x}")
}

impl Mark {
    /// Fixed size, so that a slot never grows.
    pub fn encode(&self) -> [u8; MARK] {
        let kept = match self.kept {
            Kept::At(threshold) => threshold.value(),
            Kept::Unknown => UNKNOWN,
        };
        let mut out = [VERSION; MARK];
        let (kept, time) = (kept.to_le_bytes(), self.time_ns.to_le_bytes());
        for (target, source) in out.iter_mut().skip(1).zip(self.trace_id.as_bytes().iter().chain(&kept).chain(&time)) {
            *target = *source;
        }
        out
    }

    /// `None` for anything that is not a mark of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (trace_id, rest) = rest.split_first_chunk::<16>()?;
        let (kept, rest) = rest.split_first_chunk::<8>()?;
        let time_ns = u64::from_le_bytes(rest.try_into().ok()?);
        let kept = match u64::from_le_bytes(*kept) {
            UNKNOWN => Kept::Unknown,
            value => Kept::At(Threshold::new(value)?),
        };
        (*version == VERSION).then_some(())?;
        Some(Self { trace_id: TraceId::new(*trace_id)?, kept, time_ns })
    }

    /// What the slot holds afterwards, and whether a live mark of another trace was lost.
    pub fn replace(self, old: Option<Self>) -> (Self, bool) {
        match old {
            Some(old) if old.trace_id == self.trace_id => (Self { kept: self.kept.or(old.kept), ..self }, false),
            Some(old) => (self, self.time_ns.saturating_sub(old.time_ns) < LIVE_NS),
            None => (self, false),
        }
    }
}
