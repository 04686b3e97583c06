//! `ot-tracer-*` (OpenTracing's basic tracers; OpenTelemetry API, "OT Trace", deprecated).
//!
//! ```text
//! ot-tracer-traceid = 1*32HEXDIG                unpadded, not zero
//! ot-tracer-spanid  = 1*16HEXDIG                unpadded, not zero
//! ot-tracer-sampled = "true" / "false"          also "1" / "0"; absent: deferred
//! ```
//! The trace id is sent as its right-most 16 digits, because the readers of this format expect no more.
//! Baggage (`ot-baggage-*`) passes untouched.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::{Seen, TraceHeaders};
use crate::context::Sampled;
use crate::http::number::parse_hex;
use crate::id::{SpanId, TraceId};

/// The context; `None` if ids or state are malformed.
pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    let trace_id = TraceId::new(parse_hex(headers.get(Name::OtTraceId).once()?, 32)?.to_be_bytes())?;
    let span_id = parse_hex(headers.get(Name::OtSpanId).once()?, 16)?;
    let span_id = SpanId::from_u64(u64::try_from(span_id).ok()?)?;
    let sampled = match headers.get(Name::OtSampled) {
        Seen::Absent => Sampled::Defer,
        sampled => state(sampled.once()?)?,
    };
    Some(Extracted::new(Format::OtTrace, trace_id, Some(span_id), sampled))
}

fn state(text: &[u8]) -> Option<Sampled> {
    match text {
        b"true" | b"1" => Some(Sampled::Accept),
        b"false" | b"0" => Some(Sampled::Deny),
        _ => None,
    }
}

/// Writes the three headers. A trace id whose lower half is zero cannot be written in this format: the headers are removed.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let context = &outgoing.context;
    let trace_id = format!("{:016x}", context.trace_id.low64());
    let valid = context.trace_id.low64() != 0;
    let sampled: Option<&[u8]> = outgoing.sampled.decision().map(|yes| if yes { &b"true"[..] } else { b"false" });
    edits.set_or_remove(Name::OtTraceId, valid.then_some(trace_id.as_bytes()));
    edits.set_or_remove(Name::OtSpanId, valid.then_some(&context.span_id.hex()));
    edits.set_or_remove(Name::OtSampled, sampled.filter(|_| valid));
}

#[cfg(test)]
mod tests {
    use super::super::model::Reading;
    use super::super::test_support::{headers, reading, show};
    use super::*;

    #[test]
    fn the_headers_are_a_context_or_ignored() {
        let short = "0000000000000000a3ce929d0e0e4736";
        let table: &[(&str, &str, &str)] = &[
            ("{t} {s} true", "{t} {s} accept", "128 bits"),
            ("{t} {s} false", "{t} {s} deny", "not sampled"),
            ("{t} {s}", "{t} {s} defer", "no state: deferred"),
            ("a3ce929d0e0e4736 {s} true", "{short} {s} accept", "64 bits"),
            ("a3ce929d0e0e4736 7 true", "{short} 0000000000000007 accept", "an unpadded span id"),
            ("{t} {s} 1", "{t} {s} accept", "a digit"),
            ("{t} {s} yes", "-", "bogus state"),
            ("{t}0 {s} true", "-", "trace id too long"),
            ("{t} {s}0 true", "-", "span id too long"),
            ("qw {s} true", "-", "bogus trace id"),
            ("{t} qw true", "-", "bogus span id"),
            ("0 {s} true", "-", "zero trace id"),
            ("{t} 0 true", "-", "zero span id"),
            ("{t}", "-", "span id missing"),
        ];
        let names = ["ot-tracer-traceid", "ot-tracer-spanid", "ot-tracer-sampled"];
        for (input, expected, why) in table {
            let text: Vec<String> = names.iter().zip(input.split(' ')).map(|(n, v)| format!("{n}: {v}")).collect();
            let text = show(&text.join("\n"));
            let found = extract(&TraceHeaders::new(&headers(&text))).map(Reading::Context);
            assert_eq!(reading(found), show(&expected.replace("{short}", short)), "{why}: {input}");
        }
    }
}
