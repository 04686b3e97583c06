//! The edits that tell the next hop one context in every format that it may read.

use super::edits::Edits;
use super::format::{Format, injected};
use super::model::{Incoming, Outgoing};
use super::trace_headers::TraceHeaders;
use super::{b3_multi, b3_single, datadog, gcp, jaeger, ottrace, traceparent, xray};
use crate::config;
use crate::http::headers::HeaderEdit;

/// The edits after which the headers name `outgoing` in every format that came in or is configured, and no other context.
/// A header that is already right gets no edit.
pub fn edits(
    headers: &TraceHeaders<'_, '_>,
    incoming: &Incoming,
    outgoing: &Outgoing<'_>,
    config: &config::Propagation,
) -> Vec<HeaderEdit> {
    let mut edits = Edits::new(headers);
    let formats = incoming.present.union(config.inject.iter().map(|dialect| injected(*dialect)).collect());
    for format in formats.iter() {
        match format {
            Format::TraceContext if formats.contains(Format::Datadog) && datadog::can_say(outgoing) => {
                traceparent::write(outgoing, &datadog::in_step(outgoing), &mut edits);
            }
            Format::TraceContext => traceparent::write(outgoing, outgoing.trace_state, &mut edits),
            Format::B3Single => b3_single::write(outgoing, &mut edits),
            Format::B3Multi => b3_multi::write(outgoing, &mut edits),
            Format::Jaeger => jaeger::write(outgoing, &mut edits),
            Format::Datadog => datadog::write(outgoing, &mut edits),
            Format::XRay => xray::write(outgoing, &mut edits),
            Format::Gcp => gcp::write(outgoing, &mut edits),
            Format::OtTrace => ottrace::write(outgoing, &mut edits),
        }
    }
    edits.into_vec()
}

#[cfg(test)]
mod tests {
    use super::super::extract::extract;
    use super::super::test_support::{S, T, V, apply, config, context, headers, show, text};
    use super::super::tracestate::TraceState;
    use super::*;
    use crate::config::{Dialect, Trust};
    use crate::context::{Flags, Sampled, SpanContext};
    use crate::id::SpanId;

    /// The headers after the edits, for `T`, `V`, a state and a tracestate.
    fn after(input: &str, config: &config::Propagation, sampled: Sampled, trace_state: &str) -> String {
        let input = show(input);
        let before = headers(&input);
        let trace_state = &TraceState::parse([trace_state.as_bytes()]);
        let context = SpanContext { span_id: SpanId::from_hex(V.as_bytes()).expect("valid"), ..context() };
        let outgoing = Outgoing { context, sampled, trace_state };
        let headers = &TraceHeaders::new(&before);
        text(&apply(&before, &edits(headers, &extract(headers, config), &outgoing, config)))
    }

    #[test]
    fn what_leaves_is_what_is_configured_and_what_came() {
        use Dialect::*;
        use Sampled::*;
        let core = &config(&[TraceContext, B3], &[TraceContext], Trust::Continue);
        let to_b3 = &config(&[TraceContext, B3], &[B3, B3Multi], Trust::Continue);
        let none = &config(&[TraceContext, B3], &[], Trust::Continue);
        let all = &[TraceContext, B3, Jaeger, Datadog, XRay, Gcp, OtTrace];
        let read_all = &config(all, &[], Trust::Continue);
        let write_all = &config(&[TraceContext], all, Trust::Continue);
        let multi = "x-b3-traceid: {t}\nx-b3-spanid: {v}";
        let stale = "x-b3-traceid: 1\nx-b3-spanid: {s}\nx-b3-sampled: 1\nx-b3-flags: 0\nx-b3-parentspanid: {s}";
        let root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736";
        let table: &[(&str, &config::Propagation, Sampled, &str, &str, &str)] = &[
            ("", core, Accept, "", "traceparent: 00-{t}-{v}-01", "the configured format"),
            ("", core, Deny, "", "traceparent: 00-{t}-{v}-00", "not sampled"),
            ("", core, Debug, "", "traceparent: 00-{t}-{v}-01", "debug is sampled"),
            ("", core, Defer, "", "traceparent: 00-{t}-{v}-00", "an undecided flag is 0"),
            ("", core, Accept, "ot=th:0", "traceparent: 00-{t}-{v}-01\ntracestate: ot=th:0", "with a state"),
            ("", none, Accept, "ot=th:0", "", "nothing in, nothing configured"),
            ("x-a: 1", none, Accept, "", "x-a: 1", "others stay"),
            ("traceparent: bogus", none, Accept, "", "traceparent: 00-{t}-{v}-01", "an invalid one is rewritten"),
            (
                "traceparent: 1\nx-a: 1\ntraceparent: 2",
                none,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01\nx-a: 1",
                "two are one",
            ),
            ("tracestate: a=1", none, Accept, "", "traceparent: 00-{t}-{v}-01", "a state of no trace goes"),
            (
                "traceparent: 00-{t}-{s}-01\ntracestate:",
                core,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01",
                "an empty one too",
            ),
            (
                "tracestate: a=1,\ntracestate: b=2",
                core,
                Accept,
                "a=1,b=2",
                "tracestate: a=1,\ntracestate: b=2\ntraceparent: 00-{t}-{v}-01",
                "one that says the same stays as it came",
            ),
            (
                "tracestate:\ntracestate: a=1",
                core,
                Accept,
                "a=1",
                "tracestate: a=1\ntraceparent: 00-{t}-{v}-01",
                "but for an empty header beside it",
            ),
            (
                "tracestate: a=1\ntracestate: b=2",
                core,
                Accept,
                "ot=th:0,a=1,b=2",
                "tracestate: ot=th:0,a=1,b=2\ntraceparent: 00-{t}-{v}-01",
                "a changed one is combined",
            ),
            ("b3: {t}-{s}-1-{s}", core, Accept, "", "b3: {t}-{v}-1\ntraceparent: 00-{t}-{v}-01", "no parent id in b3"),
            ("b3: {l}-{s}", core, Deny, "", "b3: {t}-{v}-0\ntraceparent: 00-{t}-{v}-00", "the whole id"),
            ("b3: {t}-{s}-d", core, Debug, "", "b3: {t}-{v}-d\ntraceparent: 00-{t}-{v}-01", "debug stays debug"),
            ("b3: 0", core, Deny, "", "b3: {t}-{v}-0\ntraceparent: 00-{t}-{v}-00", "a bare state gets ids"),
            ("b3: {t}-{s}", none, Defer, "", "b3: {t}-{v}", "a deferred decision stays deferred"),
            (stale, none, Accept, "", "{multi}\nx-b3-sampled: 1", "stale flags and parent go"),
            (stale, none, Deny, "", "{multi}\nx-b3-sampled: 0", "deny"),
            (stale, none, Debug, "", "{multi}\nx-b3-flags: 1", "debug is not sampled as well"),
            (stale, none, Defer, "", "{multi}", "no state"),
            ("x-b3-parentspanid: {s}", none, Accept, "", "{multi}\nx-b3-sampled: 1", "a part of B3 is B3"),
            (
                "b3: {u}-{s}-1\nx-b3-sampled: 0",
                none,
                Accept,
                "",
                "b3: {t}-{v}-1\nx-b3-sampled: 1\n{multi}",
                "both agree",
            ),
            ("", to_b3, Accept, "a=1", "b3: {t}-{v}-1\n{multi}\nx-b3-sampled: 1", "no tracestate without traceparent"),
            (
                "uber-trace-id: {u}:1:0:1\nx-cloud-trace-context: {u}/1",
                core,
                Accept,
                "",
                "uber-trace-id: {u}:1:0:1\nx-cloud-trace-context: {u}/1\ntraceparent: 00-{t}-{v}-01",
                "opt-in ones pass",
            ),
            ("uber-trace-id: {u}:1:0:1", read_all, Accept, "", "uber-trace-id: {t}:{v}:0:1", "unless they are named"),
            (
                "traceparent: 00-{t}-{s}-01\nx-cloud-trace-context: {u}/1",
                read_all,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01\nx-cloud-trace-context: {t}/13235353014750950193;o=1",
                "Google must not disagree",
            ),
            (
                "x-amzn-trace-id: Self=1-a-b;{root};Sampled=?;Lineage=x:1",
                read_all,
                Deny,
                "",
                "x-amzn-trace-id: {root};Parent={v};Sampled=0;Self=1-a-b;Lineage=x:1",
                "other fields are kept",
            ),
            (
                "x-amzn-trace-id: Root=1-0af76519-16cd43dd8448eb211c80319c;Lineage=x:1",
                read_all,
                Defer,
                "",
                "x-amzn-trace-id: {root};Parent={v};Sampled=?",
                "not those of another trace",
            ),
            (
                "baggage: a=1, b\nuberctx-a: \u{e9}\not-baggage-b: 2\nx-datadog-origin: rum",
                read_all,
                Accept,
                "",
                "baggage: a=1, b\nuberctx-a: \u{e9}\not-baggage-b: 2\nx-datadog-origin: rum",
                "baggage passes",
            ),
            (
                "",
                write_all,
                Accept,
                "dd=s:2;p:{s}",
                "traceparent: 00-{t}-{v}-01\ntracestate: dd=s:2;p:{v}\nb3: {t}-{v}-1\nuber-trace-id: {t}:{v}:0:1\n\
                 x-datadog-trace-id: 11803532876627986230\nx-datadog-parent-id: 13235353014750950193\n\
                 x-datadog-sampling-priority: 2\nx-datadog-tags: _dd.p.tid=4bf92f3577b34da6\n\
                 x-amzn-trace-id: {root};Parent={v};Sampled=1\nx-cloud-trace-context: {t}/13235353014750950193;o=1\n\
                 ot-tracer-traceid: {l}\not-tracer-spanid: {v}\not-tracer-sampled: true",
                "all at once",
            ),
        ];
        for (input, config, sampled, trace_state, expected, why) in table {
            let (input, expected) = (input.replace("{root}", root), expected.replace("{root}", root));
            let expected = show(&expected.replace("{multi}", multi));
            assert_eq!(after(&input, config, *sampled, &show(trace_state)), expected, "{why}: {input}");
        }
    }

    #[test]
    fn a_header_that_is_right_is_not_edited() {
        let config = config::Propagation::default();
        let right = show("traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {t}-{s}-1");
        let before = headers(&right);
        let headers = &TraceHeaders::new(&before);
        let incoming = extract(headers, &config);
        let trace_state = &TraceState::parse([&b"a=1"[..]]);
        let outgoing = Outgoing { context: context(), sampled: Sampled::Accept, trace_state };
        assert_eq!(edits(headers, &incoming, &outgoing, &config), []);
    }

    #[test]
    fn a_deferred_context_keeps_the_flag_that_it_was_made_with() {
        let config = config::Propagation::default();
        let context = SpanContext { flags: Flags::new(true, true), ..context() };
        let outgoing = Outgoing { context, sampled: Sampled::Defer, trace_state: &TraceState::empty() };
        let expected = HeaderEdit::Set("traceparent".into(), format!("00-{T}-{S}-03").into_bytes());
        assert_eq!(edits(&TraceHeaders::new(&[]), &Incoming::default(), &outgoing, &config), [expected]);
    }
}
