//! B3 in several headers, `x-b3-*` (openzipkin/b3-propagation, "Multiple Headers").
//!
//! ```text
//! x-b3-traceid      = 32 or 16 lower-case hex digits      together with x-b3-spanid or not at all
//! x-b3-spanid       = 16 lower-case hex digits
//! x-b3-sampled      = "1" / "0"                           also "true" / "false", from old tracers; absent: deferred
//! x-b3-flags        = "1"                                 debug, which implies sampled; other values are ignored
//! x-b3-parentspanid                                       ignored and never sent
//! ```
//! A decision may come without ids. "When extracting state headers, the first value wins": a repeated `x-b3-sampled` or
//! `x-b3-flags` has its first value. A repeated id is malformed.

use super::b3_single;
use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing, Reading};
use super::trace_headers::{Seen, TraceHeaders};
use crate::context::Sampled;
use crate::id::SpanId;

/// A context or a decision without ids; `None` if ids or decision are malformed.
pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Reading> {
    let (trace_id, span_id) = (headers.get(Name::B3TraceId), headers.get(Name::B3SpanId));
    let sampled = state(headers)?;
    if (trace_id, span_id) == (Seen::Absent, Seen::Absent) {
        return (sampled != Sampled::Defer).then_some(Reading::State(sampled));
    }
    let (trace_id, span_id) = (b3_single::trace_id(trace_id.once()?)?, SpanId::from_hex(span_id.once()?)?);
    Some(Reading::Context(Extracted::new(Format::B3Multi, trace_id, Some(span_id), sampled)))
}

/// `None` if `x-b3-sampled` is malformed.
fn state(headers: &TraceHeaders<'_, '_>) -> Option<Sampled> {
    if headers.get(Name::B3Flags).first() == Some(b"1") {
        return Some(Sampled::Debug);
    }
    match headers.get(Name::B3Sampled).first() {
        None => Some(Sampled::Defer),
        Some(b"1" | b"true") => Some(Sampled::Accept),
        Some(b"0" | b"false") => Some(Sampled::Deny),
        Some(_) => None,
    }
}

/// Writes ids and state. Debug is `x-b3-flags: 1` and then no `x-b3-sampled`; a deferred decision is neither.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let context = &outgoing.context;
    let (sampled, flags): (Option<&[u8]>, Option<&[u8]>) = match outgoing.sampled {
        Sampled::Accept => (Some(b"1"), None),
        Sampled::Deny => (Some(b"0"), None),
        Sampled::Debug => (None, Some(b"1")),
        Sampled::Defer => (None, None),
    };
    edits.set(Name::B3TraceId, &context.trace_id.hex());
    edits.set(Name::B3SpanId, &context.span_id.hex());
    edits.set_or_remove(Name::B3Sampled, sampled);
    edits.set_or_remove(Name::B3Flags, flags);
    edits.remove(Name::B3ParentSpanId);
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{headers, reading, show};
    use super::*;

    #[test]
    fn the_headers_are_a_context_a_bare_state_or_nothing() {
        let ids = "x-b3-traceid: {t}\nx-b3-spanid: {s}\n";
        let table: &[(&str, &str, &str)] = &[
            ("", "-", "nothing"),
            ("{ids}", "{t} {s} defer", "no state: deferred"),
            ("{ids}x-b3-sampled: 0", "{t} {s} deny", "deny"),
            ("{ids}x-b3-sampled: 1", "{t} {s} accept", "accept"),
            ("{ids}x-b3-sampled: true", "{t} {s} accept", "an old tracer's accept"),
            ("{ids}x-b3-sampled: false", "{t} {s} deny", "an old tracer's deny"),
            ("{ids}x-b3-flags: 1", "{t} {s} debug", "debug"),
            ("{ids}x-b3-sampled: 0\nx-b3-flags: 1", "{t} {s} debug", "debug wins over deny"),
            ("{ids}x-b3-sampled: 1\nx-b3-flags: 1", "{t} {s} debug", "debug and accept"),
            ("{ids}x-b3-sampled: 1\nx-b3-flags: 2", "{t} {s} accept", "other flags mean nothing"),
            ("{ids}x-b3-sampled: 0\nx-b3-flags: 0", "{t} {s} deny", "other flags mean nothing"),
            ("{ids}x-b3-flags: 1\nx-b3-flags: 1", "{t} {s} debug", "the same flags twice"),
            ("{ids}x-b3-sampled: 0\nx-b3-flags: 0\nx-b3-flags: 1", "{t} {s} deny", "of two flags the first counts"),
            ("{ids}x-b3-sampled: 1\nx-b3-sampled: 1", "{t} {s} accept", "the same state twice"),
            ("{ids}x-b3-sampled: 1\nx-b3-sampled: 0", "{t} {s} accept", "of two states the first counts"),
            ("{ids}x-b3-sampled: 0\nx-b3-sampled: what", "{t} {s} deny", "whatever the other is"),
            ("{ids}x-b3-sampled: what\nx-b3-sampled: 0", "-", "a malformed one is not passed over"),
            ("x-b3-sampled: 0\nx-b3-sampled: 1", "deny", "also without ids"),
            ("{ids}x-b3-sampled: 1\nx-b3-parentspanid: 00f067aa0ba90200", "{t} {s} accept", "a parent id is read over"),
            ("{ids}x-b3-sampled: 1\nx-b3-parentspanid: what", "{t} {s} accept", "whatever it is"),
            (
                "x-b3-traceid: a3ce929d0e0e4736\nx-b3-spanid: {s}",
                "0000000000000000a3ce929d0e0e4736 {s} defer",
                "a 64-bit trace id is padded",
            ),
            ("x-b3-sampled: 0", "deny", "deny without ids"),
            ("x-b3-sampled: 1", "accept", "accept without ids"),
            ("x-b3-sampled: false", "deny", "an old tracer's deny without ids"),
            ("x-b3-flags: 1", "debug", "debug without ids"),
            ("x-b3-flags: 0", "-", "flags that mean nothing, alone"),
            ("x-b3-parentspanid: 00f067aa0ba90200", "-", "a parent id alone"),
            ("{ids}x-b3-sampled: 10", "-", "state too long"),
            ("{ids}x-b3-sampled: d", "-", "a state of the other form"),
            ("{ids}x-b3-sampled:", "-", "empty state"),
            ("x-b3-sampled: invalid", "-", "a malformed state alone"),
            ("{ids}x-b3-traceid: {t}", "-", "two trace ids"),
            ("{ids}x-b3-spanid: {s}", "-", "two span ids"),
            ("x-b3-traceid: {t}\nx-b3-sampled: 1", "-", "span id missing"),
            ("x-b3-spanid: {s}\nx-b3-sampled: 1", "-", "trace id missing"),
            ("x-b3-traceid: {t}00\nx-b3-spanid: {s}", "-", "trace id of 34"),
            ("x-b3-traceid: ab0000000000000000000000000000\nx-b3-spanid: {s}", "-", "trace id of 30"),
            ("x-b3-traceid: ab0000000000\nx-b3-spanid: {s}", "-", "trace id of 12"),
            ("x-b3-traceid: {t}\nx-b3-spanid: {s}00", "-", "span id of 18"),
            ("x-b3-traceid: qw000000000000000000000000000000\nx-b3-spanid: {s}", "-", "bogus trace id"),
            ("x-b3-traceid: {t}\nx-b3-spanid: qw00000000000000", "-", "bogus span id"),
            ("x-b3-traceid: AB000000000000000000000000000000\nx-b3-spanid: {s}", "-", "upper-case trace id"),
            ("x-b3-traceid: {t}\nx-b3-spanid: CD00000000000000", "-", "upper-case span id"),
            ("x-b3-traceid: 00000000000000000000000000000000\nx-b3-spanid: {s}", "-", "zero trace id"),
            ("x-b3-traceid: {t}\nx-b3-spanid: 0000000000000000", "-", "zero span id"),
        ];
        for (input, expected, why) in table {
            let text = show(&input.replace("{ids}", ids));
            assert_eq!(reading(extract(&TraceHeaders::new(&headers(&text)))), show(expected), "{why}: {input}");
        }
    }
}
