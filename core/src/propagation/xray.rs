//! `x-amzn-trace-id` (AWS X-Ray, "Tracing header").
//!
//! ```text
//! value = field *( ";" field ) [ ";" ]      field = key "=" value, any order, each key once
//! Root    = "1-" 8 hex digits "-" 24 hex digits    the trace id, without its dashes; required
//! Parent  = 16 hex digits                          absent behind a load balancer: there is no parent span then
//! Sampled = "1" / "0" / "?"                        "?" or absent: deferred
//! ```
//! All hex digits are lower case. Other fields (`Self`, `Lineage`, …) are kept as long as the trace stays the same.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::TraceHeaders;
use crate::context::Sampled;
use crate::http::headers::trim;
use crate::http::number::parse_hex;
use crate::id::{SpanId, TraceId};

/// Bytes of a header that we write; further fields are left out whole.
const MAX_LENGTH: usize = 1024;

/// The context that a header value names; `None` if it is malformed. A malformed parent counts as absent; the trace is continued.
pub(super) fn parse(value: &[u8]) -> Option<Extracted> {
    let (mut root, mut parent, mut sampled) = (None, None, None);
    for field in fields(value) {
        let (key, value) = field?;
        let slot = match key {
            b"Root" => &mut root,
            b"Parent" => &mut parent,
            b"Sampled" => &mut sampled,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let sampled = match sampled {
        Some(b"1") => Sampled::Accept,
        Some(b"0") => Sampled::Deny,
        _ => Sampled::Defer,
    };
    Some(Extracted::new(Format::XRay, trace_id(root?)?, parent.and_then(SpanId::from_hex), sampled))
}

fn trace_id(root: &[u8]) -> Option<TraceId> {
    let (time, rest) = root.strip_prefix(b"1-")?.split_at_checked(8)?;
    let unique = rest.strip_prefix(b"-").filter(|unique| unique.len() == 24)?;
    if root.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let id = (parse_hex(time, 8)? << 96) | parse_hex(unique, 24)?;
    TraceId::new(id.to_be_bytes())
}

/// Key and value of each field that is not empty; `None` for one without an equals sign.
fn fields(value: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    value.split(|byte| *byte == b';').map(trim).filter(|field| !field.is_empty()).map(|field| {
        let equals = field.iter().position(|byte| *byte == b'=')?;
        Some((trim(field.get(..equals)?), trim(field.get(equals.saturating_add(1)..)?)))
    })
}

pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    parse(headers.get(Name::XAmznTraceId).once()?)
}

/// Writes `x-amzn-trace-id`, with the other fields of a header that names the same trace.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let context = &outgoing.context;
    let id = context.trace_id.to_string();
    let (time, unique) = id.split_at_checked(8).unwrap_or_default();
    let sampled = match outgoing.sampled {
        Sampled::Accept | Sampled::Debug => "1",
        Sampled::Deny => "0",
        Sampled::Defer => "?",
    };
    let mut value = format!("Root=1-{time}-{unique};Parent={};Sampled={sampled}", context.span_id).into_bytes();
    let old = edits.headers().get(Name::XAmznTraceId).once().unwrap_or_default();
    if parse(old).is_some_and(|old| old.trace_id.is_same_trace(context.trace_id)) {
        fields(old).flatten().for_each(|(key, text)| keep(key, text, &mut value));
    }
    edits.set(Name::XAmznTraceId, &value);
}

fn keep(key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let field = [b";", key, b"=", text].concat();
    let ours = matches!(key, b"Root" | b"Parent" | b"Sampled");
    let clean = field.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    if !ours && clean && out.len().saturating_add(field.len()) <= MAX_LENGTH {
        out.extend_from_slice(&field);
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Reading;
    use super::super::test_support::{reading, show};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_a_context_or_ignored() {
        let root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736";
        let table: &[(&str, &str, &str)] = &[
            ("{root};Parent={s};Sampled=1", "{t} {s} accept", "sampled"),
            ("{root};Parent={s};Sampled=0", "{t} {s} deny", "not sampled"),
            ("{root};Parent={s};Sampled=?", "{t} {s} defer", "asked: deferred"),
            ("{root};Parent={s}", "{t} {s} defer", "absent: deferred"),
            ("{root};Parent={s};Sampled=other", "{t} {s} defer", "unknown: deferred"),
            ("Sampled=1;Parent={s};{root}", "{t} {s} accept", "any order"),
            ("{root};Parent={s};Sampled=1;", "{t} {s} accept", "trailing semicolon"),
            ("{root} ; Parent = {s} ; Sampled=1", "{t} {s} accept", "white space"),
            ("{root};Sampled=1", "{t} - accept", "no parent behind a load balancer"),
            ("{root}", "{t} - defer", "root alone"),
            ("{root};Parent=garbage", "{t} - defer", "a malformed parent is none"),
            ("{root};Parent=bad-spanid;Sampled=1", "{t} - accept", "and the trace goes on"),
            ("{root};Parent=0000000000000000;Sampled=1", "{t} - accept", "a zero parent is none"),
            ("{root};Self=1-58406520-bf42676c05e20ba4a90e448e;Parent={s};Sampled=1", "{t} {s} accept", "Self"),
            ("{root};Parent={s};Sampled=1;Random=Value", "{t} {s} accept", "unknown fields"),
            ("{root};BrokenKeyValue;Sampled=1", "-", "a field without an equals sign"),
            ("{root};{root};Sampled=1", "-", "two roots"),
            ("", "-", "empty"),
            ("Sampled=1", "-", "no root"),
            ("Sampled=1;Self=foo", "-", "no root, with Self"),
            ("Parent={s};Sampled=1", "-", "no root, with a parent"),
            ("Root=1-bogus-bad", "-", "bogus root"),
            ("Root=1-too-many-parts", "-", "too many parts"),
            ("Root=1-abc-123;Parent={s};Sampled=1", "-", "root too short"),
            ("Root=14bf92f3577b34da6a3ce929d0e0e4736;Parent={s}", "-", "no delimiters"),
            ("Root=2-4bf92f35-77b34da6a3ce929d0e0e4736;Parent={s}", "-", "another version"),
            ("Root=1-4BF92F35-77b34da6a3ce929d0e0e4736;Parent={s}", "-", "upper case"),
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e47366;Parent={s}", "-", "root too long"),
            ("Root=1-00000000-000000000000000000000000;Parent={s}", "-", "zero"),
        ];
        for (input, expected, why) in table {
            let text = show(&input.replace("{root}", root));
            assert_eq!(reading(parse(text.as_bytes()).map(Reading::Context)), show(expected), "{why}: {input}");
        }
    }

    proptest! {
        #[test]
        fn of_any_bytes_only_those_with_a_root_are_accepted(value in prop::collection::vec(any::<u8>(), 0..80), text in "[Rot=1;a-f-]{0,60}") {
            for value in [&value[..], text.as_bytes()] {
                prop_assert!(parse(value).is_none() || value.windows(4).any(|window| window == b"Root"));
            }
        }
    }
}
