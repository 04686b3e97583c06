//! The trace headers of one request, found in one pass over all headers.
//!
//! Names must be in lower case, as Envoy gives them. A trace header that must come once and is repeated counts as malformed,
//! because no value is safer than a guess. Two formats say otherwise, and their readers follow them: of several states of B3
//! the first counts, and several `traceparent` may name one trace.

use super::format::FormatSet;
use super::header_name::Name;
use super::tracestate::TraceState;
use crate::http::headers::{self, Header, trim};

/// How often a header came, and its raw value if that was once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Not at all.
    Absent,
    /// Once, with this value.
    Once(&'a [u8]),
    /// More than once, first with this value.
    Repeated(&'a [u8]),
}

/// The trace headers that were found. Holds references only; nothing is allocated.
#[derive(Clone, Debug)]
pub struct TraceHeaders<'h, 'a> {
    headers: &'h [Header<'a>],
    seen: [Seen<'a>; Name::COUNT],
    formats: FormatSet,
}

// === impl Seen ===

impl<'a> Seen<'a> {
    /// The value without surrounding white space, if the header came exactly once.
    pub(super) fn once(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) => Some(trim(value)),
            Self::Absent | Self::Repeated(_) => None,
        }
    }

    /// The first value without surrounding white space.
    pub(super) fn first(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) | Self::Repeated(value) => Some(trim(value)),
            Self::Absent => None,
        }
    }
}

// === impl TraceHeaders ===

impl<'h, 'a> TraceHeaders<'h, 'a> {
    /// Finds the trace headers. Names in `headers` must be in lower case.
    pub fn new(headers: &'h [Header<'a>]) -> Self {
        let mut found = Self { headers, seen: [Seen::Absent; Name::COUNT], formats: FormatSet::default() };
        for header in headers {
            if let Some(name) = Name::of(header.name) {
                found.see(name, header.value);
            }
        }
        found
    }

    fn see(&mut self, name: Name, value: &'a [u8]) {
        self.formats.insert(name.format());
        if let Some(slot) = self.seen.get_mut(name as usize) {
            *slot = match *slot {
                Seen::Absent => Seen::Once(value),
                Seen::Once(first) | Seen::Repeated(first) => Seen::Repeated(first),
            };
        }
    }

    /// The formats of which at least one header came, valid or not.
    pub(super) fn formats(&self) -> FormatSet {
        self.formats
    }

    /// How often a header came, and its value.
    pub(super) fn get(&self, name: Name) -> Seen<'a> {
        self.seen.get(name as usize).copied().unwrap_or(Seen::Absent)
    }

    /// The first value of a header that is not in [`Name`]: propagation never changes it, but its value matters.
    pub(super) fn first(&self, name: &[u8]) -> Option<&'a [u8]> {
        headers::first(self.headers, name).map(trim)
    }

    /// All `tracestate` headers, combined in order (RFC 9110 section 5.3); empty if invalid.
    pub(super) fn trace_state(&self) -> TraceState {
        match self.get(Name::TraceState) {
            Seen::Absent => TraceState::empty(),
            Seen::Once(value) => TraceState::parse([value]),
            Seen::Repeated(_) => TraceState::parse(self.trace_states()),
        }
    }

    /// Whether [`Self::trace_state`] is equal to `known`. A header with the same bytes is not parsed again.
    pub(super) fn has_trace_state(&self, known: &TraceState) -> bool {
        self.get(Name::TraceState) == Seen::Once(known.as_bytes()) || self.trace_state() == *known
    }

    /// Whether one of several `tracestate` headers has no member. "Avoid sending empty" holds for each of them, because a
    /// receiver that reads only the first one would find nothing.
    pub(super) fn has_empty_trace_state(&self) -> bool {
        matches!(self.get(Name::TraceState), Seen::Repeated(_))
            && self.trace_states().any(|value| value.split(|byte| *byte == b',').all(|member| trim(member).is_empty()))
    }

    /// All values of `traceparent`, in order.
    pub(super) fn trace_parents(&self) -> impl Iterator<Item = &'a [u8]> {
        headers::values(self.headers, b"traceparent").map(trim)
    }

    fn trace_states(&self) -> impl Iterator<Item = &'a [u8]> {
        headers::values(self.headers, b"tracestate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_states_may_be_empty() {
        let table: &[(&[&str], bool)] =
            &[(&[], false), (&[""], false), (&["a=1", "b=2"], false), (&["a=1", ""], true), (&[" ,\t", "a=1"], true)];
        for (values, expected) in table {
            let headers: Vec<_> = values.iter().map(|value| Header::new("tracestate", *value)).collect();
            assert_eq!(TraceHeaders::new(&headers).has_empty_trace_state(), *expected, "{values:?}");
        }
    }
}
