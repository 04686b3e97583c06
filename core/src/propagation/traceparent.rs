//! `traceparent` (W3C Trace Context level 2, "Traceparent Header").
//!
//! ```text
//! value  = version "-" trace-id "-" parent-id "-" trace-flags     version 00: exactly 55 bytes
//! value  = the same [ "-" anything ]                              higher versions
//! ```
//! All hex digits are lower case; version `ff`, a zero trace id and a zero parent id are invalid. Unknown flags are
//! cleared, not refused. Version 00 is sent, the highest version that exists.
//!
//! Instrumentation without the application's help (eBPF) adds a second header to one that is there. If all of them name one
//! trace, the first one is the parent; if they name several, or one is invalid, there is no parent and a new trace starts (W3C
//! Trace Context test suite, `test_traceparent_duplicated`).

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::{Seen, TraceHeaders};
use super::tracestate::TraceState;
use crate::context::{Flags, Sampled, SpanContext};
use crate::id::{SpanId, TraceId, decode_lower_hex};

/// Length of a version 00 header.
pub(crate) const LENGTH: usize = 55;

/// The context that a header value names; `None` if it must be ignored.
pub(crate) fn parse(value: &[u8]) -> Option<SpanContext> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let (version, known) = field(known, 2)?;
    let (trace_id, known) = field(known, 32)?;
    let (span_id, flags) = field(known, 16)?;
    match decode_lower_hex(version)? {
        [0xff] => return None,
        [0x00] if !rest.is_empty() => return None,
        // "the parser may use the flags only if they are at the end of the string or followed by a dash"
        _ if !matches!(rest.first(), None | Some(b'-')) => return None,
        _ => {}
    }
    let [flags] = decode_lower_hex(flags)?;
    Some(SpanContext {
        trace_id: TraceId::from_hex(trace_id)?,
        span_id: SpanId::from_hex(span_id)?,
        flags: Flags::from_bits(flags),
    })
}

/// A version 00 header value.
pub(crate) fn format(context: &SpanContext) -> [u8; LENGTH] {
    let mut out = [b'-'; LENGTH];
    let [flags_high, flags_low] = hex_byte(context.flags.bits());
    let fields = [&b"00"[..], &context.trace_id.hex(), &context.span_id.hex(), &[flags_high, flags_low]];
    let mut at = 0usize;
    for field in fields {
        let end = at.saturating_add(field.len());
        if let Some(place) = out.get_mut(at..end) {
            place.copy_from_slice(field);
        }
        at = end.saturating_add(1);
    }
    out
}

/// Splits off `length` bytes and the dash behind them.
fn field(text: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (field, rest) = text.split_at_checked(length)?;
    Some((field, rest.strip_prefix(b"-")?))
}

fn hex_byte(byte: u8) -> [u8; 2] {
    let mut out = [b'0'; 2];
    let _ = hex::encode_to_slice([byte], &mut out);
    out
}

/// The context of `traceparent`, without `tracestate`, which is read later and only for the context that is continued.
pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    let header = headers.get(Name::TraceParent);
    let context = parse(header.first()?)?;
    if matches!(header, Seen::Repeated(_))
        && !headers.trace_parents().all(|other| parse(other).is_some_and(|other| other.trace_id == context.trace_id))
    {
        return None;
    }
    let sampled = if context.flags.sampled() { Sampled::Accept } else { Sampled::Deny };
    let extracted = Extracted::new(Format::TraceContext, context.trace_id, Some(context.span_id), sampled);
    Some(Extracted { random: context.flags.random(), ..extracted })
}

/// The contexts of the second and any further `traceparent`, where [`extract`] finds one.
pub(super) fn other_parents(headers: &TraceHeaders<'_, '_>) -> impl Iterator<Item = SpanContext> {
    headers.trace_parents().skip(1).filter_map(parse)
}

/// Writes `traceparent`, and `tracestate` if it has members. A `tracestate` with the same members stays as it
/// came, unless one of several headers is empty.
pub(super) fn write(outgoing: &Outgoing<'_>, trace_state: &TraceState, edits: &mut Edits<'_, '_, '_>) {
    let flags = Flags::new(outgoing.flag(), outgoing.context.flags.random());
    let context = SpanContext { flags, ..outgoing.context };
    edits.set(Name::TraceParent, &format(&context));
    if trace_state.is_empty() {
        edits.remove(Name::TraceState);
    } else if !edits.headers().has_trace_state(trace_state) || edits.headers().has_empty_trace_state() {
        edits.set(Name::TraceState, trace_state.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const S: &str = "00f067aa0ba902b7";

    #[test]
    fn a_header_is_a_context_or_ignored() {
        // `{t}` and `{s}` stand for a valid trace id and span id; the expected value is the flags.
        let table: &[(&str, Option<u8>, &str)] = &[
            ("00-{t}-{s}-00", Some(0), "not sampled"),
            ("00-{t}-{s}-01", Some(1), "sampled"),
            ("00-{t}-{s}-02", Some(2), "random (level 2)"),
            ("00-{t}-{s}-03", Some(3), "both"),
            ("00-{t}-{s}-09", Some(1), "unknown flags are masked"),
            ("00-{t}-{s}-ff", Some(3), "all flags"),
            ("00-{t}-{s}-fe", Some(2), "all but sampled"),
            ("00-{t}-{s}-01-", None, "version 00 has exactly 55 bytes: no trailing dash"),
            ("00-{t}-{s}-01.", None, "no trailing dot"),
            ("00-{t}-{s}-01-what-the-future", None, "no other field"),
            ("00-{t}-{s}-0100", None, "no longer flags"),
            ("01-{t}-{s}-01", Some(1), "the next version"),
            ("02-{t}-{s}-00", Some(0), "a future version, not sampled"),
            ("02-{t}-{s}-08", Some(0), "a future version, unknown flag"),
            ("02-{t}-{s}-09", Some(1), "a future version, unknown flag and sampled"),
            ("02-{t}-{s}-00-XYZxsf09", Some(0), "a future version with another field"),
            ("03-{t}-{s}-00-", Some(0), "a future version, a dash follows"),
            ("cc-{t}-{s}-01", Some(1), "a far version"),
            ("cc-{t}-{s}-01-what-the-future-will-be-like", Some(1), "a far version with a field"),
            ("cc-{t}-{s}-01.what-the-future-will-be-like", None, "what follows the flags must be a dash"),
            ("cc-{t}-{s}-0", None, "too short for any version"),
            ("fe-{t}-{s}-01", Some(1), "the last version"),
            ("ff-{t}-{s}-01", None, "version ff is forbidden"),
            ("FF-{t}-{s}-01", None, "upper-case version"),
            ("A0-{t}-{s}-01", None, "upper-case version"),
            ("qw-{t}-{s}-01", None, "no hex version"),
            (".0-{t}-{s}-01", None, "illegal version character"),
            ("0.-{t}-{s}-01", None, "illegal version character"),
            ("0-{t}-{s}-01", None, "version too short"),
            ("000-{t}-{s}-01", None, "version too long"),
            ("0000-{t}-{s}-01", None, "version too long"),
            ("00-00000000000000000000000000000000-{s}-01", None, "zero trace id"),
            ("00-.bf92f3577b34da6a3ce929d0e0e4736-{s}-01", None, "illegal trace id character"),
            ("00-4bf92f3577b34da6a3ce929d0e0e473.-{s}-01", None, "illegal trace id character"),
            ("00-qwf92f3577b34da6a3ce929d0e0e4736-{s}-01", None, "no hex trace id"),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-{s}-01", None, "upper-case trace id"),
            ("00-4bf92f3577b34da6a3ce929d0e0e47366-{s}-01", None, "trace id of 33"),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-{s}-01", None, "trace id of 31"),
            ("00-{t}-0000000000000000-01", None, "zero parent id"),
            ("00-{t}-.0f067aa0ba902b7-01", None, "illegal parent id character"),
            ("00-{t}-qwf067aa0ba902b7-01", None, "no hex parent id"),
            ("00-{t}-00F067AA0BA902B7-01", None, "upper-case parent id"),
            ("00-{t}-00f067aa0ba902b71-01", None, "parent id of 17"),
            ("00-{t}-00f067aa0ba902b-01", None, "parent id of 15"),
            ("00-{t}-{s}", None, "no flags"),
            ("00-{t}-{s}-", None, "empty flags"),
            ("00-{t}-{s}-1", None, "flags too short"),
            ("00-{t}-{s}-001", None, "flags too long"),
            ("00-{t}-{s}-.0", None, "illegal flags character"),
            ("00-{t}-{s}-0.", None, "illegal flags character"),
            ("00-{t}-{s}-A1", None, "upper-case flags"),
            ("00-{t}-{s}-qw", None, "no hex flags"),
            ("00_{t}_{s}_01", None, "other separators"),
            ("", None, "empty"),
            ("-", None, "a dash"),
        ];
        for (input, expected, why) in table {
            let input = input.replace("{t}", T).replace("{s}", S);
            let parsed = parse(input.as_bytes());
            assert_eq!(parsed.map(|context| context.flags.bits()), *expected, "{why}: {input}");
            if let Some(context) = parsed {
                assert_eq!((context.trace_id.to_string().as_str(), context.span_id.to_string().as_str()), (T, S));
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_text_is_no_digit() {
        let mut value = format!("00-{T}-{S}-01").into_bytes();
        for at in 0..value.len() {
            let before = std::mem::replace(&mut value[at], 0xff);
            assert_eq!(parse(&value), None, "byte {at}");
            value[at] = before;
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1u128.., span in 1u64.., bits in 0u8..4) {
            let context = SpanContext {
                trace_id: TraceId::new(trace.to_be_bytes()).expect("not zero"),
                span_id: SpanId::from_u64(span).expect("not zero"),
                flags: Flags::from_bits(bits),
            };
            let text = format(&context);
            prop_assert_eq!(parse(&text), Some(context));
            prop_assert_eq!(text.to_vec(), format!("00-{trace:032x}-{span:016x}-{bits:02x}").into_bytes());
        }

        #[test]
        fn any_bytes_are_survived(value in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(parse(&value), None);
        }
    }
}
