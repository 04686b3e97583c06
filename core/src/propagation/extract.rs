//! Which trace a request belongs to: which context is continued, what the other formats add to it, and what becomes a link.

use super::format::{Format, order, rewritable};
use super::model::{Extracted, Incoming, Reading};
use super::trace_headers::TraceHeaders;
use super::{b3_multi, b3_single, datadog, gcp, jaeger, ottrace, traceparent, xray};
use crate::config::{Dialect, Propagation, Trust};
use crate::context::{Sampled, SpanContext};

/// Links to further parents of the same trace, at most.
const MAX_PARENTS: usize = 8;

/// Reads the context of a request. Without any trace header nothing is allocated.
pub fn extract(headers: &TraceHeaders<'_, '_>, config: &Propagation) -> Incoming {
    let present = headers.formats().intersection(rewritable(config));
    if present.is_empty() || config.trust == Trust::Ignore {
        return Incoming { present, ..Incoming::default() };
    }
    let mut incoming = read_all(headers, config);
    incoming.present = present;
    if config.trust == Trust::Restart {
        let distrusted = incoming.extracted.take().and_then(|winner| winner.context());
        incoming.links.splice(0..0, distrusted);
        incoming.instruction = None;
    }
    incoming
}

/// Reads all configured formats in order. `present` and trust are left to the caller.
fn read_all(headers: &TraceHeaders<'_, '_>, config: &Propagation) -> Incoming {
    let mut incoming = Incoming::default();
    let mut with_trace_state = false;
    for format in order(config).filter(|format| headers.formats().contains(*format)) {
        match read(format, headers, config) {
            Some(Reading::Context(context)) => {
                with_trace_state |= incoming.add(context);
                if format == Format::TraceContext {
                    traceparent::other_parents(headers).take(MAX_PARENTS).for_each(|other| incoming.link(Some(other)));
                }
            }
            Some(Reading::State(state)) => incoming.instruction = incoming.instruction.or(Some(state)),
            // Google's header is skipped on purpose where there is a valid `traceparent`.
            None => incoming.invalid |= format != Format::Gcp,
        }
    }
    if let Some(winner) = &mut incoming.extracted {
        // A decision without ids is about this very request: debug is honoured; else the decision beside the ids counts.
        if incoming.instruction.take() == Some(Sampled::Debug) {
            winner.sampled = Sampled::Debug;
        }
        if with_trace_state {
            winner.trace_state = headers.trace_state();
        }
    }
    incoming
}

fn read(format: Format, headers: &TraceHeaders<'_, '_>, config: &Propagation) -> Option<Reading> {
    match format {
        Format::TraceContext => traceparent::extract(headers),
        Format::B3Single => return b3_single::extract(headers),
        Format::B3Multi => return b3_multi::extract(headers),
        Format::Jaeger => jaeger::extract(headers),
        Format::Datadog => datadog::extract(headers),
        Format::XRay => xray::extract(headers),
        // "One-way": read only where there is no valid `traceparent`.
        Format::Gcp if config.extract.contains(&Dialect::TraceContext) && traceparent::extract(headers).is_some() => {
            None
        }
        Format::Gcp => gcp::extract(headers),
        Format::OtTrace => ottrace::extract(headers),
    }
    .map(Reading::Context)
}

// === impl Incoming ===

impl Incoming {
    /// Adds the next context in order. True if it is W3C's and belongs to the trace that is continued.
    fn add(&mut self, context: Extracted) -> bool {
        let w3c = context.format == Format::TraceContext;
        match &mut self.extracted {
            None => self.extracted = Some(context),
            Some(winner) if winner.trace_id.is_same_trace(context.trace_id) => winner.merge(&context),
            Some(_) => {
                self.link(context.context());
                return false;
            }
        }
        w3c
    }

    /// Adds a link, unless this span is the parent or already linked: several headers may name the same one.
    fn link(&mut self, context: Option<SpanContext>) {
        let parent = self.extracted.as_ref().and_then(Extracted::context);
        let known = |new: &SpanContext| {
            let mut others = self.links.iter().chain(&parent);
            others.any(|old| old.span_id == new.span_id && old.trace_id.is_same_trace(new.trace_id))
        };
        let new = context.filter(|new| !known(new));
        self.links.extend(new);
    }
}

// === impl Extracted ===

impl Extracted {
    /// Adds what another format says about the same trace.
    fn merge(&mut self, other: &Self) {
        if other.format == Format::TraceContext {
            (self.trace_id, self.span_id, self.random) = (other.trace_id, other.span_id, other.random);
        } else if self.trace_id.high64() == 0 && self.format != Format::TraceContext {
            // The other id is as long or longer.
            self.trace_id = other.trace_id;
        }
        self.span_id = self.span_id.or(other.span_id);
        if other.sampled == Sampled::Debug {
            self.sampled = Sampled::Debug;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{config, extracted, headers, show};
    use super::*;

    /// `format trace span state [tracestate] [=> link …]`, a bare instruction, or `-`.
    fn incoming(text: &str, config: &Propagation) -> String {
        let text = show(text);
        let incoming = extract(&TraceHeaders::new(&headers(&text)), config);
        assert!(incoming.extracted.is_none() || incoming.instruction.is_none());
        let mut out = match (&incoming.extracted, incoming.instruction) {
            (Some(winner), _) => format!("{:?} {} {}", winner.format, extracted(winner), winner.trace_state),
            (None, Some(state)) => state.as_str().to_owned(),
            (None, None) => "-".to_owned(),
        };
        for link in &incoming.links {
            out = format!("{} => {} {}", out.trim(), link.trace_id, link.span_id);
        }
        out.trim().to_owned()
    }

    #[test]
    fn formats_are_present_if_any_header_of_theirs_came() {
        use Format::*;
        type Case<'a> = (&'a str, &'a [Dialect], &'a [Dialect], &'a [Format], &'a str);
        let table: &[Case<'_>] = &[
            ("x-request-id: 1", &[], &[], &[], "nothing"),
            ("tracestate: a=1", &[], &[], &[TraceContext], "half of W3C"),
            ("b3: what\nx-b3-parentspanid: 1", &[], &[], &[B3Single, B3Multi], "invalid, and not even read"),
            ("uber-trace-id: 1", &[], &[], &[], "an opt-in format that nobody named is none of our business"),
            ("uber-trace-id: 1", &[Dialect::Jaeger], &[], &[Jaeger], "read"),
            ("uber-trace-id: 1", &[], &[Dialect::Jaeger], &[Jaeger], "written"),
            ("x-datadog-origin: rum", &[Dialect::Datadog], &[], &[], "an origin alone is no context"),
        ];
        for (input, extract_from, inject, expected, why) in table {
            for trust in [Trust::Continue, Trust::Restart, Trust::Ignore] {
                let incoming = extract(&TraceHeaders::new(&headers(input)), &config(extract_from, inject, trust));
                assert_eq!(incoming.present.iter().collect::<Vec<_>>(), *expected, "{why}");
            }
        }
    }

    #[test]
    fn the_first_valid_format_wins_and_the_same_trace_is_one() {
        use Dialect::*;
        let w3c_first = &[TraceContext, B3][..];
        let b3_first = &[B3, TraceContext][..];
        let all = &[TraceContext, B3, Jaeger, Datadog, XRay, Gcp, OtTrace][..];
        let w3c = "traceparent: 00-{t}-{s}-00\n";
        let table: &[(&[Dialect], &str, &str, &str)] = &[
            (w3c_first, "", "-", "nothing"),
            (w3c_first, "{w3c}", "TraceContext {t} {s} deny", "W3C alone"),
            (w3c_first, "{w3c}tracestate: a=1\ntracestate: b=2", "TraceContext {t} {s} deny a=1,b=2", "its state"),
            (w3c_first, "{w3c}tracestate: a=1,a=", "TraceContext {t} {s} deny", "a bad state harms only itself"),
            (w3c_first, "tracestate: a=1", "-", "a state without a parent is not read"),
            (w3c_first, "traceparent: 00-{t}-{s}-01-\ntracestate: a=1", "-", "nor is one of a bad parent"),
            (w3c_first, "{w3c}{w3c}tracestate: a=1", "TraceContext {t} {s} deny a=1", "the same traceparent twice"),
            (
                w3c_first,
                "{w3c}traceparent: 00-{t}-{v}-01\ntracestate: a=1",
                "TraceContext {t} {s} deny a=1 => {t} {v}",
                "of two parents in one trace the first counts, the other is a link",
            ),
            (
                w3c_first,
                "traceparent: 00-{t}-{v}-01\n{w3c}{w3c}{w3c}",
                "TraceContext {t} {v} accept => {t} {s}",
                "each once",
            ),
            (
                b3_first,
                "b3: {u}-{v}-1\n{w3c}traceparent: 00-{t}-{v}-01",
                "B3Single {u} {v} accept => {t} {s} => {t} {v}",
                "both are links where another format wins",
            ),
            (
                b3_first,
                "b3: {t}-{v}-1\n{w3c}traceparent: 00-{t}-{v}-01",
                "B3Single {t} {s} accept => {t} {v}",
                "W3C's first id is the parent",
            ),
            (w3c_first, "{w3c}traceparent: 00-{u}-{v}-01", "-", "two traces"),
            (w3c_first, "traceparent: 00-{u}-{v}-01\n{w3c}", "-", "in the other order"),
            (w3c_first, "{w3c}traceparent: bogus", "-", "an invalid one beside a valid one"),
            (w3c_first, "traceparent: bogus\n{w3c}", "-", "in the other order"),
            (
                w3c_first,
                "{w3c}traceparent: 00-{u}-{v}-01\nb3: {u}-{v}-1",
                "B3Single {u} {v} accept",
                "then the next format has its turn",
            ),
            (
                w3c_first,
                "traceparent: bogus\ntracestate: a=1\nb3: {t}-{s}",
                "B3Single {t} {s} defer",
                "without the state",
            ),
            (w3c_first, "b3: {t}-{s}-1\ntracestate: a=1", "B3Single {t} {s} accept", "B3 has no state"),
            (w3c_first, "b3: {l}-{s}-1", "B3Single 0000000000000000{l} {s} accept", "64 bits are padded"),
            (
                w3c_first,
                "b3: {t}-{s}-\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0",
                "B3Multi {t} {s} deny",
                "a malformed single falls back to multi",
            ),
            (
                w3c_first,
                "b3: {t}-{s}-1\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0",
                "B3Single {t} {s} accept",
                "single over multi",
            ),
            (
                w3c_first,
                "b3: {t}-{s}-1\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: invalid",
                "B3Single {t} {s} accept",
                "a malformed multi harms no single",
            ),
            (
                w3c_first,
                "{w3c}b3: {t}-{v}-1",
                "TraceContext {t} {s} deny",
                "the same trace: the winner's ids and state",
            ),
            (b3_first, "{w3c}b3: {t}-{v}-1", "B3Single {t} {s} accept", "W3C's ids and the winner's state"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {t}-{v}-1", "B3Single {t} {s} accept a=1", "and W3C's tracestate"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {l}-{v}-1", "B3Single {t} {s} accept a=1", "the right 64 bits count"),
            (w3c_first, "{w3c}tracestate: a=1\nb3: {l}-{v}-1", "TraceContext {t} {s} deny a=1", "in either order"),
            (w3c_first, "{w3c}b3: {t}-{v}-d", "TraceContext {t} {s} debug", "debug in any of them is debug"),
            (b3_first, "{w3c}b3: {t}-{v}-d", "B3Single {t} {s} debug", "in either order"),
            (
                w3c_first,
                "b3: {t}-{s}-0\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-flags: 1",
                "B3Single {t} {s} debug",
                "also between the two forms of B3",
            ),
            (w3c_first, "{w3c}x-b3-flags: 1", "TraceContext {t} {s} debug", "debug without ids is of this request"),
            (w3c_first, "{w3c}b3: 1", "TraceContext {t} {s} deny", "other states without ids are not"),
            (w3c_first, "{w3c}b3: {u}-{v}-1", "TraceContext {t} {s} deny => {u} {v}", "another trace is a link"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {u}-{v}-1", "B3Single {u} {v} accept => {t} {s}", "W3C too"),
            (
                w3c_first,
                "{w3c}b3: {u}-{v}-d",
                "TraceContext {t} {s} deny => {u} {v}",
                "debug of another trace is not ours",
            ),
            (
                w3c_first,
                "{w3c}b3: {u}-{v}-1\nx-b3-traceid: {u}\nx-b3-spanid: {v}",
                "TraceContext {t} {s} deny => {u} {v}",
                "one link for one span",
            ),
            (w3c_first, "b3: 0", "deny", "a decision without ids"),
            (w3c_first, "b3: 1", "accept", "accept"),
            (w3c_first, "b3: d", "debug", "debug"),
            (w3c_first, "x-b3-sampled: 0", "deny", "multi"),
            (w3c_first, "x-b3-flags: 1", "debug", "multi debug"),
            (w3c_first, "b3: 0\nx-b3-sampled: 1", "deny", "single over multi"),
            (w3c_first, "traceparent: bogus\nb3: 0", "deny", "beside something malformed"),
            (w3c_first, "uber-trace-id: {t}:{s}:0:1", "-", "opt-in formats are not read unasked"),
            (&[TraceContext], "b3: {t}-{s}-1", "-", "nor is B3 if it is left out"),
            (&[B3Multi], "b3: {t}-{s}-1\nx-b3-sampled: 0", "deny", "nor the other form"),
            (&[B3, B3Multi, B3], "b3: {t}-{s}-1", "B3Single {t} {s} accept", "a format named twice counts once"),
            (&[], "{w3c}", "-", "no format at all"),
            (all, "uber-trace-id: {t}:{s}:0:3", "Jaeger {t} {s} debug", "Jaeger"),
            (all, "{w3c}uber-trace-id: {t}:{v}:0:3", "TraceContext {t} {s} debug", "Jaeger's debug"),
            (all, "x-cloud-trace-context: {t}/139592093;o=1", "Gcp {t} 000000000852019d accept", "Google"),
            (all, "{w3c}x-cloud-trace-context: {u}/1;o=1", "TraceContext {t} {s} deny", "Google only without W3C"),
            (
                &[Gcp, TraceContext],
                "{w3c}x-cloud-trace-context: {u}/1;o=1",
                "TraceContext {t} {s} deny",
                "in any order",
            ),
            (
                &[Gcp],
                "{w3c}x-cloud-trace-context: {u}/7;o=1",
                "Gcp {u} 0000000000000007 accept",
                "W3C is not read here",
            ),
            (all, "traceparent: 00\nx-cloud-trace-context: {u}/7", "Gcp {u} 0000000000000007 defer", "nor can it be"),
            (all, "x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", "XRay {t} - defer", "no parent span"),
            (
                &[XRay, B3],
                "x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736\nb3: {t}-{s}-1",
                "XRay {t} {s} defer",
                "the parent comes from the other format",
            ),
            (
                all,
                "b3: {u}-{v}-1\nx-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736",
                "B3Single {u} {v} accept",
                "no span, no link",
            ),
            (
                &[OtTrace, B3],
                "ot-tracer-traceid: {l}\not-tracer-spanid: {v}\nb3: {t}-{s}-1",
                "OtTrace {t} {v} defer",
                "the longer id is the whole one",
            ),
        ];
        for (order, input, expected, why) in table {
            let config = config(order, &[TraceContext], Trust::Continue);
            assert_eq!(incoming(&input.replace("{w3c}", w3c), &config), show(expected), "{why}: {input}");
        }
    }

    #[test]
    fn headers_that_say_nothing_valid_are_noticed_whatever_the_others_say() {
        use Dialect::*;
        let table: &[(&str, bool, &str)] = &[
            ("", false, "nothing"),
            ("traceparent: 00-{t}-{s}-00", false, "valid"),
            ("b3: 0", false, "a decision without ids"),
            ("traceparent: bogus", true, "alone"),
            ("traceparent: bogus\nb3: {t}-{s}-1", true, "beside a valid one"),
            ("traceparent: 00-{t}-{s}-00\nb3: {t}-{s}-", true, "behind the one that wins"),
            ("tracestate: a=1", true, "half of it"),
            ("uber-trace-id: bogus", false, "a format that is not read"),
            ("traceparent: 00-{t}-{s}-00\nx-cloud-trace-context: {u}/1", false, "passed over on purpose"),
        ];
        for (input, expected, why) in table {
            let input = show(input);
            let incoming =
                extract(&TraceHeaders::new(&headers(&input)), &config(&[TraceContext, B3, Gcp], &[], Trust::Continue));
            assert_eq!(incoming.invalid, *expected, "{why}");
        }
    }

    #[test]
    fn a_caller_that_is_not_trusted_is_not_continued() {
        let order = &[Dialect::TraceContext, Dialect::B3][..];
        let input = "traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {u}-{v}-d";
        let table: &[(Trust, &str, &str)] = &[
            (Trust::Continue, input, "TraceContext {t} {s} accept a=1 => {u} {v}"),
            (Trust::Restart, input, "- => {t} {s} => {u} {v}"),
            (Trust::Restart, "b3: d", "-"),
            (Trust::Restart, "traceparent: bogus", "-"),
            (Trust::Ignore, input, "-"),
            (Trust::Ignore, "b3: 0", "-"),
        ];
        for (trust, input, expected) in table {
            assert_eq!(incoming(input, &config(order, &[], *trust)), show(expected), "{trust:?}: {input}");
        }
    }

    #[test]
    fn the_random_flag_is_only_w3cs_to_give() {
        let config = Propagation::default();
        let random = |text: &str| {
            extract(&TraceHeaders::new(&headers(&show(text))), &config).extracted.map(|winner| winner.random)
        };
        assert_eq!(random("traceparent: 00-{t}-{s}-03"), Some(true));
        assert_eq!(random("traceparent: 00-{t}-{s}-01"), Some(false));
        assert_eq!(random("b3: {t}-{s}-1"), Some(false));
        assert_eq!(random("traceparent: 00-{t}-{s}-02\nb3: {u}-{v}-1"), Some(true));
    }
}
