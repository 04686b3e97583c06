//! `x-datadog-*` (DataDog/dd-trace-go, `ddtrace/tracer/textmap.go`; DataDog/system-tests, `tests/parametric`).
//!
//! ```text
//! x-datadog-trace-id          = 1*DIGIT                    the lower 64 bits of the trace id, not zero
//! x-datadog-parent-id         = 1*DIGIT                    64 bits; zero or absent only from Synthetics
//! x-datadog-sampling-priority = [ "-" ] 1*DIGIT
//! x-datadog-tags              = tag *( "," tag )           tag = key "=" value
//! ```
//! - The tag `_dd.p.tid`, 16 lower-case hex digits, is the upper half of the trace id. A malformed one is discarded and the
//!   ids are kept.
//! - A priority above 0 is sampled (1 automatically, 2 by the user), others are not; absent or malformed is deferred.
//! - `x-datadog-origin` passes untouched.
//! - A `dd` member of `tracestate` (`s:` priority, `p:` last parent, `t.dm:` who decided) is changed to agree with the
//!   headers.

use super::edits::Edits;
use super::format::Format;
use super::header_name::Name;
use super::model::{Extracted, Outgoing};
use super::trace_headers::{Seen, TraceHeaders};
use super::tracestate::TraceState;
use crate::context::Sampled;
use crate::http::headers::trim;
use crate::http::number::parse_decimal;
use crate::id::{SpanId, TraceId, decode_lower_hex};
use std::borrow::Cow;

const TRACE_ID_TAG: &[u8] = b"_dd.p.tid=";
const DECISION_TAG: &[u8] = b"_dd.p.dm=";

/// Bytes of `x-datadog-tags` that we write (Datadog's own default limit); further tags are left out whole.
const MAX_TAGS: usize = 512;

/// The context; `None` if the ids are malformed.
pub(super) fn extract(headers: &TraceHeaders<'_, '_>) -> Option<Extracted> {
    let low = parse_decimal(headers.get(Name::DatadogTraceId).once()?).filter(|low| *low != 0)?;
    let trace_id = TraceId::from_halves(high_half(headers).unwrap_or(0), low)?;
    let span_id = match headers.get(Name::DatadogParentId) {
        Seen::Absent => None,
        parent => SpanId::from_u64(parse_decimal(parent.once()?)?),
    };
    if span_id.is_none() && !headers.first(b"x-datadog-origin").is_some_and(|origin| origin.starts_with(b"synthetics"))
    {
        return None;
    }
    let sampled = match priority(headers) {
        Some(1..) => Sampled::Accept,
        Some(_) => Sampled::Deny,
        None => Sampled::Defer,
    };
    Some(Extracted::new(Format::Datadog, trace_id, span_id, sampled))
}

fn high_half(headers: &TraceHeaders<'_, '_>) -> Option<u64> {
    let tid = tags(headers).find_map(|tag| tag.strip_prefix(TRACE_ID_TAG))?;
    decode_lower_hex(tid).map(u64::from_be_bytes)
}

fn tags<'a>(headers: &TraceHeaders<'_, 'a>) -> impl Iterator<Item = &'a [u8]> {
    headers.get(Name::DatadogTags).once().unwrap_or_default().split(|byte| *byte == b',').map(trim)
}

fn priority(headers: &TraceHeaders<'_, '_>) -> Option<i8> {
    parse_priority(headers.get(Name::DatadogPriority).once()?)
}

fn parse_priority(text: &[u8]) -> Option<i8> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether the format can carry this context: the lower half of the trace id must not be zero.
pub(super) fn can_say(outgoing: &Outgoing<'_>) -> bool {
    outgoing.context.trace_id.low64() != 0
}

/// Writes ids, priority and tags, or removes them all if the format cannot carry the context.
pub(super) fn write(outgoing: &Outgoing<'_>, edits: &mut Edits<'_, '_, '_>) {
    let trace_id = outgoing.context.trace_id;
    if !can_say(outgoing) {
        let all = [Name::DatadogTraceId, Name::DatadogParentId, Name::DatadogPriority, Name::DatadogTags];
        return all.into_iter().for_each(|name| edits.remove(name));
    }
    let headers = edits.headers();
    let continued = extract(headers).is_some_and(|old| old.trace_id.is_same_trace(trace_id));
    let before = priority(headers).filter(|_| continued);
    let priority = resolve(outgoing.sampled, before.or_else(|| member_priority(outgoing.trace_state)));
    let tags = new_tags(headers, trace_id, continued, before == priority);
    edits.set(Name::DatadogTraceId, trace_id.low64().to_string().as_bytes());
    edits.set(Name::DatadogParentId, outgoing.context.span_id.to_u64().to_string().as_bytes());
    edits.set_or_remove(
        Name::DatadogPriority,
        priority.map(|priority| priority.to_string()).as_deref().map(str::as_bytes),
    );
    edits.set_or_remove(Name::DatadogTags, Some(&*tags).filter(|tags| !tags.is_empty()));
}

/// A priority that agrees with the decision stays. Else it becomes 0 or 1, or 2 (by the user) for debug.
fn resolve(sampled: Sampled, before: Option<i8>) -> Option<i8> {
    let keep = sampled.decision()?;
    let plain = match sampled {
        Sampled::Debug => 2,
        _ => i8::from(keep),
    };
    before.filter(|before| (*before > 0) == keep && sampled != Sampled::Debug).or(Some(plain))
}

/// The upper half of the trace id, then the other tags of the same trace. The tag that says who decided stays only if the
/// decision does.
fn new_tags(headers: &TraceHeaders<'_, '_>, trace_id: TraceId, continued: bool, same_priority: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if trace_id.high64() != 0 {
        out.extend_from_slice(TRACE_ID_TAG);
        out.extend_from_slice(format!("{:016x}", trace_id.high64()).as_bytes());
    }
    for tag in tags(headers).filter(|_| continued) {
        let stale = tag.starts_with(TRACE_ID_TAG) || (tag.starts_with(DECISION_TAG) && !same_priority);
        let clean = tag.contains(&b'=') && tag.iter().all(|byte| matches!(byte, 0x20..=0x7e));
        if !stale && clean && out.len().saturating_add(tag.len()) < MAX_TAGS {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(tag);
        }
    }
    out
}

fn member_priority(trace_state: &TraceState) -> Option<i8> {
    let member = trace_state.get("dd")?;
    member.split(|byte| *byte == b';').find_map(|part| part.strip_prefix(b"s:")).and_then(parse_priority)
}

/// `tracestate` with a `dd` member that agrees with the headers: the priority that is sent, and the span of this proxy as last
/// parent. Without such a member, or if nothing changes, it is returned as it was.
pub(super) fn in_step<'a>(outgoing: &Outgoing<'a>) -> Cow<'a, TraceState> {
    let state = outgoing.trace_state;
    let Some(old) = state.get("dd") else { return Cow::Borrowed(state) };
    let before = member_priority(state);
    let priority = resolve(outgoing.sampled, before).or(before);
    let mut parts: Vec<Cow<'_, [u8]>> = Vec::new();
    for part in old.split(|byte| *byte == b';') {
        match part {
            [b's', b':', ..] => parts.extend(priority.map(|priority| format!("s:{priority}").into_bytes().into())),
            [b'p', b':', ..] => parts.push(format!("p:{}", outgoing.context.span_id).into_bytes().into()),
            [b't', b'.', b'd', b'm', b':', ..] if before != priority => {}
            part => parts.push(part.into()),
        }
    }
    let new = parts.join(&b';');
    if new == old {
        return Cow::Borrowed(state);
    }
    let mut state = state.clone();
    state.set("dd", new);
    Cow::Owned(state)
}

#[cfg(test)]
mod tests {
    use super::super::model::Reading;
    use super::super::test_support;
    use super::super::test_support::{S, T, headers, reading, show};
    use super::*;

    // The halves of `T`, and `S`, in decimal.
    const LOW: &str = "11803532876627986230";
    const PARENT: &str = "67667974448284343";

    #[test]
    fn the_headers_are_a_context_or_ignored() {
        let short = "0000000000000000a3ce929d0e0e4736";
        let ids = format!("x-datadog-trace-id: {LOW}\nx-datadog-parent-id: {PARENT}\n");
        let table: &[(&str, &str, &str)] = &[
            ("{ids}", "{short} {s} defer", "no priority: deferred"),
            ("{ids}x-datadog-sampling-priority: 1", "{short} {s} accept", "automatic keep"),
            ("{ids}x-datadog-sampling-priority: 2", "{short} {s} accept", "kept by the user"),
            ("{ids}x-datadog-sampling-priority: 0", "{short} {s} deny", "automatic drop"),
            ("{ids}x-datadog-sampling-priority: -1", "{short} {s} deny", "dropped by the user"),
            ("{ids}x-datadog-sampling-priority: -2", "{short} {s} deny", "dropped by a limit"),
            ("{ids}x-datadog-sampling-priority: x", "{short} {s} defer", "malformed: deferred"),
            ("{ids}x-datadog-tags: _dd.p.tid=4bf92f3577b34da6", "{t} {s} defer", "128 bits"),
            ("{ids}x-datadog-tags: _dd.p.dm=-1, _dd.p.tid=4bf92f3577b34da6", "{t} {s} defer", "among other tags"),
            ("{ids}x-datadog-tags: _dd.p.tid=4bf92f3577b34da", "{short} {s} defer", "too short: discarded"),
            ("{ids}x-datadog-tags: _dd.p.tid=4bf92f3577b34da61", "{short} {s} defer", "too long: discarded"),
            ("{ids}x-datadog-tags: _dd.p.tid=4BF92F3577B34DA6", "{short} {s} defer", "upper case: discarded"),
            ("{ids}x-datadog-tags: _dd.p.tid=xbf92f3577b34da6", "{short} {s} defer", "bogus: discarded"),
            ("{ids}x-datadog-tags: _dd.p.tid=0000000000000000", "{short} {s} defer", "zero"),
            ("x-datadog-trace-id: {low}\nx-datadog-parent-id: 0", "-", "parent zero"),
            ("x-datadog-trace-id: {low}", "-", "parent missing"),
            (
                "x-datadog-trace-id: {low}\nx-datadog-parent-id: 0\nx-datadog-origin: synthetics",
                "{short} - defer",
                "Synthetics has no parent",
            ),
            ("x-datadog-trace-id: 0\nx-datadog-parent-id: 1", "-", "trace zero"),
            ("x-datadog-trace-id: 18446744073709551616\nx-datadog-parent-id: 1", "-", "beyond 64 bits"),
            ("x-datadog-trace-id: -1\nx-datadog-parent-id: 1", "-", "negative"),
            ("x-datadog-trace-id: a3ce929d0e0e4736\nx-datadog-parent-id: 1", "-", "hex"),
            ("{ids}x-datadog-trace-id: 5", "-", "repeated"),
            ("x-datadog-parent-id: 1", "-", "trace missing"),
        ];
        for (input, expected, why) in table {
            let text = show(&input.replace("{ids}", &ids).replace("{low}", LOW));
            let found = extract(&TraceHeaders::new(&headers(&text))).map(Reading::Context);
            assert_eq!(reading(found), show(&expected.replace("{short}", short)), "{why}: {input}");
        }
    }

    /// Name and value of what is written for `T`, `S` and a state, over the given headers.
    fn written(before: &str, sampled: Sampled) -> String {
        let context = test_support::context();
        let outgoing = Outgoing { context, sampled, trace_state: &TraceState::empty() };
        let before = show(&before.replace("{low}", LOW));
        let before = headers(&before);
        let headers = TraceHeaders::new(&before);
        let mut edits = Edits::new(&headers);
        write(&outgoing, &mut edits);
        test_support::text(&test_support::apply(&before, &edits.into_vec()))
    }

    #[test]
    fn ids_are_decimal_and_the_upper_half_travels_as_a_tag() {
        let ids = format!("x-datadog-trace-id: {LOW}\nx-datadog-parent-id: {PARENT}\n");
        let tid = "x-datadog-tags: _dd.p.tid=4bf92f3577b34da6";
        let same = "x-datadog-trace-id: {low}\nx-datadog-parent-id: 5\n";
        let table: &[(String, Sampled, String, &str)] = &[
            (String::new(), Sampled::Accept, "x-datadog-sampling-priority: 1\n{tid}".into(), "plain keep"),
            (String::new(), Sampled::Deny, "x-datadog-sampling-priority: 0\n{tid}".into(), "plain drop"),
            (String::new(), Sampled::Debug, "x-datadog-sampling-priority: 2\n{tid}".into(), "debug"),
            (String::new(), Sampled::Defer, "{tid}".into(), "deferred: no priority"),
            (
                format!("{same}x-datadog-sampling-priority: 2\nx-datadog-tags: _dd.p.dm=-4,_dd.p.usr=x"),
                Sampled::Accept,
                "x-datadog-sampling-priority: 2\n{tid},_dd.p.dm=-4,_dd.p.usr=x".into(),
                "a priority that agrees stays, with who decided",
            ),
            (
                format!("{same}x-datadog-sampling-priority: 2\nx-datadog-tags: _dd.p.dm=-4,_dd.p.usr=x"),
                Sampled::Deny,
                "x-datadog-sampling-priority: 0\n{tid},_dd.p.usr=x".into(),
                "one that does not is replaced, and who decided goes",
            ),
            (
                "x-datadog-trace-id: 7\nx-datadog-parent-id: 5\nx-datadog-sampling-priority: 2\n\
                 x-datadog-tags: _dd.p.dm=-4"
                    .into(),
                Sampled::Accept,
                "x-datadog-sampling-priority: 1\n{tid}".into(),
                "another trace leaves nothing behind",
            ),
            (
                format!("{same}x-datadog-tags: _dd.p.tid=0000000000000001,a=\u{7f},b,c=1"),
                Sampled::Defer,
                "{tid}".into(),
                "a stale upper half names another trace",
            ),
            (
                format!("{same}x-datadog-tags: _dd.p.tid=bad,a=\u{7f},b,c=1"),
                Sampled::Defer,
                "{tid},c=1".into(),
                "a malformed one does not; only clean tags pass",
            ),
        ];
        for (before, sampled, expected, why) in table {
            let expected = format!("{ids}{}", expected.replace("{tid}", tid));
            assert_eq!(written(before, *sampled), expected.trim(), "{why}");
        }
    }

    #[test]
    fn the_dd_member_is_kept_in_step_with_the_decision() {
        let table: &[(&str, Sampled, &str, &str)] = &[
            ("a=1", Sampled::Accept, "a=1", "no member: none is made up"),
            ("a=1,dd=s:2;o:rum", Sampled::Accept, "a=1,dd=s:2;o:rum", "agrees: untouched"),
            ("a=1,dd=s:2;t.dm:-4;o:rum", Sampled::Deny, "dd=s:0;o:rum,a=1", "who decided goes with the decision"),
            ("a=1,dd=s:-1;t.dm:-4", Sampled::Accept, "dd=s:1,a=1", "kept after all"),
            ("dd=s:0;p:0123456789abcdef;t.x:y", Sampled::Deny, "dd=s:0;p:{s};t.x:y", "our span is the last parent"),
            ("dd=t.x:y", Sampled::Deny, "dd=t.x:y", "no priority: none is made up"),
            ("dd=s:what", Sampled::Deny, "dd=s:0", "a malformed priority is replaced"),
        ];
        for (before, sampled, expected, why) in table {
            let trace_state = &TraceState::parse([before.as_bytes()]);
            let outgoing = Outgoing { context: test_support::context(), sampled: *sampled, trace_state };
            assert_eq!(in_step(&outgoing).as_str(), show(expected), "{why}");
        }
    }

    #[test]
    fn the_decimals_of_these_tests_are_right() {
        assert_eq!(LOW.parse::<u64>().map(|low| format!("{low:016x}")).as_deref(), Ok(T.split_at(16).1));
        assert_eq!(PARENT.parse::<u64>().map(|id| format!("{id:016x}")).as_deref(), Ok(S));
    }
}
