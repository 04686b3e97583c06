//! The trace headers of Envoy's own tracers: what came in, and which of it a tracer has replaced when the request ended.
//!
//! Envoy's OpenTelemetry tracer writes `traceparent` and `tracestate`. Its Zipkin tracer writes `x-b3-*`, and `traceparent` as well
//! with `trace_context_option: USE_B3_WITH_W3C_PROPAGATION`. It leaves a single `b3` header as it came. Each gives the request a
//! span id of its own, so the format whose span id has changed is the one that the tracer writes. Headers of other
//! formats are stale: applications forward them, and nobody changes them.

use super::format::Format;
use super::model::{Extracted, Reading};
use super::trace_headers::TraceHeaders;
use super::{b3_multi, b3_single, traceparent};
use crate::context::Sampled;

/// The formats that a native tracer may write. If it writes several, they name the same span, and the first of them counts.
const FORMATS: [Format; 3] = [Format::TraceContext, Format::B3Multi, Format::B3Single];

/// The contexts of a request in each format that a native tracer may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeContexts {
    /// In the order of [`FORMATS`].
    contexts: [Option<Extracted>; 3],
    /// The decision of B3 headers without ids.
    pub instruction: Option<Sampled>,
    /// Headers of one of the formats came, but they are not valid.
    pub invalid: bool,
}

// === impl NativeContexts ===

impl NativeContexts {
    /// Reads all three formats. Without any trace header nothing is allocated.
    pub fn new(headers: &TraceHeaders<'_, '_>) -> Self {
        let mut found = Self::default();
        for (place, format) in found.contexts.iter_mut().zip(FORMATS) {
            if !headers.formats().contains(format) {
                continue;
            }
            match read(format, headers) {
                Some(Reading::Context(context)) => *place = Some(context),
                Some(Reading::State(state)) => found.instruction = found.instruction.or(Some(state)),
                None => found.invalid = true,
            }
        }
        found
    }

    /// The context of the caller, as far as it is known before a native tracer has written: that of `format`, else the first one.
    pub fn caller(&self, format: Option<Format>) -> Option<&Extracted> {
        let preferred = format.and_then(|format| self.iter().find(|context| context.format == format));
        preferred.or_else(|| self.iter().next())
    }

    /// What a native tracer has sent: the first context in `now` that these headers did not have. `None`: nobody has
    /// changed anything.
    pub fn sent(&self, now: Self) -> Option<Extracted> {
        let changed = now.contexts.into_iter().zip(&self.contexts).filter_map(|(now, before)| {
            let ids = |context: &Extracted| (context.trace_id, context.span_id);
            now.filter(|now| before.as_ref().map(ids) != Some(ids(now)))
        });
        changed.into_iter().next()
    }

    /// The caller's context in the trace of `sent`: that of the same format, else of another one; `None` if the trace starts
    /// here.
    pub fn parent_of(&self, sent: &Extracted) -> Option<&Extracted> {
        let same = || self.iter().filter(|context| context.trace_id.is_same_trace(sent.trace_id));
        same().find(|context| context.format == sent.format).or_else(|| same().next())
    }

    /// Whether the caller asks for debugging, in whichever form of B3.
    pub fn asks_for_debugging(&self) -> bool {
        self.instruction == Some(Sampled::Debug) || self.iter().any(|context| context.sampled == Sampled::Debug)
    }

    fn iter(&self) -> impl Iterator<Item = &Extracted> {
        self.contexts.iter().flatten()
    }
}

fn read(format: Format, headers: &TraceHeaders<'_, '_>) -> Option<Reading> {
    match format {
        Format::B3Single => b3_single::extract(headers),
        Format::B3Multi => b3_multi::extract(headers),
        _ => traceparent::extract(headers)
            .map(|context| Reading::Context(Extracted { trace_state: headers.trace_state(), ..context })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{extracted, headers, show};
    use super::*;

    fn contexts(text: &str) -> NativeContexts {
        let text = show(text);
        NativeContexts::new(&TraceHeaders::new(&headers(&text)))
    }

    fn shown(context: Option<&Extracted>) -> String {
        context.map_or_else(
            || "-".to_owned(),
            |context| format!("{:?} {} {}", context.format, extracted(context), context.trace_state).trim().to_owned(),
        )
    }

    #[test]
    fn what_has_changed_was_sent_and_what_came_in_its_trace_is_the_parent() {
        let w3c = "traceparent: 00-{t}-{s}-00";
        let b3 = "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0";
        // What came, what is there at the end, what was sent, its parent.
        let table: &[(&str, &str, &str, &str, &str)] = &[
            ("", "", "-", "-", "no tracer, no caller"),
            (w3c, w3c, "-", "-", "no tracer: nothing changed"),
            (w3c, "{w3c}\ntracestate: a=1", "-", "-", "a changed state alone is not a span"),
            ("", w3c, "TraceContext {t} {s} deny", "-", "a trace starts here"),
            (
                w3c,
                "traceparent: 00-{t}-{v}-01\ntracestate: a=1",
                "TraceContext {t} {v} accept a=1",
                "TraceContext {t} {s} deny",
                "OpenTelemetry's tracer",
            ),
            (
                b3,
                "x-b3-traceid: {t}\nx-b3-spanid: {v}\nx-b3-parentspanid: {s}\nx-b3-sampled: 1",
                "B3Multi {t} {v} accept",
                "B3Multi {t} {s} deny",
                "Zipkin's",
            ),
            (
                "traceparent: 00-{u}-{s}-01\n{b3}",
                "traceparent: 00-{u}-{s}-01\nx-b3-traceid: {t}\nx-b3-spanid: {v}\nx-b3-sampled: 0",
                "B3Multi {t} {v} deny",
                "B3Multi {t} {s} deny",
                "a stale traceparent of another trace",
            ),
            (
                "traceparent: 00-{t}-{s}-01\nb3: {u}-{s}-1",
                "traceparent: 00-{t}-{v}-00\nb3: {u}-{s}-1",
                "TraceContext {t} {v} deny",
                "TraceContext {t} {s} accept",
                "a stale b3 of another trace",
            ),
            (
                "b3: {t}-{s}-1",
                "b3: {t}-{s}-1\nx-b3-traceid: {t}\nx-b3-spanid: {v}\nx-b3-sampled: 1",
                "B3Multi {t} {v} accept",
                "B3Single {t} {s} accept",
                "Zipkin's tracer reads one header and writes several",
            ),
            (
                "b3: {t}-{s}-1",
                "b3: {t}-{v}-0",
                "B3Single {t} {v} deny",
                "B3Single {t} {s} accept",
                "a tracer that writes one header",
            ),
            (
                "b3: {t}-{s}-1",
                "b3: {t}-{s}-1\ntraceparent: 00-{u}-{v}-00",
                "TraceContext {u} {v} deny",
                "-",
                "a tracer that does not read what came starts a trace",
            ),
            (
                b3,
                "x-b3-traceid: {t}\nx-b3-spanid: {v}\nx-b3-sampled: 1\ntraceparent: 00-{t}-{v}-01",
                "TraceContext {t} {v} accept",
                "B3Multi {t} {s} deny",
                "Zipkin's tracer that writes both",
            ),
            (w3c, "traceparent: bogus", "-", "-", "what cannot be read was not sent"),
            ("traceparent: bogus", "traceparent: bogus", "-", "-", "a tracer that gives up leaves it"),
        ];
        for (came, ended, sent, parent, why) in table {
            let fill = |text: &str| text.replace("{w3c}", w3c).replace("{b3}", b3);
            let came = contexts(&fill(came));
            let found = came.sent(contexts(&fill(ended)));
            assert_eq!(shown(found.as_ref()), show(sent), "{why}");
            let found = found.as_ref().and_then(|found| came.parent_of(found));
            assert_eq!(shown(found), show(parent), "{why}: parent");
        }
    }

    #[test]
    fn before_the_end_the_caller_is_that_of_the_format_that_the_tracer_is_known_to_write() {
        let both = contexts("traceparent: 00-{t}-{s}-01\nb3: {u}-{s}-0\nx-b3-traceid: {u}\nx-b3-spanid: {v}");
        let table = [
            (None, "TraceContext {t} {s} accept"),
            (Some(Format::TraceContext), "TraceContext {t} {s} accept"),
            (Some(Format::B3Multi), "B3Multi {u} {v} defer"),
            (Some(Format::B3Single), "B3Single {u} {s} deny"),
        ];
        for (format, expected) in table {
            assert_eq!(shown(both.caller(format)), show(expected), "{format:?}");
        }
        let one = contexts("b3: {u}-{s}-0");
        assert_eq!(shown(one.caller(Some(Format::TraceContext))), show("B3Single {u} {s} deny"), "what there is");
        assert_eq!(contexts("").caller(None), None);
    }

    #[test]
    fn debugging_and_what_cannot_be_read_are_noticed() {
        let table = [
            ("", false, false),
            ("traceparent: 00-{t}-{s}-01", false, false),
            ("b3: d", true, false),
            ("traceparent: 00-{t}-{s}-01\nx-b3-flags: 1", true, false),
            ("b3: {t}-{s}-d", true, false),
            ("b3: 1", false, false),
            ("traceparent: bogus", false, true),
            ("traceparent: 00-{t}-{s}-01\nb3: bogus", false, true),
        ];
        for (text, debug, invalid) in table {
            let found = contexts(text);
            assert_eq!((found.asks_for_debugging(), found.invalid), (debug, invalid), "{text}");
        }
    }
}
