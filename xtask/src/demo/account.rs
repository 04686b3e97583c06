//! The sampling account: compares what happened, by the access logs, with what was exported.

use super::access_log::{self, EntriesByTrace, LogEntry};
use super::adjusted_count::Estimate;
use super::guarantees::Guarantees;
use super::trace_context::Context;
use super::trace_tree::REASON;
use super::traffic::B3_CLIENT_TRACE;
use sidespan_harness::ReceivedSpan;
use std::collections::{BTreeMap, BTreeSet};

/// What was observed, from independent sources.
pub(crate) struct Observations {
    /// Requests the clients sent.
    pub requests: usize,
    /// Entries of Envoy's access logs, one for each request at each listener.
    pub entries: Vec<LogEntry>,
    /// Spans that the receiver decoded.
    pub spans: Vec<ReceivedSpan>,
    /// Export calls the receiver got.
    pub calls: usize,
    /// Bytes of these calls as received, after compression.
    pub bytes: usize,
    /// Sums of the filter's own metrics, by name.
    pub metrics: BTreeMap<String, u64>,
}

/// The result of the comparison.
#[derive(Debug, PartialEq)]
pub(super) struct Account {
    /// Requests the clients sent.
    pub requests: usize,
    /// Requests at all listeners: the number of spans if all were kept.
    pub entries: usize,
    /// Traces in which something failed: those with every span from the root to the failure, of all.
    pub failing: Share,
    /// Failing traces whose client received a status below 500.
    pub masked: usize,
    /// Failing traces that the head rate alone would have kept.
    pub head_only: usize,
    /// Traces in which nothing failed: those with a span, of all.
    pub healthy: Share,
    /// Spans by reason.
    pub reasons: BTreeMap<String, usize>,
    /// Spans received.
    pub spans: usize,
    /// Export calls.
    pub calls: usize,
    /// Bytes of the export calls.
    pub bytes: usize,
    /// Counts that were estimated from spans, beside the true counts.
    pub weighted: Vec<Weighted>,
    /// What the filter's own metrics say about spans.
    pub balance: SpanBalance,
    /// Everything that differs from what is expected, one sentence each.
    pub problems: Vec<String>,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// The part.
    pub of: usize,
    /// The whole.
    pub all: usize,
}

/// One count, estimated from the adjusted counts of spans.
#[derive(Debug, PartialEq)]
pub(super) struct Weighted {
    /// Name of the count.
    pub what: &'static str,
    /// The count by the access logs.
    pub truth: usize,
    /// The estimate from spans.
    pub estimate: Estimate,
}

/// The filter's metrics about spans. They balance if kept = exported + dropped + queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanBalance {
    /// Handed to the exporter.
    pub kept: u64,
    /// Accepted by the receiver.
    pub exported: u64,
    /// Dropped, under any reason.
    pub dropped: u64,
    /// Still in a queue.
    pub queued: u64,
    /// Not kept because of `maxPerSecond`; never handed to the exporter.
    pub capped: u64,
}

/// Spans by trace and id.
pub(super) type Index<'a> = BTreeMap<(&'a str, &'a str), &'a ReceivedSpan>;

// === impl Account ===

impl Account {
    /// Compares the observations; `guarantees` says which invariants the configuration allows to check.
    pub(super) fn of(observations: &Observations, guarantees: &Guarantees) -> Self {
        let traces = access_log::by_trace(&observations.entries);
        let index = index(&observations.spans);
        let (failing, healthy): (Vec<_>, Vec<_>) =
            traces.values().partition(|entries: &&Vec<LogEntry>| entries.iter().any(LogEntry::failed));
        let gaps: Vec<String> = failing.iter().filter_map(|entries| first_gap(entries, &index)).collect();
        let kept_healthy = |entries: &&&Vec<LogEntry>| entries.iter().any(|entry| exported(entry, &index).is_some());
        let answered =
            |entries: &&&Vec<LogEntry>| entries.first().is_some_and(|first| first.hop.is_first() && !first.failed());
        let sampled = |entries: &&&Vec<LogEntry>| sampled_at_first(entries);
        let mut account = Self {
            requests: observations.requests,
            entries: observations.entries.len(),
            failing: Share { of: failing.len() - gaps.len(), all: failing.len() },
            masked: failing.iter().filter(answered).count(),
            head_only: failing.iter().filter(sampled).count(),
            healthy: Share { of: healthy.iter().filter(kept_healthy).count(), all: healthy.len() },
            reasons: reasons(&observations.spans),
            spans: observations.spans.len(),
            calls: observations.calls,
            bytes: observations.bytes,
            weighted: weighted(&observations.entries, &index),
            balance: SpanBalance::of(&observations.metrics),
            problems: Vec::new(),
        };
        account.problems = account.problems(observations, &traces, guarantees);
        if guarantees.whole_path {
            account.problems.extend(gaps);
        }
        account
    }

    fn problems(&self, observations: &Observations, traces: &EntriesByTrace, guarantees: &Guarantees) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |good: bool, problem: String| {
            if !good {
                problems.push(problem)
            }
        };
        let SpanBalance { kept, exported, dropped, queued, .. } = self.balance;
        expect(
            kept == exported + dropped + queued,
            format!(
                "the filter's span metrics do not balance: kept {kept}, exported {exported}, dropped {dropped}, queued {queued}"
            ),
        );
        expect(
            exported == self.spans as u64,
            format!("the filter says that {exported} spans were exported, the receiver got {}", self.spans),
        );
        for span in &observations.spans {
            let at = format!("span {} of trace {}", span.span_id, span.trace_id);
            expect(span.problems.is_empty(), format!("{at} is not valid OTLP: {}", span.problems.join(", ")));
        }
        if guarantees.unique_contexts {
            let at_gateway = observations.entries.iter().filter(|entry| entry.hop.is_first()).count();
            expect(
                traces.len() == at_gateway && at_gateway == self.requests,
                format!("{} requests, {at_gateway} at the gateway, {} traces", self.requests, traces.len()),
            );
            let unmatched = unmatched(&observations.spans, &observations.entries);
            expect(
                unmatched == 0,
                format!("{unmatched} spans belong to no request in the access logs, or were exported twice"),
            );
        }
        if guarantees.exact_errors {
            for Weighted { what, truth, estimate } in self.weighted.iter().filter(|line| line.what != REQUESTS) {
                let exact = estimate.unknown == 0 && (estimate.sum - *truth as f64).abs() < 0.5;
                expect(exact, format!("{what}: {truth} happened, the spans count {:.1}", estimate.sum));
            }
        }
        problems
    }
}

const REQUESTS: &str = "requests without the B3 client";

pub(super) fn index(spans: &[ReceivedSpan]) -> Index<'_> {
    spans.iter().map(|span| ((span.trace_id.as_str(), span.span_id.as_str()), span)).collect()
}

/// The span of a request at a listener. The filter sends the id of its span upstream, so the logged headers hold it.
pub(super) fn exported<'a>(entry: &LogEntry, index: &Index<'a>) -> Option<&'a ReceivedSpan> {
    let Context { trace_id, span_id, .. } = entry.context.as_ref()?;
    index.get(&(trace_id.as_str(), span_id.as_str())).copied()
}

/// The head decision: the sampled flag that the first hop sent.
pub(super) fn sampled_at_first(entries: &[LogEntry]) -> bool {
    entries.first().and_then(|first| first.context.as_ref()).is_some_and(|context| context.sampled)
}

/// The first span that is missing or not linked on the path from the root to the deepest failure; `None` if there is none.
fn first_gap(entries: &[LogEntry], index: &Index<'_>) -> Option<String> {
    let mut parent: Option<&str> = None;
    for entry in access_log::path_to_failure(entries) {
        let context = entry.context.as_ref()?;
        let at = || format!("failing trace {}: {}", context.trace_id, entry.hop.label());
        match exported(entry, index) {
            None => return Some(format!("{} has no span", at())),
            Some(span) if parent.is_some_and(|parent| parent != span.parent_span_id) => {
                return Some(format!("{} is not a child of the hop before it", at()));
            }
            Some(_) => parent = Some(&context.span_id),
        }
    }
    None
}

fn unmatched(spans: &[ReceivedSpan], entries: &[LogEntry]) -> usize {
    let contexts = entries.iter().filter_map(|entry| entry.context.as_ref());
    let mut expected: BTreeSet<(&str, &str)> =
        contexts.map(|context| (context.trace_id.as_str(), context.span_id.as_str())).collect();
    spans.iter().filter(|span| !expected.remove(&(span.trace_id.as_str(), span.span_id.as_str()))).count()
}

fn reasons(spans: &[ReceivedSpan]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for span in spans {
        *reasons.entry(span.text(REASON).unwrap_or("no reason").to_owned()).or_default() += 1;
    }
    reasons
}

/// Leaves out the trace of the B3 client: its sampling decision came without a probability.
fn weighted(entries: &[LogEntry], index: &Index<'_>) -> Vec<Weighted> {
    let own = |entry: &&LogEntry| entry.context.as_ref().is_none_or(|context| context.trace_id != B3_CLIENT_TRACE);
    let count = |what, wanted: &dyn Fn(&LogEntry) -> bool| {
        let happened: Vec<&LogEntry> = entries.iter().filter(own).filter(|entry| wanted(entry)).collect();
        let spans = happened.iter().filter_map(|entry| exported(entry, index));
        Weighted { what, truth: happened.len(), estimate: Estimate::of(spans) }
    };
    vec![
        count(REQUESTS, &|entry| entry.hop.is_first()),
        count("failed at the gateway", &|entry| entry.hop.is_first() && entry.failed()),
        count("failures at all hops", &LogEntry::failed),
    ]
}

// === impl Share, SpanBalance ===

impl Share {
    /// In percent; `None` if the whole is 0.
    pub(super) fn percent(self) -> Option<f64> {
        (self.all > 0).then(|| 100.0 * self.of as f64 / self.all as f64)
    }
}

impl SpanBalance {
    /// Spans that the decision kept but that were not exported: dropped or over the cap.
    pub(super) fn lost(self) -> u64 {
        self.dropped + self.capped
    }

    /// Reads the balance from metrics by name, each summed over all Envoys.
    pub(super) fn of(metrics: &BTreeMap<String, u64>) -> Self {
        let get = |name: &str| metrics.get(name).copied().unwrap_or_default();
        let dropped = metrics.iter().filter(|(name, _)| name.starts_with("sidespan_dropped_")).map(|(_, value)| value);
        Self {
            kept: get("sidespan_spans_kept_total"),
            exported: get("sidespan_spans_exported_total"),
            dropped: dropped.sum(),
            queued: get("sidespan_queue_spans"),
            capped: get("sidespan_capped_total"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::{entries_of, spans_of};

    const ALL_GUARANTEES: Guarantees = Guarantees { whole_path: true, exact_errors: true, unique_contexts: true };

    /// A healthy unsampled trace, a healthy sampled one, a visible failure and a masked one, everything as it should be.
    fn good() -> Observations {
        let unsampled = entries_of("a", &[200; 6], false);
        let sampled = entries_of("b", &[200; 6], true);
        let visible = entries_of("c", &[500, 500, 500, 500, 503, 503], false);
        let masked = entries_of("d", &[200, 200, 200, 200, 503, 503], false);
        let spans: Vec<ReceivedSpan> =
            [spans_of(&sampled, "ot=th:8"), spans_of(&visible, "ot=th:0"), spans_of(&masked, "ot=th:0")].concat();
        let metrics = [("sidespan_spans_kept_total", 18), ("sidespan_spans_exported_total", 18)];
        Observations {
            requests: 4,
            entries: [unsampled, sampled, visible, masked].concat(),
            calls: 2,
            bytes: 1000,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
            spans,
        }
    }

    #[test]
    fn what_happened_is_counted() {
        let account = Account::of(&good(), &ALL_GUARANTEES);
        assert_eq!(account.problems, [""; 0]);
        assert_eq!((account.requests, account.entries, account.spans), (4, 24, 18));
        assert_eq!(account.failing, Share { of: 2, all: 2 });
        assert_eq!((account.masked, account.head_only), (1, 0));
        assert_eq!(account.healthy, Share { of: 1, all: 2 });
        let weighted: Vec<_> = account.weighted.iter().map(|line| (line.truth, line.estimate.sum)).collect();
        assert_eq!(weighted, [(4, 4.0), (1, 1.0), (8, 8.0)], "the sampled trace stands for two");
    }

    #[test]
    fn every_deviation_is_reported() {
        type Change = fn(&mut Observations);
        let table: [(Change, &str); 9] = [
            (|observations| drop(observations.spans.remove(6)), "failing trace c: gateway has no span"),
            (|observations| drop(observations.spans.remove(17)), "failing trace d: database inbound has no span"),
            (
                |observations| observations.spans[8].parent_span_id.clear(),
                "failing trace c: frontend outbound is not a child",
            ),
            (
                |observations| observations.spans[6].trace_state = "ot=th:8".to_owned(),
                "failed at the gateway: 1 happened",
            ),
            (|observations| observations.spans[6].trace_state.clear(), "failures at all hops: 8 happened"),
            (|observations| observations.spans[0].span_id = "strange".to_owned(), "1 spans belong to no request"),
            (|observations| observations.spans[0].problems.push("kind 0".to_owned()), "not valid OTLP: kind 0"),
            (
                |observations| observations.metrics.extend([("sidespan_dropped_rejected_total".to_owned(), 1)]),
                "do not balance",
            ),
            (|observations| observations.requests = 5, "5 requests, 4 at the gateway, 4 traces"),
        ];
        for (change, expected) in table {
            let mut observations = good();
            change(&mut observations);
            let problems = Account::of(&observations, &ALL_GUARANTEES).problems;
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
    }

    #[test]
    fn only_what_the_configuration_guarantees_is_checked() {
        let mut observations = good();
        observations.spans.remove(6);
        observations.metrics.insert("sidespan_spans_kept_total".to_owned(), 17);
        observations.metrics.insert("sidespan_spans_exported_total".to_owned(), 17);
        let less = Guarantees { whole_path: false, exact_errors: false, unique_contexts: true };
        let account = Account::of(&observations, &less);
        assert_eq!((account.problems.len(), account.failing), (0, Share { of: 1, all: 2 }));
    }
}
