//! Properties of the room as a whole, over headers that are valid, broken and of any bytes, in any configuration.

use super::extract::extract;
use super::format::{Format, extracted, injected, rewritable};
use super::inject::edits;
use super::model::Outgoing;
use super::test_support::{apply, borrow};
use super::trace_headers::TraceHeaders;
use super::tracestate::TraceState;
use crate::config::{Dialect, Propagation, Trust};
use crate::context::{Flags, Sampled, SpanContext};
use crate::http::headers::{Header, HeaderEdit};
use crate::id::{SpanId, TraceId};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const DIALECTS: [Dialect; 8] = [
    Dialect::TraceContext,
    Dialect::B3,
    Dialect::B3Multi,
    Dialect::Jaeger,
    Dialect::Datadog,
    Dialect::XRay,
    Dialect::Gcp,
    Dialect::OtTrace,
];

const NAMES: [&str; 22] = [
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
    "x-datadog-origin",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "ot-tracer-traceid",
    "ot-tracer-spanid",
    "ot-tracer-sampled",
    "baggage",
    "uberctx-a",
    "x-request-id",
];

/// Ids that meet often: the same trace in full and short, another that shares its lower half, and one that shares nothing.
fn trace() -> impl Strategy<Value = String> {
    select(vec![
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "a3ce929d0e0e4736",
        "0000000000000000a3ce929d0e0e4736",
        "1111111111111111a3ce929d0e0e4736",
        "0af7651916cd43dd8448eb211c80319c",
        "00000000000000000000000000000000",
    ])
    .prop_map(str::to_owned)
}

fn span() -> impl Strategy<Value = String> {
    select(vec!["00f067aa0ba902b7", "b7ad6b7169203331", "0000000000000000"]).prop_map(str::to_owned)
}

/// Values that make sense somewhere, so that a good share of them is valid where it lands.
fn sensible() -> impl Strategy<Value = Vec<u8>> {
    let state = select(vec!["", "-0", "-1", "-d", "-x", "-1-00f067aa0ba902b7"]);
    prop_oneof![
        (trace(), span(), "0[0-3]").prop_map(|(t, s, f)| format!("00-{t}-{s}-{f}")),
        (trace(), span(), state).prop_map(|(t, s, f)| format!("{t}-{s}{f}")),
        (trace(), span(), "[0-4]").prop_map(|(t, s, f)| format!("{t}:{s}:0:{f}")),
        (trace(), 0u64..3, "(;o=[01])?").prop_map(|(t, s, f)| format!("{t}/{s}{f}")),
        (trace(), span(), "[01?]").prop_filter_map("long ids", |(t, s, f)| {
            let (time, unique) = t.split_at_checked(8).filter(|_| t.len() == 32)?;
            Some(format!("Root=1-{time}-{unique};Parent={s};Sampled={f};Self=1-2"))
        }),
        trace(),
        span(),
        "(dd=s:[012];p:0;t.dm:-1)?(,ot=th:[0-9a-f]{1,3})?(,a=1){0,3}",
        "_dd.p.tid=4bf92f3577b34da6(,_dd.p.dm=-1)?(,_dd.p.x=[a-z]{1,600})?",
        select(vec!["0", "1", "2", "-1", "d", "true", "false", "", "synthetics", "11803532876627986230", "5"])
            .prop_map(str::to_owned),
    ]
    .prop_map(String::into_bytes)
}

/// A value for a name that takes it, mostly.
fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    let fitting = prop_oneof![
        (trace(), span(), "0[0-3]").prop_map(|(t, s, f)| ("traceparent", format!("00-{t}-{s}-{f}"))),
        "(dd=s:[012];p:0;t.dm:-1)?(,ot=th:[0-9a-f]{1,3})?(,a=1){0,3}".prop_map(|v| ("tracestate", v)),
        (trace(), span(), select(vec!["", "-0", "-1", "-d"])).prop_map(|(t, s, f)| ("b3", format!("{t}-{s}{f}"))),
        trace().prop_map(|t| ("x-b3-traceid", t)),
        span().prop_map(|s| ("x-b3-spanid", s)),
        (trace(), span(), "[013]").prop_map(|(t, s, f)| ("uber-trace-id", format!("{t}:{s}:0:{f}"))),
    ]
    .prop_map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let any_value = prop_oneof![2 => sensible(), 1 => prop::collection::vec(any::<u8>(), 0..80)];
    prop_oneof![2 => fitting, 1 => (select(NAMES.to_vec()).prop_map(str::to_owned), any_value)]
}

fn any_headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop::collection::vec(header(), 0..8)
}

fn any_config() -> impl Strategy<Value = Propagation> {
    let order = || subsequence(DIALECTS.to_vec(), 0..=8).prop_shuffle();
    let trust = select(vec![Trust::Continue, Trust::Restart, Trust::Ignore]);
    (order(), order(), trust).prop_map(|(extract, inject, trust)| Propagation {
        extract,
        inject,
        trust,
        ..Propagation::default()
    })
}

/// A context to send: mostly the very trace that may have come in.
fn outgoing() -> impl Strategy<Value = (SpanContext, Sampled, TraceState)> {
    let trace = prop_oneof![Just(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736), Just(1 << 64), 1u128..];
    let sampled = select(vec![Sampled::Accept, Sampled::Deny, Sampled::Debug]);
    let state = "(ot=th:[0-9a-f]{1,3})?(,a=1)?(,b=2)?";
    (trace, 1u64.., any::<bool>(), sampled, state).prop_map(|(trace, span, random, sampled, state)| {
        let context = SpanContext {
            trace_id: TraceId::new(trace.to_be_bytes()).expect("not zero"),
            span_id: SpanId::from_u64(span).expect("not zero"),
            flags: Flags::new(sampled != Sampled::Deny, random),
        };
        (context, sampled, TraceState::parse([state.as_bytes()]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_was_sent_is_what_the_next_hop_reads_in_any_order(
        before in any_headers(),
        config in any_config(),
        (context, sampled, trace_state) in outgoing(),
        order in Just(DIALECTS.to_vec()).prop_shuffle(),
    ) {
        let headers = borrow(&before);
        let outgoing = Outgoing { context, sampled, trace_state: &trace_state };
        let incoming = extract(&TraceHeaders::new(&headers), &config);
        let after = apply(&headers, &edits(&TraceHeaders::new(&headers), &incoming, &outgoing, &config));

        // The next hop reads what this hop writes, in an order of its own.
        let written = incoming.present.union(config.inject.iter().map(|dialect| injected(*dialect)).collect());
        let reads = |dialect: &Dialect| extracted(*dialect).iter().any(|format| written.contains(*format));
        let next = Propagation { extract: order.into_iter().filter(reads).collect(), ..Propagation::default() };
        let found = extract(&TraceHeaders::new(&borrow(&after)), &next);

        prop_assert!(found.links.is_empty(), "two headers disagree: {found:?}");
        let without_halves = written.iter().all(|format| matches!(format, Format::Datadog | Format::OtTrace));
        if written.is_empty() || (without_halves && context.trace_id.low64() == 0) {
            prop_assert_eq!(found.extracted, None);
            return Ok(());
        }
        let found = found.extracted.expect("something was sent");
        prop_assert_eq!(found.sampled.decision(), sampled.decision());
        prop_assert_eq!(found.span_id, Some(context.span_id));
        prop_assert!(found.trace_id.is_same_trace(context.trace_id));
        if written.iter().any(|format| format != Format::OtTrace) {
            prop_assert_eq!(found.trace_id, context.trace_id);
        }
        if written.contains(Format::TraceContext) {
            prop_assert_eq!(found.random, context.flags.random());
            prop_assert_eq!(found.trace_state, trace_state);
        }
        let speaks_debug = [Format::B3Single, Format::B3Multi, Format::Jaeger];
        if speaks_debug.into_iter().any(|format| written.contains(format)) {
            prop_assert_eq!(found.sampled, sampled);
        }
    }

    #[test]
    fn edits_made_once_need_not_be_made_again(
        before in any_headers(),
        config in any_config(),
        (context, sampled, trace_state) in outgoing(),
        defer in any::<bool>(),
        dd in any::<bool>(),
    ) {
        let headers = borrow(&before);
        let mut trace_state = trace_state;
        if dd {
            trace_state.set("dd", "s:1;p:0;t.dm:-1");
        }
        let sampled = if defer { Sampled::Defer } else { sampled };
        let outgoing = Outgoing { context, sampled, trace_state: &trace_state };
        let incoming = extract(&TraceHeaders::new(&headers), &config);
        let list = edits(&TraceHeaders::new(&headers), &incoming, &outgoing, &config);
        for edit in &list {
            prop_assert_eq!(list.iter().filter(|other| other.name() == edit.name()).count(), 1);
            if let HeaderEdit::Set(name, value) = edit {
                prop_assert!(!value.is_empty() && value.iter().all(|byte| (0x20..=0x7e).contains(byte)), "{name}");
            }
        }
        let after = apply(&headers, &list);
        let again = borrow(&after);
        prop_assert_eq!(edits(&TraceHeaders::new(&again), &extract(&TraceHeaders::new(&again), &config), &outgoing, &config), []);
        prop_assert_eq!(edits(&TraceHeaders::new(&again), &incoming, &outgoing, &config), []);
    }

    #[test]
    fn headers_that_are_not_ours_pass_byte_for_byte(
        before in any_headers(),
        config in any_config(),
        (context, sampled, trace_state) in outgoing(),
    ) {
        let headers = borrow(&before);
        let outgoing = Outgoing { context, sampled, trace_state: &trace_state };
        let after = apply(&headers, &edits(&TraceHeaders::new(&headers), &extract(&TraceHeaders::new(&headers), &config), &outgoing, &config));
        let ours = rewritable(&config);
        let foreign = |(name, _): &&(String, Vec<u8>)| {
            !TraceHeaders::new(&[Header::new(name, "")]).formats().iter().any(|format| ours.contains(format))
        };
        prop_assert_eq!(after.iter().filter(foreign).collect::<Vec<_>>(), before.iter().filter(foreign).collect::<Vec<_>>());
    }

    #[test]
    fn a_caller_that_is_not_trusted_decides_nothing(before in any_headers(), config in any_config()) {
        let found = extract(&TraceHeaders::new(&borrow(&before)), &config);
        if config.trust != Trust::Continue {
            prop_assert_eq!((&found.extracted, found.instruction), (&None, None));
        }
        if config.trust == Trust::Ignore {
            prop_assert!(found.links.is_empty());
        }
        prop_assert!(found.links.len() <= DIALECTS.len());
        prop_assert!(found.extracted.is_none() || found.instruction.is_none());
    }
}
