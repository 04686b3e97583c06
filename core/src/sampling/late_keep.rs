//! How callers learn of a late keep while their requests are still open: a signal in the response, and a mark for the other
//! listener of a proxy.
//!
//! W3C Trace Context level 3 (draft), "Trace Context HTTP Response Headers Format" and "deferred sampling":
//! ```text
//! server-timing: trace;desc=00-<trace-id>-<child-id>-<flags>;th=<T>[;cap=<C>]
//!                                                         th and cap are ours: the threshold it was kept with, and that of the
//!                                                         cap on its path; flags 00 beside a cap: failing, but not kept
//! traceresponse: 00-<trace-id>-<child-id>-<flags>                       an older draft, only read
//! ```

use crate::http::headers::{Header, HeaderEdit, trim, values};
use crate::id::{SpanId, TraceId, decode_lower_hex};
use crate::sampling::threshold::Threshold;

/// Slots for marks in shared data, which neither expires nor can be removed: at most 49 bytes and a short key each.
pub const SLOTS: u64 = 4096;

/// A mark this young may still be needed when another one takes its slot.
const LIVE_NS: u64 = 10_000_000_000;
const MARK: usize = 49;
const VERSION: u8 = 2;
const UNKNOWN: u64 = u64::MAX;

/// The threshold with which something below was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Iff R is not below it.
    At(Threshold),
    /// Not known.
    Unknown,
}

/// What is known of errors kept below a request: what a signal and a mark tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// With which threshold they are kept, that of the cap included.
    pub kept: Kept,
    /// The threshold that the caps of their path apply; [`Threshold::ALWAYS`] where no cap binds.
    pub cap: Threshold,
}

/// "Keep your span too", sent with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Callers ignore the signal of another trace.
    pub trace_id: TraceId,
    /// The span that is kept.
    pub span_id: SpanId,
    /// What it is kept with.
    pub below: Below,
    /// It is. If not, it would be but for the cap, which callers must apply as well.
    pub sampled: bool,
}

/// "Keep your span too", left for the listener that serves our caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The mark of another trace is ignored.
    pub trace_id: TraceId,
    /// What it is kept with.
    pub below: Below,
    /// When it was left, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// The parent of the outbound request that left it; `None` if that is not known, or if requests of several parents did.
    pub parent: Option<SpanId>,
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

    /// What a policy that keeps errors with the threshold `least` makes of it: not more than it would keep itself. An
    /// unknown probability is bounded by R, and stays unknown. `None`: nothing of it is kept.
    pub fn bounded(self, least: Option<Threshold>, r: u64) -> Option<Self> {
        let least = least?;
        match self {
            Self::At(threshold) => Some(Self::At(threshold.max(least))),
            Self::Unknown => least.samples(r).then_some(Self::Unknown),
        }
    }

    /// Kept by one or by the other.
    pub fn or(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    /// Kept by it, and also by a cap. What nobody knows stays unknown.
    pub(super) fn under(self, cap: Threshold) -> Self {
        match self {
            Self::At(threshold) => Self::At(threshold.max(cap)),
            Self::Unknown => Self::Unknown,
        }
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

// === impl Below ===

impl Below {
    /// Kept without a cap.
    pub fn uncapped(kept: Kept) -> Self {
        Self { kept, cap: Threshold::ALWAYS }
    }

    /// What a policy that keeps errors with the threshold `least` makes of it ([`Kept::bounded`]).
    pub fn bounded(self, least: Option<Threshold>, r: u64) -> Option<Self> {
        Some(Self { kept: self.kept.bounded(least, r)?, ..self })
    }

    /// Kept by one or by the other. A hop above applies the smaller cap, so it is kept if any of them is.
    pub fn or(self, other: Self) -> Self {
        Self { kept: self.kept.or(other.kept), cap: self.cap.min(other.cap) }
    }

    /// Whether caps count it: it was kept, or only a cap has prevented that.
    pub(super) fn counts(self, r: u64) -> bool {
        self.cap > Threshold::ALWAYS || self.kept.includes(r)
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
        out.extend_from_slice(if self.sampled { b"-01;th=" } else { b"-00;th=" });
        match self.below.kept {
            Kept::At(threshold) => out.extend_from_slice(threshold.text().as_bytes()),
            Kept::Unknown => out.push(b'u'),
        }
        if self.below.cap > Threshold::ALWAYS {
            out.extend_from_slice(b";cap=");
            out.extend_from_slice(self.below.cap.text().as_bytes());
        }
        out
    }
}

/// What the response says about spans of `trace_id` that were kept below. A signal without our `th` comes from other
/// instrumentation, which may send it with every response; it is heard only with `foreign`.
pub fn find(headers: &[Header<'_>], trace_id: TraceId, foreign: bool) -> Option<Below> {
    heard(headers, foreign).filter(|heard| heard.0 == trace_id).map(|heard| heard.1).reduce(Below::or)
}

/// What the response says about spans of whatever trace that were kept below, for a caller that does not know its trace yet.
/// `foreign` as in [`find`].
pub fn heard(headers: &[Header<'_>], foreign: bool) -> impl Iterator<Item = (TraceId, Below)> {
    let timing = values(headers, b"server-timing").flat_map(metrics).filter_map(read);
    let response = values(headers, b"traceresponse").filter_map(|value| {
        let (trace_id, sampled) = described(trim(value))?;
        sampled.then_some(Heard { trace_id, below: Heard::FOREIGN, ours: false })
    });
    timing.chain(response).filter(move |heard| heard.ours || foreign).map(|heard| (heard.trace_id, heard.below))
}

/// Removes our metric from `server-timing`, of whatever trace; everything else stays byte for byte and line for line.
pub fn strip(headers: &[Header<'_>], edits: &mut Vec<HeaderEdit>) {
    if !values(headers, b"server-timing").flat_map(metrics).any(is_ours) {
        return;
    }
    edits.push(HeaderEdit::Remove("server-timing".into()));
    let others = values(headers, b"server-timing").filter_map(without_ours);
    edits.extend(others.map(|value| HeaderEdit::Add("server-timing".into(), value)));
}

/// What is left of one value; `None` if that is nothing.
fn without_ours(value: &[u8]) -> Option<Vec<u8>> {
    let others: Vec<_> = metrics(value).filter(|metric| !is_ours(metric)).collect();
    let left = others.join(&b',');
    others.iter().any(|metric| !trim(metric).is_empty()).then(|| trim(&left).to_vec())
}

/// A metric of `server-timing` that says that a span was kept.
struct Heard {
    trace_id: TraceId,
    below: Below,
    ours: bool,
}

impl Heard {
    const FOREIGN: Below = Below { kept: Kept::Unknown, cap: Threshold::ALWAYS };
}

fn read(metric: &[u8]) -> Option<Heard> {
    let mut parameters = split(metric, b';').map(trim);
    if parameters.next() != Some(b"trace") {
        return None;
    }
    let (mut context, mut below, mut ours) = (None, Heard::FOREIGN, false);
    for (name, value) in parameters.filter_map(parameter) {
        match name {
            b"desc" => context = described(value),
            b"th" if value == b"u" => (ours, below.kept) = (true, Kept::Unknown),
            b"th" => (ours, below.kept) = (true, Kept::At(Threshold::parse(value)?)),
            b"cap" => below.cap = Threshold::parse(value)?,
            _ => {}
        }
    }
    // What is not kept is told only where a cap is the cause.
    let capped = ours && below.cap > Threshold::ALWAYS;
    let (trace_id, sampled) = context?;
    (sampled || capped).then_some(Heard { trace_id, below, ours })
}

fn is_ours(metric: &[u8]) -> bool {
    let mut parameters = split(metric, b';').map(trim);
    parameters.next() == Some(b"trace") && parameters.filter_map(parameter).any(|(name, _)| name == b"th")
}

/// The trace of `00-<trace-id>-<child-id>-<flags>`, and whether the flags say sampled; `None` if it is not that.
fn described(text: &[u8]) -> Option<(TraceId, bool)> {
    let mut fields = text.split(|byte| *byte == b'-');
    (fields.next()? == b"00").then_some(())?;
    let trace_id = TraceId::from_hex(fields.next()?)?;
    SpanId::from_hex(fields.next()?)?;
    let [flags] = decode_lower_hex::<1>(fields.next()?)?;
    fields.next().is_none().then_some((trace_id, flags & 1 == 1))
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
        let kept = match self.below.kept {
            Kept::At(threshold) => threshold.value(),
            Kept::Unknown => UNKNOWN,
        };
        let mut out = [VERSION; MARK];
        let (kept, cap, time) = (kept.to_le_bytes(), self.below.cap.value().to_le_bytes(), self.time_ns.to_le_bytes());
        let parent = self.parent.map_or([0; 8], |parent| *parent.as_bytes());
        let fields = self.trace_id.as_bytes().iter().chain(&kept).chain(&cap).chain(&time).chain(&parent);
        for (target, source) in out.iter_mut().skip(1).zip(fields) {
            *target = *source;
        }
        out
    }

    /// `None` for anything that is not a mark of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (trace_id, rest) = rest.split_first_chunk::<16>()?;
        let (kept, rest) = rest.split_first_chunk::<8>()?;
        let (cap, rest) = rest.split_first_chunk::<8>()?;
        let (time, parent) = rest.split_first_chunk::<8>()?;
        let parent = SpanId::new(parent.try_into().ok()?);
        let kept = match u64::from_le_bytes(*kept) {
            UNKNOWN => Kept::Unknown,
            value => Kept::At(Threshold::new(value)?),
        };
        (*version == VERSION).then_some(())?;
        Some(Self {
            trace_id: TraceId::new(*trace_id)?,
            below: Below { kept, cap: Threshold::new(u64::from_le_bytes(*cap))? },
            time_ns: u64::from_le_bytes(*time),
            parent,
        })
    }

    /// What the slot holds afterwards, and whether a live mark of another trace was lost.
    pub fn replace(self, old: Option<Self>) -> (Self, bool) {
        match old {
            Some(old) if old.trace_id == self.trace_id => (self.merge(&old), false),
            Some(old) => (self, self.time_ns.saturating_sub(old.time_ns) < LIVE_NS),
            None => (self, false),
        }
    }

    /// What is kept by one or by the other of two requests of a trace.
    fn merge(self, old: &Self) -> Self {
        Self {
            below: self.below.or(old.below),
            parent: self.parent.filter(|parent| old.parent == Some(*parent)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const OURS: &str = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01;th=8";
    const ALL: &str = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01;th=0";
    const FOREIGN: &str = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn trace() -> TraceId {
        TraceId::from_hex(TRACE.as_bytes()).expect("valid")
    }

    fn at(th: &str) -> Option<Kept> {
        Threshold::parse(th.as_bytes()).map(Kept::At)
    }

    /// What a signal says, and its cap if there is one.
    fn heard(headers: &[Header<'_>], trace_id: TraceId, unsampled: bool) -> Option<Kept> {
        let below = find(headers, trace_id, unsampled)?;
        assert_eq!(below.cap, Threshold::ALWAYS);
        Some(below.kept)
    }

    fn timings<'a>(values: &'a [String]) -> Vec<Header<'a>> {
        values.iter().map(|value| Header::new("server-timing", value)).collect()
    }

    /// The values afterwards: `None` if nothing changes.
    fn stripped(headers: &[Header<'_>]) -> Option<Vec<String>> {
        let mut edits = Vec::new();
        strip(headers, &mut edits);
        let (first, others) = edits.split_first()?;
        assert_eq!(first, &HeaderEdit::Remove("server-timing".into()));
        let value = |edit: &HeaderEdit| match edit {
            HeaderEdit::Add(_, value) => String::from_utf8_lossy(value).into_owned(),
            other => panic!("{other:?}"),
        };
        Some(others.iter().map(value).collect())
    }

    #[test]
    fn a_signal_is_heard_among_other_metrics_and_nothing_else_is_one() {
        let tail = "00f067aa0ba902b7-01;th=8";
        let table: &[(&[&str], Option<Kept>, &str)] = &[
            (&[OURS], at("8"), "alone"),
            (&[&format!("db;dur=53, {OURS} ,app")], at("8"), "among others"),
            (&["db;dur=53", "", OURS], at("8"), "several headers"),
            (&[OURS, ALL], at("0"), "the smaller of two"),
            (&[&format!("db;desc=\"a, b;c\",{OURS}")], at("8"), "a comma in quotes"),
            (&[&format!("db;desc=\"a\\\", b\",{OURS}")], at("8"), "an escaped quote"),
            (&[&format!("db;desc=\"{OURS}, {OURS}\"")], None, "quoted: a text, not a metric"),
            (&[&format!("db;desc=\"{OURS}, {OURS}")], None, "a quote that does not end"),
            (&["db;desc=\"x", OURS], at("8"), "does not reach into the next header"),
            (&[&OURS.replace("desc=", "desc = \"").replace(";th", "\" ; th")], at("8"), "quoted and spaced"),
            (&[&OURS.replace("th=8", "th=\"8\"")], at("8"), "a quoted threshold"),
            (&[&OURS.replace("th=8", "dur=1;th=8;x=y")], at("8"), "other parameters"),
            (&[&OURS.replace("th=8", "th=u")], Some(Kept::Unknown), "kept, nobody knows how"),
            (&[&OURS.replace("th=8", "th=U")], None, "malformed"),
            (&[&OURS.replace("th=8", "th=")], None, "malformed"),
            (&[&OURS.replace("th=8", "th=123456789abcdef")], None, "malformed"),
            (&[&OURS.replace("-01;", "-00;")], None, "unsampled"),
            (&[&OURS.replace("th=8", "th=8;cap=x")], None, "a malformed cap"),
            (&[&OURS.replace("-01;", "-00;").replace("th=8", "cap=8")], None, "a cap without our threshold"),
            (&[&OURS.replace("-01;", "-03;")], at("8"), "other flags too"),
            (&[&OURS.replace("-01;", "-1;")], None, "malformed flags"),
            (&[&OURS.replace("-01;", "-01-00;")], None, "a field too many"),
            (&[&OURS.replace("=00-", "=01-")], None, "another version"),
            (&[&OURS.replace("4bf9", "4bf8")], None, "another trace"),
            (&[&OURS.replace("4bf9", "4BF9")], None, "upper case"),
            (&[&OURS.replace("00f067aa0ba902b7", "0000000000000000")], None, "no span"),
            (&[&OURS.replace("trace;", "traces;")], None, "another metric"),
            (&[&format!("trace;th=0;desc=00-{TRACE}-{tail}")], at("8"), "the last of two"),
            (&["trace", "trace;th=0", ""], None, "no description"),
        ];
        for (values, expected, why) in table {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            for foreign in [true, false] {
                assert_eq!(heard(&timings(&values), trace(), foreign), *expected, "{values:?}: {why}");
            }
        }
    }

    #[test]
    fn a_signal_without_our_threshold_is_heard_only_where_foreign_ones_are() {
        let response = FOREIGN.trim_start_matches("trace;desc=");
        let other = response.replace("4bf9", "4bf8");
        let table: &[(&str, &str, Option<Kept>)] = &[
            ("server-timing", FOREIGN, Some(Kept::Unknown)),
            ("traceresponse", response, Some(Kept::Unknown)),
            ("traceresponse", &other, None),
            ("traceresponse", OURS, None),
            ("x-server-timing", OURS, None),
        ];
        for (name, value, expected) in table {
            let headers = [Header::new(name, value)];
            assert_eq!(heard(&headers, trace(), true), *expected, "{name}: {value}");
            assert_eq!(find(&headers, trace(), false), None, "{name}: {value}");
        }
        let both = [Header::new("traceresponse", response), Header::new("server-timing", OURS)];
        assert_eq!(heard(&both, trace(), true), Some(Kept::Unknown), "one of two is unknown");
        assert_eq!(heard(&both, trace(), false), at("8"), "only ours counts");
    }

    #[test]
    fn our_metric_goes_and_all_others_stay_byte_for_byte() {
        let forged = OURS.replace("4bf9", "ffff");
        let table: &[(&[&str], Option<&[&str]>, &str)] = &[
            (&[], None, "no header"),
            (&["db;dur=53", "app"], None, "nothing of ours"),
            (&[FOREIGN], None, "of another tracer, meant for somebody else"),
            (&["trace;dur=3"], None, "the application's own"),
            (&[OURS], Some(&[]), "alone"),
            (&[OURS, ALL], Some(&[]), "twice"),
            (&[&forged], Some(&[]), "of another trace: still ours"),
            (&["trace;th=broken"], Some(&[]), "malformed: still ours"),
            (&[&format!("a;dur=1 , {OURS}, b;desc=\"x, y\"")], Some(&["a;dur=1 , b;desc=\"x, y\""]), "in the middle"),
            (&[&format!("{OURS}, a"), "b;x", OURS], Some(&["a", "b;x"]), "several headers stay several"),
            (&["a;desc=\"\\\",\"", OURS], Some(&["a;desc=\"\\\",\""]), "escapes"),
            (&["a;desc=\"b, c", OURS], Some(&["a;desc=\"b, c"]), "a quote that does not end hides nothing behind it"),
            (&["a,,b ,", OURS], Some(&["a,,b ,"]), "empty members"),
        ];
        for (values, expected, why) in table {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let expected = expected.map(|left| left.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
            assert_eq!(stripped(&timings(&values)), expected, "{values:?}: {why}");
        }
    }

    #[test]
    fn what_is_written_is_found_again_by_its_own_trace() {
        let half = Threshold::parse(b"8").expect("valid");
        let all = Below::uncapped(Kept::At(Threshold::ALWAYS));
        let capped = Below { cap: half, ..all };
        for (below, sampled, tail) in [
            (Below::uncapped(Kept::Unknown), true, "-01;th=u"),
            (all, true, "-01;th=0"),
            (Below::uncapped(Kept::At(half)), true, "-01;th=8"),
            (capped, true, "-01;th=0;cap=8"),
            (capped, false, "-00;th=0;cap=8"),
        ] {
            let span_id = SpanId::from_u64(7).expect("not zero");
            let value = Signal { trace_id: trace(), span_id, below, sampled }.write();
            assert!(value.ends_with(tail.as_bytes()), "{tail}");
            assert_eq!(find(&[Header::new("server-timing", &value)], trace(), false), Some(below));
            let other = TraceId::from_halves(1, 2).expect("not zero");
            assert_eq!(find(&[Header::new("server-timing", &value)], other, true), None);
        }
    }

    #[test]
    fn of_several_signals_the_smaller_threshold_and_the_smaller_cap_count() {
        let capped = |th, cap| OURS.replace("th=8", &format!("th={th};cap={cap}"));
        let table = [
            (capped("8", "4"), capped("4", "8"), "4", "4"),
            (capped("c", "c"), capped("f", "f").replace("-01;", "-00;"), "c", "c"),
            (capped("c", "c"), OURS.to_owned(), "8", "0"),
        ];
        for (a, b, kept, cap) in table {
            let below = find(&timings(&[a.clone(), b.clone()]), trace(), false);
            let expected = at(kept).map(|kept| Below { kept, cap: Threshold::parse(cap.as_bytes()).expect("valid") });
            assert_eq!(below, expected, "{a}, {b}");
        }
    }

    #[test]
    fn the_union_of_two_is_the_smaller_threshold_or_unknown() {
        let (half, all, unknown) = (at("8"), at("0"), Some(Kept::Unknown));
        for (a, b, expected) in [
            (half, at("c"), half),
            (half, all, all),
            (half, unknown, unknown),
            (all, unknown, all),
            (unknown, unknown, unknown),
        ] {
            assert_eq!(a.zip(b).map(|(a, b)| a.or(b)), expected);
            assert_eq!(a.zip(b).map(|(a, b)| b.or(a)), expected);
        }
    }

    #[test]
    fn a_claim_is_bounded_by_the_threshold_of_the_policy() {
        let half = 1 << 55;
        let unknown = Some(Kept::Unknown);
        for (claim, least, r, expected) in [
            ("0", Some("8"), 0, at("8")),
            ("c", Some("8"), 0, at("c")),
            ("0", Some("0"), 0, at("0")),
            ("0", None, half, None),
            ("u", Some("0"), 0, unknown),
            ("u", Some("8"), half, unknown),
            ("u", Some("8"), half - 1, None),
            ("u", None, half, None),
        ] {
            let least = least.and_then(|least| Threshold::parse(least.as_bytes()));
            let kept = at(claim).unwrap_or(Kept::Unknown);
            assert_eq!(kept.bounded(least, r), expected, "{claim} {least:?} {r}");
        }
    }

    fn mark(trace: u64, kept: Kept, time_ns: u64) -> Mark {
        let trace_id = TraceId::from_halves(0, trace).expect("not zero");
        Mark { trace_id, below: Below::uncapped(kept), time_ns, parent: None }
    }

    #[test]
    fn marks_come_back_from_their_bytes_and_nothing_else_is_one() {
        for kept in [Kept::Unknown, Kept::At(Threshold::ALWAYS), at("fd70a").expect("valid")] {
            let mark = mark(7, kept, u64::MAX);
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
            let cap = Threshold::parse(b"c").expect("valid");
            let mark = Mark { below: Below { kept, cap }, parent: SpanId::from_u64(9), ..mark };
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }
        let good = mark(7, Kept::Unknown, 1).encode();
        let altered = |place: std::ops::Range<usize>, byte| {
            let mut bytes = good;
            bytes[place].fill(byte);
            bytes.to_vec()
        };
        let table = [
            (Vec::new(), "empty"),
            (good[..MARK - 1].to_vec(), "too short"),
            ([&good[..], &[0]].concat(), "too long"),
            (altered(0..1, 1), "another version"),
            (altered(1..17, 0), "no trace"),
            (altered(17..25, 0xfe), "not below 2^56"),
            (altered(25..33, 0xff), "a cap that is not below 2^56"),
        ];
        for (bytes, why) in table {
            assert_eq!(Mark::decode(&bytes), None, "{why}");
        }
    }

    #[test]
    fn a_mark_joins_its_own_trace_and_takes_the_slot_of_another() {
        let (half, all) = (at("8").expect("valid"), Kept::At(Threshold::ALWAYS));
        let now = 100 * LIVE_NS;
        let table = [
            (None, half, false, "an empty slot"),
            (Some(mark(7, all, now - 1)), all, false, "what was known stays known"),
            (Some(mark(7, Kept::Unknown, now)), Kept::Unknown, false, "unknown and known"),
            (Some(mark(8, all, now - LIVE_NS + 1)), half, true, "another trace may still have needed it"),
            (Some(mark(8, all, now - LIVE_NS)), half, false, "nobody needs it any more"),
            (Some(mark(8, all, now + 1)), half, true, "a clock that went back"),
        ];
        for (old, kept, lost, why) in table {
            assert_eq!(mark(7, half, now).replace(old), (mark(7, kept, now), lost), "{why}");
        }
    }

    #[test]
    fn marks_of_one_trace_merge_to_the_smaller_thresholds_and_the_parent_that_both_have() {
        let (half, most) = (Threshold::parse(b"8").expect("valid"), Threshold::parse(b"c").expect("valid"));
        let parents = [SpanId::from_u64(1), SpanId::from_u64(2), None];
        for old in parents {
            for new in parents {
                let left =
                    Mark { below: Below { kept: Kept::At(most), cap: most }, parent: old, ..mark(7, Kept::Unknown, 1) };
                let below = Below { kept: Kept::At(half), cap: half };
                let (merged, lost) = Mark { below, parent: new, ..mark(7, Kept::Unknown, 2) }.replace(Some(left));
                let parent = new.filter(|_| new == old);
                assert_eq!(merged, Mark { below, parent, ..mark(7, Kept::Unknown, 2) }, "{old:?} and {new:?}");
                assert!(!lost);
            }
        }
    }

    #[test]
    fn slots_are_few_and_their_keys_are_prefixed() {
        assert_eq!(slot_key(slot((1 << 56) - 1)), "io.sidespan.mark.fff");
        assert_eq!(slot_key(slot(SLOTS)), "io.sidespan.mark.000");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
            let headers: Vec<_> = values.iter().map(|value| Header::new("server-timing", value)).collect();
            prop_assert_eq!(find(&headers, trace(), true), None);
            strip(&headers, &mut Vec::new());
            if let Some(bytes) = values.first() {
                let _ = Mark::decode(bytes);
            }
        }

        #[test]
        fn pieces_in_any_order_are_survived(pieces in prop::collection::vec(
            prop::sample::select(vec!["trace", ";", ",", "\"", "\\", "desc", "=", "th", "0", " ", FOREIGN, OURS]), 0..20,
        )) {
            let value = pieces.concat();
            let headers = [Header::new("server-timing", &value), Header::new("traceresponse", &value)];
            let _ = find(&headers, trace(), true);
            if let Some(rest) = stripped(&headers) {
                prop_assert_eq!(stripped(&timings(&rest)), None, "{:?} is stripped once and for all", value);
            }
        }

        #[test]
        fn strip_keeps_all_others_in_order(others in prop::collection::vec("[a-z]{1,5}(;dur=[0-9]{1,3}|;desc=\"[a-z,; ]{0,8}\")?", 0..6), place in 0usize..6) {
            let mut metrics = others.clone();
            metrics.insert(place.min(others.len()), OURS.to_owned());
            let value = metrics.join(", ");
            prop_assert_eq!(stripped(&[Header::new("server-timing", &value)]), Some(if others.is_empty() { vec![] } else { vec![others.join(", ")] }));
        }
    }
}
