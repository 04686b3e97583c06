//! One pass over the headers: every name that propagation reads or writes, and the edits made against what was found.
//!
//! Names must be lower case, as Envoy gives them. A trace header that must appear once and is repeated is malformed:
//! W3C Trace Context says so of `traceparent`, and for the others no reading is safer than a guess.

use super::tracestate::TraceState;
use super::{Format, FormatSet};
use crate::http::headers::{self, Header, HeaderEdit, trim};
use std::borrow::Cow;

/// A header that belongs to a trace context format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Name {
    TraceParent,
    TraceState,
    B3,
    B3TraceId,
    B3SpanId,
    B3Sampled,
    B3Flags,
    B3ParentSpanId,
    UberTraceId,
    DatadogTraceId,
    DatadogParentId,
    DatadogPriority,
    DatadogTags,
    XAmznTraceId,
    XCloudTraceContext,
    OtTraceId,
    OtSpanId,
    OtSampled,
}

/// How often a header came, and its raw value if that was once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Not at all.
    Absent,
    /// Once, with this value.
    Once(&'a [u8]),
    /// More than once.
    Repeated,
}

/// What one pass over the headers found. Holds no more than references; nothing is allocated.
#[derive(Clone, Debug)]
pub struct Scan<'h, 'a> {
    headers: &'h [Header<'a>],
    seen: [Seen<'a>; Name::COUNT],
    formats: FormatSet,
}

/// Edits against a [`Scan`]: what is right already is not touched (a write makes Envoy forget the route it chose).
#[derive(Debug)]
pub(super) struct Edits<'s, 'h, 'a> {
    scan: &'s Scan<'h, 'a>,
    list: Vec<HeaderEdit>,
}

// === impl Name ===

impl Name {
    const COUNT: usize = 18;

    /// Most headers are none of ours and fail on the first byte.
    fn of(name: &[u8]) -> Option<Self> {
        if !matches!(name.first(), Some(b't' | b'b' | b'x' | b'u' | b'o')) {
            return None;
        }
        Some(match name {
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            b"b3" => Self::B3,
            b"x-b3-traceid" => Self::B3TraceId,
            b"x-b3-spanid" => Self::B3SpanId,
            b"x-b3-sampled" => Self::B3Sampled,
            b"x-b3-flags" => Self::B3Flags,
            b"x-b3-parentspanid" => Self::B3ParentSpanId,
            b"uber-trace-id" => Self::UberTraceId,
            b"x-datadog-trace-id" => Self::DatadogTraceId,
            b"x-datadog-parent-id" => Self::DatadogParentId,
            b"x-datadog-sampling-priority" => Self::DatadogPriority,
            b"x-datadog-tags" => Self::DatadogTags,
            b"x-amzn-trace-id" => Self::XAmznTraceId,
            b"x-cloud-trace-context" => Self::XCloudTraceContext,
            b"ot-tracer-traceid" => Self::OtTraceId,
            b"ot-tracer-spanid" => Self::OtSpanId,
            b"ot-tracer-sampled" => Self::OtSampled,
            _ => return None,
        })
    }

    /// The name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TraceParent => "traceparent",
            Self::TraceState => "tracestate",
            Self::B3 => "b3",
            Self::B3TraceId => "x-b3-traceid",
            Self::B3SpanId => "x-b3-spanid",
            Self::B3Sampled => "x-b3-sampled",
            Self::B3Flags => "x-b3-flags",
            Self::B3ParentSpanId => "x-b3-parentspanid",
            Self::UberTraceId => "uber-trace-id",
            Self::DatadogTraceId => "x-datadog-trace-id",
            Self::DatadogParentId => "x-datadog-parent-id",
            Self::DatadogPriority => "x-datadog-sampling-priority",
            Self::DatadogTags => "x-datadog-tags",
            Self::XAmznTraceId => "x-amzn-trace-id",
            Self::XCloudTraceContext => "x-cloud-trace-context",
            Self::OtTraceId => "ot-tracer-traceid",
            Self::OtSpanId => "ot-tracer-spanid",
            Self::OtSampled => "ot-tracer-sampled",
        }
    }

    fn format(self) -> Format {
        match self {
            Self::TraceParent | Self::TraceState => Format::TraceContext,
            Self::B3 => Format::B3Single,
            Self::B3TraceId | Self::B3SpanId | Self::B3Sampled | Self::B3Flags | Self::B3ParentSpanId => {
                Format::B3Multi
            }
            Self::UberTraceId => Format::Jaeger,
            Self::DatadogTraceId | Self::DatadogParentId | Self::DatadogPriority | Self::DatadogTags => Format::Datadog,
            Self::XAmznTraceId => Format::XRay,
            Self::XCloudTraceContext => Format::Gcp,
            Self::OtTraceId | Self::OtSpanId | Self::OtSampled => Format::OtTrace,
        }
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    /// The value without surrounding white space, if the header came exactly once.
    pub(super) fn once(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) => Some(trim(value)),
            Self::Absent | Self::Repeated => None,
        }
    }
}

// === impl Scan ===

impl<'h, 'a> Scan<'h, 'a> {
    /// Names in `headers` are lower case.
    pub fn new(headers: &'h [Header<'a>]) -> Self {
        let mut scan = Self { headers, seen: [Seen::Absent; Name::COUNT], formats: FormatSet::default() };
        for header in headers {
            if let Some(name) = Name::of(header.name) {
                scan.see(name, header.value);
            }
        }
        scan
    }

    fn see(&mut self, name: Name, value: &'a [u8]) {
        self.formats.insert(name.format());
        if let Some(slot) = self.seen.get_mut(name as usize) {
            *slot = if *slot == Seen::Absent { Seen::Once(value) } else { Seen::Repeated };
        }
    }

    /// The formats of which any header came, valid or not.
    pub(super) fn formats(&self) -> FormatSet {
        self.formats
    }

    pub(super) fn get(&self, name: Name) -> Seen<'a> {
        self.seen.get(name as usize).copied().unwrap_or(Seen::Absent)
    }

    /// The first value of a header that has no slot: it passes untouched, but says something about one that has.
    pub(super) fn first(&self, name: &[u8]) -> Option<&'a [u8]> {
        headers::first(self.headers, name).map(trim)
    }

    /// All `tracestate` headers, combined in order (RFC 9110 section 5.3); empty if invalid.
    pub(super) fn trace_state(&self) -> TraceState {
        match self.get(Name::TraceState) {
            Seen::Absent => TraceState::empty(),
            Seen::Once(value) => TraceState::parse([value]),
            Seen::Repeated => TraceState::parse(self.trace_states()),
        }
    }

    /// Whether [`Self::trace_state`] is `known`. A header that is written as `known` is need not be read again.
    pub(super) fn has_trace_state(&self, known: &TraceState) -> bool {
        self.get(Name::TraceState) == Seen::Once(known.as_bytes()) || self.trace_state() == *known
    }

    /// Whether one of several `tracestate` headers has no member: "avoid sending empty" holds for each of them, and a
    /// receiver that reads only the first would find nothing.
    pub(super) fn has_empty_trace_state(&self) -> bool {
        self.get(Name::TraceState) == Seen::Repeated
            && self.trace_states().any(|value| value.split(|byte| *byte == b',').all(|member| trim(member).is_empty()))
    }

    fn trace_states(&self) -> impl Iterator<Item = &'a [u8]> {
        headers::values(self.headers, b"tracestate")
    }
}

// === impl Edits ===

impl<'s, 'h, 'a> Edits<'s, 'h, 'a> {
    pub(super) fn new(scan: &'s Scan<'h, 'a>) -> Self {
        Self { scan, list: Vec::new() }
    }

    /// What the edits are made against.
    pub(super) fn scan(&self) -> &'s Scan<'h, 'a> {
        self.scan
    }

    /// Sees to it that `name` has exactly this value.
    pub(super) fn set(&mut self, name: Name, value: &[u8]) {
        if self.scan.get(name) != Seen::Once(value) {
            self.list.push(HeaderEdit::Set(Cow::Borrowed(name.as_str()), value.to_vec()));
        }
    }

    /// Sees to it that `name` is not there.
    pub(super) fn remove(&mut self, name: Name) {
        if self.scan.get(name) != Seen::Absent {
            self.list.push(HeaderEdit::Remove(Cow::Borrowed(name.as_str())));
        }
    }

    /// Sets if there is a value, removes if there is none.
    pub(super) fn put(&mut self, name: Name, value: Option<&[u8]>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    pub(super) fn into_vec(self) -> Vec<HeaderEdit> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "traceparent",
        "tracestate",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
        "x-b3-parentspanid",
        "uber-trace-id",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "ot-tracer-traceid",
        "ot-tracer-spanid",
        "ot-tracer-sampled",
    ];

    #[test]
    fn every_name_has_its_own_slot_and_comes_back_as_it_was() {
        assert_eq!(NAMES.len(), Name::COUNT);
        for (slot, text) in NAMES.iter().enumerate() {
            let name = Name::of(text.as_bytes()).expect("known");
            assert_eq!((name as usize, name.as_str()), (slot, *text));
        }
    }

    #[test]
    fn names_that_only_look_alike_are_not_ours() {
        for name in ["", "trace-parent", "trace.parent", "traceparen", "traceparents", "b", "b33", "x-b3-", "baggage"] {
            assert_eq!(Name::of(name.as_bytes()), None, "{name}");
        }
        for name in ["x-datadog-origin", "uberctx-a", "ot-baggage-a", "x-request-id", ":path"] {
            assert_eq!(Name::of(name.as_bytes()), None, "{name} passes untouched");
        }
    }

    #[test]
    fn one_of_several_states_may_be_empty() {
        let table: &[(&[&str], bool)] =
            &[(&[], false), (&[""], false), (&["a=1", "b=2"], false), (&["a=1", ""], true), (&[" ,\t", "a=1"], true)];
        for (values, expected) in table {
            let headers: Vec<_> = values.iter().map(|value| Header::new("tracestate", *value)).collect();
            assert_eq!(Scan::new(&headers).has_empty_trace_state(), *expected, "{values:?}");
        }
    }

    #[test]
    fn a_repeated_header_has_no_value_and_edits_touch_only_what_is_wrong() {
        let headers = [Header::new("b3", "0"), Header::new("traceparent", "a"), Header::new("traceparent", "a")];
        let scan = Scan::new(&headers);
        assert_eq!(scan.get(Name::TraceParent), Seen::Repeated);
        assert_eq!(scan.get(Name::TraceParent).once(), None);
        assert_eq!(scan.get(Name::B3).once(), Some(&b"0"[..]));
        let mut edits = Edits::new(&scan);
        edits.set(Name::B3, b"0");
        edits.remove(Name::B3Flags);
        edits.set(Name::TraceParent, b"a");
        assert_eq!(edits.into_vec(), [HeaderEdit::Set("traceparent".into(), b"a".to_vec())]);
    }
}
