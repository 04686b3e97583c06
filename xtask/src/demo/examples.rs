//! Which traces are shown: at most one of each kind.

use super::access_log::{EntriesByTrace, LogEntry, path_to_failure};
use super::account::sampled_at_first;
use super::adjusted_count::{self, AdjustedCount};
use super::traffic::B3_CLIENT_TRACE;
use sidespan_harness::ReceivedSpan;
use std::collections::{BTreeMap, BTreeSet};

/// A trace that is shown as an example.
#[derive(Clone, Debug)]
pub(super) struct ExampleTrace<'a> {
    /// A short headline.
    pub title: &'static str,
    /// One or two sentences: what happened, and why the trace is complete.
    pub explanation: String,
    /// Its id.
    pub trace_id: &'a str,
    /// What the access logs say, in the order of the hops.
    pub entries: &'a [LogEntry],
    /// Its exported spans.
    pub spans: Vec<&'a ReceivedSpan>,
}

/// A kind of trace: how it is recognised, and what is said about it.
struct Example {
    title: &'static str,
    wanted: fn(&ExampleTrace<'_>) -> bool,
    explanation: fn(&ExampleTrace<'_>, head: f64) -> String,
}

/// Failures come first, because these are the reason for the filter.
const EXAMPLES: &[Example] = &[
    Example {
        title: "A failed request",
        wanted: |trace| trace.is_late_failure() && !trace.is_answered() && !trace.has_flags(),
        explanation: |_, head| {
            format!(
                "Head sampling at {head} % did not select this request. It failed, so every span from the root to the error was exported, each with probability 1."
            )
        },
    },
    Example {
        title: "A failure that the client did not see",
        wanted: |trace| trace.is_late_failure() && trace.is_answered() && !trace.has_flags(),
        explanation: |_, _| {
            "The database failed, but the backend answered 200. The filter tells the callers by a response header, so their spans were exported too.".to_owned()
        },
    },
    Example {
        title: "A connection that was reset",
        wanted: |trace| trace.is_late_failure() && trace.is_answered() && trace.has_flags(),
        explanation: |_, _| {
            "The database reset the connection, and the backend answered 200. A request without a response is an error, so the whole path was exported.".to_owned()
        },
    },
    Example {
        title: "A successful request, selected by head sampling",
        wanted: |trace| {
            !trace.is_b3_client() && sampled_at_first(trace.entries) && !trace.failed() && trace.spans.len() >= 6
        },
        explanation: |trace, head| {
            let stands = format!(
                "It was selected with a probability of {head} %, so it stands for {:.0} requests.",
                100.0 / head
            );
            let unknown = "An application on the path does not forward tracestate, so the probability is unknown from there on (see the headers below).";
            if trace.has_probabilities() { stands } else { format!("{stands} {unknown}") }
        },
    },
    Example {
        title: "A client that sends B3 headers",
        wanted: |trace| trace.is_b3_client(),
        explanation: |trace, _| {
            let first = "The client sends B3 headers with a 64-bit trace id and a sampled flag, but no probability.";
            let services = trace.spans.iter().map(|span| span.service()).collect::<BTreeSet<_>>().len();
            format!(
                "{first} The headers below show what each application forwards. It is one trace of {services} services all the same."
            )
        },
    },
];

/// At most one example of each kind. `head` is the rate of head sampling in percent.
pub(super) fn choose<'a>(traces: &'a EntriesByTrace, spans: &'a [ReceivedSpan], head: f64) -> Vec<ExampleTrace<'a>> {
    let mut by_trace: BTreeMap<&str, Vec<&ReceivedSpan>> = BTreeMap::new();
    for span in spans {
        by_trace.entry(&span.trace_id).or_default().push(span);
    }
    let candidates: Vec<ExampleTrace<'a>> = traces
        .iter()
        .filter_map(|(trace_id, entries)| {
            let spans = by_trace.remove(trace_id.as_str())?;
            Some(ExampleTrace { title: "", explanation: String::new(), trace_id, entries, spans })
        })
        .collect();
    let shown = |example: &Example| {
        let found = candidates.iter().find(|candidate| (example.wanted)(candidate))?;
        let explanation = (example.explanation)(found, head);
        Some(ExampleTrace { title: example.title, explanation, ..found.clone() })
    };
    EXAMPLES.iter().filter_map(shown).collect()
}

// === impl ExampleTrace ===

impl ExampleTrace<'_> {
    /// Whether every span says with which probability it was kept.
    pub(super) fn has_probabilities(&self) -> bool {
        self.spans.iter().all(|span| adjusted_count::of(&span.trace_state) != AdjustedCount::Unknown)
    }

    fn is_b3_client(&self) -> bool {
        self.trace_id == B3_CLIENT_TRACE
    }

    fn failed(&self) -> bool {
        self.entries.iter().any(LogEntry::failed)
    }

    /// Whether the client got an answer below 500.
    fn is_answered(&self) -> bool {
        self.entries.first().is_some_and(|first| !first.failed())
    }

    /// Not selected at the start, failed at the last hop, and exported with all spans.
    fn is_late_failure(&self) -> bool {
        let path = path_to_failure(self.entries).len();
        !self.is_b3_client() && path == 6 && !sampled_at_first(self.entries) && self.spans.len() >= path
    }

    /// Whether Envoy has flags for one of the failures, such as `UC` for a reset of the upstream connection.
    fn has_flags(&self) -> bool {
        self.entries.iter().any(|entry| entry.failed() && !entry.flags.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::access_log;
    use crate::demo::test_data::{entries_of, spans_of};

    #[test]
    fn one_trace_of_each_kind_is_shown_and_only_whole_ones() {
        let mut reset = entries_of("reset", &[200, 200, 200, 200, 503, 0], false);
        reset[4].flags = "UC".to_owned();
        let traces = [
            entries_of("healthy", &[200; 6], true),
            entries_of("unsampled", &[200; 6], false),
            entries_of("visible", &[500, 500, 500, 500, 503, 503], false),
            entries_of("lucky", &[500, 500, 500, 500, 503, 503], true),
            entries_of("masked", &[200, 200, 200, 200, 503, 503], false),
            reset,
            entries_of(B3_CLIENT_TRACE, &[200; 6], true),
        ];
        let spans: Vec<ReceivedSpan> = traces.iter().flat_map(|entries| spans_of(entries, "ot=th:0")).collect();
        let map = access_log::by_trace(&traces.concat());
        let shown = |spans: &[ReceivedSpan]| {
            choose(&map, spans, 5.0).iter().map(|example| example.trace_id.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&spans), ["visible", "masked", "reset", "healthy", B3_CLIENT_TRACE]);
        let missing: Vec<_> = spans.into_iter().filter(|span| !span.span_id.starts_with("masked5")).collect();
        assert_eq!(shown(&missing), ["visible", "reset", "healthy", B3_CLIENT_TRACE]);
    }

    #[test]
    fn a_trace_has_probabilities_only_if_every_span_has_one() {
        let entries = entries_of("a", &[200; 2], true);
        let map = access_log::by_trace(&entries);
        let known = spans_of(&entries, "ot=th:8");
        let of = |spans: &[ReceivedSpan]| {
            let spans = spans.iter().collect();
            ExampleTrace { title: "", explanation: String::new(), trace_id: "a", entries: &map["a"], spans }
                .has_probabilities()
        };
        assert!(of(&known));
        let mut unknown = known;
        unknown[1].trace_state.clear();
        assert!(!of(&unknown));
    }
}
