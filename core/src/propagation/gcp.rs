//! `x-cloud-trace-context` (Google Cloud, the legacy header; GoogleCloudPlatform/opentelemetry-operations-go, `propagator`).
//!
//! ```text
//! value = 32 lower-case hex digits "/" decimal span id [ ";o=" DIGIT ]      span id: 1 to 20 digits, 64 bits, not zero
//! ```
//! Without `;o=` the decision is deferred. Google recommends to read it only where there is no valid `traceparent`
//! (`extract.rs` does this) and not to send it; so it is written where it came in, or where the configuration asks for it.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::TraceHeaders;
use crate::context::Sampled;
use crate::http::number::parse_decimal;
use crate::id::{SpanId, TraceId};

/// The context that a header value names; `None` if it is malformed.
pub(super) fn parse(value: &[u8]) -> Option<Extracted> {
    let (trace_id, rest) = value.split_at_checked(32)?;
    let rest = rest.strip_prefix(b"/")?;
    let (span_id, options) = rest.split_at(rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len()));
    let sampled = match options {
        b"" => Sampled::Defer,
        [b';', b'o', b'=', digit @ b'0'..=b'9'] if digit & 1 == 1 => Sampled::Accept,
        [b';', b'o', b'=', b'0'..=b'9'] => Sampled::Deny,
        _ => return None,
    };
    if span_id.len() > 20 {
        return None;
    }
    let span_id = SpanId::from_u64(parse_decimal(span_id)?)?;
    Some(Extracted::new(Format::Gcp, TraceId::from_hex(trace_id)?, Some(span_id), sampled))
}

pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    parse(headers.get(Name::XCloudTraceContext).once()?)
}

/// Writes `x-cloud-trace-context`.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let options = match outgoing.sampled {
        Sampled::Accept | Sampled::Debug => ";o=1",
        Sampled::Deny => ";o=0",
        Sampled::Defer => "",
    };
    let context = &outgoing.context;
    let value = format!("{}/{}{options}", context.trace_id, context.span_id.to_u64());
    edits.set(Name::XCloudTraceContext, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::model::Reading;
    use super::super::test_support::{reading, show};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_a_context_or_ignored() {
        let table: &[(&str, &str, &str)] = &[
            ("{t}/139592093;o=1", "{t} 000000000852019d accept", "sampled"),
            ("{t}/139592093;o=0", "{t} 000000000852019d deny", "not sampled"),
            ("{t}/139592093", "{t} 000000000852019d defer", "no option: deferred"),
            ("{t}/139592093;o=3", "{t} 000000000852019d accept", "the lowest bit counts"),
            ("{t}/18446744073709551615;o=1", "{t} ffffffffffffffff accept", "the largest span id"),
            ("{t}/00000000000000000007", "{t} 0000000000000007 defer", "20 digits"),
            ("{t}/000000000000000000007", "-", "21 digits"),
            ("{t}/18446744073709551616;o=1", "-", "beyond 64 bits"),
            ("{t}/0;o=1", "-", "zero span id"),
            ("00000000000000000000000000000000/1;o=1", "-", "zero trace id"),
            ("{t}", "-", "no span id"),
            ("{t}/", "-", "empty span id"),
            ("{t}/;o=1", "-", "empty span id with an option"),
            ("{t}/1;", "-", "empty option"),
            ("{t}/1;o=", "-", "option without value"),
            ("{t}/1;o=10", "-", "option too long"),
            ("{t}/1;o=x", "-", "option no digit"),
            ("{t}/1;p=1", "-", "another option"),
            ("{t}/1a;o=1", "-", "hex span id"),
            ("{t}/-1;o=1", "-", "negative span id"),
            ("4BF92F3577B34DA6A3CE929D0E0E4736/1", "-", "upper-case trace id"),
            ("4bf92f3577b34da6/1", "-", "short trace id"),
            ("", "-", "empty"),
        ];
        for (input, expected, why) in table {
            let parsed = parse(show(input).as_bytes()).map(Reading::Context);
            assert_eq!(reading(parsed), show(expected), "{why}: {input}");
        }
    }

    proptest! {
        #[test]
        fn of_any_bytes_only_visible_ascii_is_accepted(value in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(parse(&value).is_none() || value.iter().all(u8::is_ascii_graphic));
        }
    }
}
