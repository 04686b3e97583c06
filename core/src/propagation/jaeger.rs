//! `uber-trace-id` (Jaeger, "Client Libraries: Propagation Format"; deprecated, read for those who still send it).
//!
//! ```text
//! value = trace-id ":" span-id ":" parent-span-id ":" flags      may be URL-encoded: "%3A" for ":"
//! ```
//! Hex numbers without padding: a trace id of 1 to 32 digits, a span id of 1 to 16, neither zero. The parent id is
//! deprecated, ignored, and sent as `0`. Flags: 0x01 sampled, 0x02 debug, which counts only together with sampled.
//! Baggage (`uberctx-*`) passes untouched.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::TraceHeaders;
use crate::context::Sampled;
use crate::http::number::parse_hex;
use crate::id::{SpanId, TraceId};
use std::borrow::Cow;

const MAX_LENGTH: usize = 256;

/// The context that a header value names; `None` if it is malformed.
pub(super) fn parse(value: &[u8]) -> Option<Extracted> {
    let value = decode(value)?;
    let mut fields = value.split(|byte| *byte == b':');
    let (trace_id, span_id) = (fields.next()?, fields.next()?);
    let (_parent, flags) = (fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let trace_id = TraceId::new(parse_hex(trace_id, 32)?.to_be_bytes())?;
    let span_id = SpanId::from_u64(u64::try_from(parse_hex(span_id, 16)?).ok()?)?;
    let flags = parse_hex(flags, 16)?;
    let sampled = match (flags & 1 != 0, flags & 2 != 0) {
        (true, true) => Sampled::Debug,
        (true, false) => Sampled::Accept,
        (false, _) => Sampled::Deny,
    };
    Some(Extracted::new(Format::Jaeger, trace_id, Some(span_id), sampled))
}

/// Decodes `%3A`. A valid value contains no other character that would be encoded.
fn decode(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if value.len() > MAX_LENGTH {
        return None;
    }
    if !value.contains(&b'%') {
        return Some(Cow::Borrowed(value));
    }
    let mut parts = value.split(|byte| *byte == b'%');
    let mut out = parts.next()?.to_vec();
    for part in parts {
        out.push(b':');
        out.extend_from_slice(part.strip_prefix(b"3A").or_else(|| part.strip_prefix(b"3a"))?);
    }
    Some(Cow::Owned(out))
}

pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    parse(headers.get(Name::UberTraceId).once()?)
}

/// Writes `uber-trace-id`. The format cannot defer a decision: such a context is sent with its own sampled flag.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let context = &outgoing.context;
    let flags: &[u8] = match outgoing.sampled {
        Sampled::Debug => b":0:3",
        _ if outgoing.flag() => b":0:1",
        _ => b":0:0",
    };
    edits.set(Name::UberTraceId, &[&context.trace_id.hex(), &b":"[..], &context.span_id.hex(), flags].concat());
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
            ("{t}:{s}:0:0", "{t} {s} deny", "not sampled"),
            ("{t}:{s}:0:1", "{t} {s} accept", "sampled"),
            ("{t}:{s}:0:3", "{t} {s} debug", "debug"),
            ("{t}:{s}:0:2", "{t} {s} deny", "debug counts only with sampled"),
            ("{t}:{s}:0:00001", "{t} {s} accept", "flags of any length"),
            ("{t}:{s}:0:ff", "{t} {s} debug", "flags are hex"),
            ("{t}:{s}:0:11", "{t} {s} accept", "flags are hex, not decimal: 0x11 has no 0x02"),
            ("{t}:{s}:whatever:1", "{t} {s} accept", "the parent id is read over"),
            ("{t}:{s}::1", "{t} {s} accept", "also an empty one"),
            ("{t}%3A{s}%3A0%3A1", "{t} {s} accept", "URL-encoded"),
            ("{t}%3a{s}%3a0%3a1", "{t} {s} accept", "URL-encoded in lower case"),
            ("{t}%3A{s}:0%3A1", "{t} {s} accept", "half encoded"),
            ("3ce929d0e0e4736:{s}:0:1", "000000000000000003ce929d0e0e4736 {s} accept", "60 bits"),
            ("a3ce929d0e0e4736:{s}:0:1", "0000000000000000a3ce929d0e0e4736 {s} accept", "64 bits"),
            ("{t}:7:0:1", "{t} 0000000000000007 accept", "a short span id"),
            ("{t}0000:{s}:0:1", "-", "trace id of 36"),
            ("{t}:{s}0000:0:1", "-", "span id of 20"),
            ("zcd00v0000000000a3ce929d0e0e4736:{s}:0:1", "-", "bogus trace id"),
            ("{t}:00f0wiredba902b7:0:1", "-", "bogus span id"),
            ("{t}:{s}:0:wired", "-", "bogus flags"),
            ("{t}:{s}:0:", "-", "empty flags"),
            ("{t}:{s}:0", "-", "no flags"),
            ("{t}:{s}:0:1:", "-", "a fifth field"),
            ("{t}-{s}-0-1", "-", "other separators"),
            ("{t}%2D{s}%3A0%3A1", "-", "other encoded characters"),
            ("{t}%3A{s}%3A0%3", "-", "half a percent sign"),
            ("0:{s}:0:1", "-", "zero trace id"),
            ("{t}:0:0:1", "-", "zero span id"),
            ("", "-", "empty"),
        ];
        for (input, expected, why) in table {
            let parsed = parse(show(input).as_bytes()).map(Reading::Context);
            assert_eq!(reading(parsed), show(expected), "{why}: {input}");
        }
        assert_eq!(parse(show(&format!("{{t}}:{{s}}:{}:1", "0".repeat(300))).as_bytes()), None, "bounded");
    }

    proptest! {
        #[test]
        fn of_any_bytes_only_four_fields_are_accepted(value in prop::collection::vec(any::<u8>(), 0..300), text in "[0-9a-f:%A]{0,60}") {
            for value in [&value[..], text.as_bytes()] {
                let text = String::from_utf8_lossy(value).to_ascii_lowercase().replace("%3a", ":");
                prop_assert!(parse(value).is_none() || text.matches(':').count() == 3);
            }
        }
    }
}
