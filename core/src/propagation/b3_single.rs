//! B3 in one header, `b3` (openzipkin/b3-propagation, "Single Header").
//!
//! ```text
//! b3 = trace-id "-" span-id [ "-" state [ "-" parent-span-id ] ]      trace-id: 32 or 16 hex digits
//!    / trace-id "-" span-id "-" parent-span-id                        decision deferred, as brave reads it
//!    / state                                                          "1" / "0" / "d"
//! ```
//! All hex digits are lower case. An absent state means that the decision is deferred, not that the trace is not sampled.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing, Reading};
use super::trace_headers::TraceHeaders;
use crate::context::Sampled;
use crate::id::{SpanId, TraceId, decode_lower_hex};

/// What a header value says; `None` if it is malformed, which counts as absent.
pub(super) fn parse(value: &[u8]) -> Option<Reading> {
    let mut fields = value.split(|byte| *byte == b'-');
    let first = fields.next()?;
    let Some(span_id) = fields.next() else {
        return state(first).map(Reading::State);
    };
    let sampled = match (fields.next(), fields.next(), fields.next()) {
        (None, _, _) => Sampled::Defer,
        (Some(only), None, _) => state(only).or_else(|| is_parent(only).then_some(Sampled::Defer))?,
        (Some(text), Some(parent), None) if is_parent(parent) => state(text)?,
        _ => return None,
    };
    let (trace_id, span_id) = (trace_id(first)?, SpanId::from_hex(span_id)?);
    Some(Reading::Context(Extracted::new(Format::B3Single, trace_id, Some(span_id), sampled)))
}

/// 32 lower-case hex digits, or 16 that are padded on the left.
pub(super) fn trace_id(text: &[u8]) -> Option<TraceId> {
    TraceId::from_hex(text).or_else(|| TraceId::from_hex_64(text))
}

fn state(text: &[u8]) -> Option<Sampled> {
    match text {
        b"1" => Some(Sampled::Accept),
        b"0" => Some(Sampled::Deny),
        b"d" => Some(Sampled::Debug),
        _ => None,
    }
}

/// Whether this is a parent id. Zero is allowed: it means that there is no parent.
fn is_parent(text: &[u8]) -> bool {
    decode_lower_hex::<8>(text).is_some()
}

pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Reading> {
    parse(headers.get(Name::B3).once()?)
}

/// Writes `b3`; never a parent id ("MUST NOT", OpenTelemetry, "B3 Inject").
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let context = &outgoing.context;
    let state: &[u8] = match outgoing.sampled {
        Sampled::Accept => b"-1",
        Sampled::Deny => b"-0",
        Sampled::Debug => b"-d",
        Sampled::Defer => b"",
    };
    edits.set(Name::B3, &[&context.trace_id.hex(), &b"-"[..], &context.span_id.hex(), state].concat());
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{reading, show};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_a_context_a_bare_state_or_nothing() {
        let table: &[(&str, &str, &str)] = &[
            ("{t}-{s}", "{t} {s} defer", "no state: deferred"),
            ("{t}-{s}-0", "{t} {s} deny", "deny"),
            ("{t}-{s}-1", "{t} {s} accept", "accept"),
            ("{t}-{s}-d", "{t} {s} debug", "debug"),
            ("{t}-{s}-1-00000000000000cd", "{t} {s} accept", "a parent id is read over"),
            ("{t}-{s}-1-0000000000000000", "{t} {s} accept", "a zero parent id is none"),
            ("{t}-{s}-00000000000000cd", "{t} {s} defer", "state left out before a parent id (brave)"),
            ("a3ce929d0e0e4736-{s}", "0000000000000000a3ce929d0e0e4736 {s} defer", "a 64-bit trace id is padded"),
            ("a3ce929d0e0e4736-{s}-1", "0000000000000000a3ce929d0e0e4736 {s} accept", "and with a state"),
            ("0", "deny", "deny without ids"),
            ("1", "accept", "accept without ids"),
            ("d", "debug", "debug without ids"),
            ("", "-", "empty"),
            ("-", "-", "dash"),
            ("--", "-", "dashes"),
            ("d-", "-", "a state and a dash"),
            ("-1", "-", "a dash and a state"),
            ("true", "-", "only 1, 0 and d are states here"),
            ("2", "-", "no state"),
            ("D", "-", "no state"),
            ("{t}", "-", "a trace id alone"),
            ("{t}-", "-", "empty span id"),
            ("{t}-{s}-", "-", "trailing dash"),
            ("{t}-{s}-1-", "-", "trailing dash after the state"),
            ("{t}-{s}-1-00000000000000cd-", "-", "trailing dash after the parent"),
            ("{t}-{s}-1-00000000000000cd-0", "-", "a fifth field"),
            ("{t}-{s}-true", "-", "a word is no state"),
            ("{t}-{s}-q", "-", "bogus state"),
            ("{t}-{s}-01", "-", "flags of another format"),
            ("00-{t}-{s}-01", "-", "a traceparent is no b3"),
            ("ab00000000000000000000000000000000-{s}-1", "-", "trace id of 34"),
            ("ab0000000000-{s}-1", "-", "trace id of 12"),
            ("{t}-cd0000000000000000-1", "-", "span id of 18"),
            ("{t}-{s}-1-cd0000000000000000", "-", "parent id of 18"),
            ("qw000000000000000000000000000000-{s}-1", "-", "bogus trace id"),
            ("{t}-qw00000000000000-1", "-", "bogus span id"),
            ("{t}-{s}-1-qw00000000000000", "-", "bogus parent id"),
            ("AB000000000000000000000000000000-{s}-1", "-", "upper-case trace id"),
            ("{t}-CD00000000000000-1", "-", "upper-case span id"),
            ("{t}-{s}-1-EF00000000000000", "-", "upper-case parent id"),
            ("00000000000000000000000000000000-{s}-1", "-", "zero trace id"),
            ("0000000000000000-{s}-1", "-", "zero 64-bit trace id"),
            ("{t}-0000000000000000-1", "-", "zero span id"),
            ("00000000000000000000000000000000-0000000000000000-1", "-", "both zero"),
        ];
        for (input, expected, why) in table {
            assert_eq!(reading(parse(show(input).as_bytes())), show(expected), "{why}: {input}");
        }
    }

    proptest! {
        #[test]
        fn of_any_bytes_only_visible_ascii_is_accepted(value in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(parse(&value).is_none() || value.iter().all(u8::is_ascii_graphic));
        }
    }
}
