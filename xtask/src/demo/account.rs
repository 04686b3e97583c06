//! The sampling account: what the access logs say happened, against what was exported.

use super::hop::{self, Context, Journeys, Passage};
use super::promise::Promise;
use super::traffic::GUEST_TRACE;
use super::tree::REASON;
use super::weight::Estimate;
use sidespan_harness::ReceivedSpan;
use std::collections::{BTreeMap, BTreeSet};

/// What was observed, from sources that do not know each other.
pub struct Evidence {
    /// Requests the clients sent.
    pub requests: usize,
    /// By Envoy's access logs.
    pub passages: Vec<Passage>,
    /// What the receiver decoded.
    pub spans: Vec<ReceivedSpan>,
    /// Export calls the receiver got.
    pub calls: usize,
    /// Their bytes on the wire.
    pub bytes: usize,
    /// Sums of the filter's own metrics, by name.
    pub metrics: BTreeMap<String, u64>,
}

/// The sums.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// Requests the clients sent.
    pub requests: usize,
    /// Requests at all listeners: how many spans there would be if all were kept.
    pub passages: usize,
    /// Traces in which something failed.
    pub failing: Share,
    /// Of these, traces of which the client was answered below 500.
    pub masked: usize,
    /// Of the failing ones, those that the head rate alone would have kept.
    pub head_only: usize,
    /// Traces in which nothing failed, and those with a span all the same.
    pub healthy: Share,
    /// Spans by reason.
    pub reasons: BTreeMap<String, usize>,
    /// Spans received.
    pub spans: usize,
    /// Export calls.
    pub calls: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Counted from spans, against the truth.
    pub weighted: Vec<Weighted>,
    /// The filter's books.
    pub books: Books,
    /// What is not as it should be, in words.
    pub problems: Vec<String>,
}

/// Some of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that count.
    pub of: usize,
    /// All.
    pub all: usize,
}

/// One line of counting by weight.
#[derive(Debug, PartialEq)]
pub struct Weighted {
    /// What is counted.
    pub what: &'static str,
    /// By the access logs.
    pub truth: usize,
    /// By the spans.
    pub estimate: Estimate,
}

/// kept = exported + dropped + queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Handed to the exporter.
    pub kept: u64,
    /// Taken by the receiver.
    pub exported: u64,
    /// Lost and counted.
    pub dropped: u64,
    /// Still waiting.
    pub queued: u64,
    /// Over `maxPerSecond`, never handed to the exporter.
    pub capped: u64,
}

/// Spans by trace and id.
type Index<'a> = BTreeMap<(&'a str, &'a str), &'a ReceivedSpan>;

// === impl Account ===

impl Account {
    /// Adds everything up; `promise` says what the configuration lets one expect.
    pub fn of(evidence: &Evidence, promise: &Promise) -> Self {
        let journeys = hop::journeys(&evidence.passages);
        let index = index(&evidence.spans);
        let (failing, healthy): (Vec<_>, Vec<_>) =
            journeys.values().partition(|journey: &&Vec<Passage>| journey.iter().any(Passage::failed));
        let broken: Vec<String> = failing.iter().filter_map(|journey| missing(journey, &index)).collect();
        let kept_healthy = |journey: &&&Vec<Passage>| journey.iter().any(|passage| exported(passage, &index).is_some());
        let answered =
            |journey: &&&Vec<Passage>| journey.first().is_some_and(|first| first.hop.is_first() && !first.failed());
        let sampled = |journey: &&&Vec<Passage>| sampled_at_first(journey);
        let mut account = Self {
            requests: evidence.requests,
            passages: evidence.passages.len(),
            failing: Share { of: failing.len() - broken.len(), all: failing.len() },
            masked: failing.iter().filter(answered).count(),
            head_only: failing.iter().filter(sampled).count(),
            healthy: Share { of: healthy.iter().filter(kept_healthy).count(), all: healthy.len() },
            reasons: reasons(&evidence.spans),
            spans: evidence.spans.len(),
            calls: evidence.calls,
            bytes: evidence.bytes,
            weighted: weighted(&evidence.passages, &index),
            books: Books::of(&evidence.metrics),
            problems: Vec::new(),
        };
        account.problems = account.problems(evidence, &journeys, promise);
        if promise.whole_path {
            account.problems.extend(broken);
        }
        account
    }

    fn problems(&self, evidence: &Evidence, journeys: &Journeys, promise: &Promise) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |good: bool, problem: String| {
            if !good {
                problems.push(problem)
            }
        };
        let Books { kept, exported, dropped, queued, .. } = self.books;
        expect(
            kept == exported + dropped + queued,
            format!("the books do not balance: kept {kept}, exported {exported}, dropped {dropped}, queued {queued}"),
        );
        expect(
            exported == self.spans as u64,
            format!("the filter says that {exported} spans were exported, the receiver got {}", self.spans),
        );
        for span in &evidence.spans {
            let at = format!("span {} of trace {}", span.span_id, span.trace_id);
            expect(span.problems.is_empty(), format!("{at} is not valid OTLP: {}", span.problems.join(", ")));
        }
        if promise.contexts {
            let at_gateway = evidence.passages.iter().filter(|passage| passage.hop.is_first()).count();
            expect(
                journeys.len() == at_gateway && at_gateway == self.requests,
                format!("{} requests, {at_gateway} at the gateway, {} traces", self.requests, journeys.len()),
            );
            let strangers = strangers(&evidence.spans, &evidence.passages);
            expect(
                strangers == 0,
                format!("{strangers} spans belong to no request in the access logs, or stand there twice"),
            );
        }
        if promise.exact_errors {
            for Weighted { what, truth, estimate } in self.weighted.iter().filter(|line| line.what != REQUESTS) {
                let exact = estimate.unknown == 0 && (estimate.sum - *truth as f64).abs() < 0.5;
                expect(exact, format!("{what}: {truth} happened, the spans count {:.1}", estimate.sum));
            }
        }
        problems
    }
}

const REQUESTS: &str = "requests";

fn index(spans: &[ReceivedSpan]) -> Index<'_> {
    spans.iter().map(|span| ((span.trace_id.as_str(), span.span_id.as_str()), span)).collect()
}

/// The span of a passage: its id is what was sent on.
fn exported<'a>(passage: &Passage, index: &Index<'a>) -> Option<&'a ReceivedSpan> {
    let Context { trace_id, span_id, .. } = passage.context.as_ref()?;
    index.get(&(trace_id.as_str(), span_id.as_str())).copied()
}

/// The head decision: the flag that the first hop sent on.
pub fn sampled_at_first(journey: &[Passage]) -> bool {
    journey.first().and_then(|first| first.context.as_ref()).is_some_and(|context| context.sampled)
}

/// What lacks on the path from the root to the deepest failure; `None` if it is all there and linked.
fn missing(journey: &[Passage], index: &Index<'_>) -> Option<String> {
    let mut parent: Option<&str> = None;
    for passage in hop::path_to_failure(journey) {
        let context = passage.context.as_ref()?;
        let at = || format!("failing trace {}: {}", context.trace_id, passage.hop.label());
        match exported(passage, index) {
            None => return Some(format!("{} has no span", at())),
            Some(span) if parent.is_some_and(|parent| parent != span.parent_span_id) => {
                return Some(format!("{} is not a child of the hop before it", at()));
            }
            Some(_) => parent = Some(&context.span_id),
        }
    }
    None
}

fn strangers(spans: &[ReceivedSpan], passages: &[Passage]) -> usize {
    let contexts = passages.iter().filter_map(|passage| passage.context.as_ref());
    let mut expected: BTreeSet<(&str, &str)> =
        contexts.map(|context| (context.trace_id.as_str(), context.span_id.as_str())).collect();
    spans.iter().filter(|span| !expected.remove(&(span.trace_id.as_str(), span.span_id.as_str()))).count()
}

fn reasons(spans: &[ReceivedSpan]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for span in spans {
        *reasons.entry(span.text(REASON).unwrap_or("none given").to_owned()).or_default() += 1;
    }
    reasons
}

/// The guest is left out: somebody else has decided to sample it, and told no probability.
fn weighted(passages: &[Passage], index: &Index<'_>) -> Vec<Weighted> {
    let own = |passage: &&Passage| passage.context.as_ref().is_none_or(|context| context.trace_id != GUEST_TRACE);
    let count = |what, wanted: &dyn Fn(&Passage) -> bool| {
        let happened: Vec<&Passage> = passages.iter().filter(own).filter(|passage| wanted(passage)).collect();
        let spans = happened.iter().filter_map(|passage| exported(passage, index));
        Weighted { what, truth: happened.len(), estimate: Estimate::of(spans) }
    };
    vec![
        count(REQUESTS, &|passage| passage.hop.is_first()),
        count("failed at the gateway", &|passage| passage.hop.is_first() && passage.failed()),
        count("failures at all hops", &Passage::failed),
    ]
}

// === impl Share, Books ===

impl Share {
    /// Percent, 100 of nothing.
    pub fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.of as f64 / self.all as f64 }
    }
}

impl Books {
    /// Spans that were kept by decision and did not arrive.
    pub fn lost(self) -> u64 {
        self.dropped + self.capped
    }

    /// From the sums of all metrics.
    pub fn of(metrics: &BTreeMap<String, u64>) -> Self {
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
    use crate::demo::samples::{journey, spans_of};

    const PROMISE: Promise = Promise { whole_path: true, exact_errors: true, contexts: true };

    /// A healthy unsampled trace, a healthy sampled one, a visible failure and a masked one, everything as it should be.
    fn good() -> Evidence {
        let unsampled = journey("a", &[200; 6], false);
        let sampled = journey("b", &[200; 6], true);
        let visible = journey("c", &[500, 500, 500, 500, 503, 503], false);
        let masked = journey("d", &[200, 200, 200, 200, 503, 503], false);
        let spans: Vec<ReceivedSpan> =
            [spans_of(&sampled, "ot=th:8"), spans_of(&visible, "ot=th:0"), spans_of(&masked, "ot=th:0")].concat();
        let metrics = [("sidespan_spans_kept_total", 18), ("sidespan_spans_exported_total", 18)];
        Evidence {
            requests: 4,
            passages: [unsampled, sampled, visible, masked].concat(),
            calls: 2,
            bytes: 1000,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
            spans,
        }
    }

    #[test]
    fn what_happened_is_counted() {
        let account = Account::of(&good(), &PROMISE);
        assert_eq!(account.problems, [""; 0]);
        assert_eq!((account.requests, account.passages, account.spans), (4, 24, 18));
        assert_eq!(account.failing, Share { of: 2, all: 2 });
        assert_eq!((account.masked, account.head_only), (1, 0));
        assert_eq!(account.healthy, Share { of: 1, all: 2 });
        let weighted: Vec<_> = account.weighted.iter().map(|line| (line.truth, line.estimate.sum)).collect();
        assert_eq!(weighted, [(4, 4.0), (1, 1.0), (8, 8.0)], "the sampled trace stands for two");
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        type Change = fn(&mut Evidence);
        let table: [(Change, &str); 9] = [
            (|evidence| drop(evidence.spans.remove(6)), "failing trace c: gateway has no span"),
            (|evidence| drop(evidence.spans.remove(17)), "failing trace d: database inbound has no span"),
            (|evidence| evidence.spans[8].parent_span_id.clear(), "failing trace c: frontend outbound is not a child"),
            (|evidence| evidence.spans[6].trace_state = "ot=th:8".to_owned(), "failed at the gateway: 1 happened"),
            (|evidence| evidence.spans[6].trace_state.clear(), "failures at all hops: 8 happened"),
            (|evidence| evidence.spans[0].span_id = "strange".to_owned(), "1 spans belong to no request"),
            (|evidence| evidence.spans[0].problems.push("kind 0".to_owned()), "not valid OTLP: kind 0"),
            (|evidence| evidence.metrics.extend([("sidespan_dropped_rejected_total".to_owned(), 1)]), "do not balance"),
            (|evidence| evidence.requests = 5, "5 requests, 4 at the gateway, 4 traces"),
        ];
        for (change, expected) in table {
            let mut evidence = good();
            change(&mut evidence);
            let problems = Account::of(&evidence, &PROMISE).problems;
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
    }

    #[test]
    fn a_configuration_that_promises_less_is_held_to_less() {
        let mut evidence = good();
        evidence.spans.remove(6);
        evidence.metrics.insert("sidespan_spans_kept_total".to_owned(), 17);
        evidence.metrics.insert("sidespan_spans_exported_total".to_owned(), 17);
        let less = Promise { whole_path: false, exact_errors: false, contexts: true };
        let account = Account::of(&evidence, &less);
        assert_eq!((account.problems.len(), account.failing), (0, Share { of: 1, all: 2 }));
    }
}
