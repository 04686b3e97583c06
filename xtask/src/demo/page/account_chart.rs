//! The sampling account as charts: failing requests with their whole path, spans by reason, and estimates beside the true counts.

use crate::demo::account::{Account, Share, Weighted};
use crate::demo::adjusted_count::Certainty;
use crate::demo::styled_text::percent;
use serde::Serialize;

/// Everything in the charts.
#[derive(Serialize)]
pub(super) struct AccountChart {
    requests: usize,
    /// Requests at all listeners: the spans that exporting everything would send.
    entries: usize,
    failing: Part,
    /// What head sampling alone would have kept of the failing requests.
    head_only: Part,
    /// Failing requests that the client saw answered below 500.
    masked: usize,
    healthy: Part,
    exported: Part,
    reasons: Vec<Reason>,
    estimates: Vec<Bar>,
    kept: u64,
    dropped: u64,
    queued: u64,
    capped: u64,
    bytes_per_span: String,
    spans_per_call: String,
}

/// A part of a whole.
#[derive(Serialize)]
struct Part {
    of: usize,
    all: usize,
    /// From 0 to 100.
    width: f64,
    share: String,
}

/// Spans that were kept for the same reason.
#[derive(Serialize)]
struct Reason {
    name: String,
    meaning: &'static str,
    spans: usize,
    width: f64,
}

/// An estimate beside the true count, on a common scale from 0 to 100.
#[derive(Serialize)]
struct Bar {
    what: &'static str,
    truth: usize,
    spans: usize,
    /// The estimate as text.
    estimate: String,
    /// How certain it is.
    words: String,
    /// Position of the estimate; `None` if there is nothing to show.
    at: Option<f64>,
    low: f64,
    high: f64,
    truth_at: f64,
}

// === impl AccountChart ===

impl AccountChart {
    pub(super) fn of(account: &Account) -> Self {
        let all: usize = account.reasons.values().sum();
        let reasons = account.reasons.iter().map(|(name, spans)| Reason {
            name: name.clone(),
            meaning: meaning(name),
            spans: *spans,
            width: 100.0 * *spans as f64 / all.max(1) as f64,
        });
        Self {
            requests: account.requests,
            entries: account.entries,
            failing: Part::of(account.failing.of, account.failing.all),
            head_only: Part::of(account.head_only, account.failing.all),
            masked: account.masked,
            healthy: part(account.healthy),
            exported: Part::of(account.spans, account.entries),
            reasons: reasons.collect(),
            estimates: account.weighted.iter().map(Bar::of).collect(),
            kept: account.balance.kept,
            dropped: account.balance.dropped,
            queued: account.balance.queued,
            capped: account.balance.capped,
            bytes_per_span: format!("{:.0}", account.bytes as f64 / account.spans.max(1) as f64),
            spans_per_call: format!("{:.0}", account.spans as f64 / account.calls.max(1) as f64),
        }
    }
}

fn part(share: Share) -> Part {
    Part::of(share.of, share.all)
}

/// What the values of the attribute `sidespan.sampling.reason` mean.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "error" => "the request failed here",
        "marked" => "a request further down failed, and its response said so",
        "parent" => "the caller was sampled",
        "head" => "selected at random where the trace began",
        "slow" => "the request took longer than the threshold",
        "cancelled" => "the caller left before the response",
        "debug" => "the caller asked for it",
        _ => "",
    }
}

// === impl Part, Bar ===

impl Part {
    fn of(of: usize, all: usize) -> Self {
        let share = percent(of as f64, all as f64);
        Self { of, all, width: 100.0 * of as f64 / all.max(1) as f64, share }
    }
}

impl Bar {
    fn of(weighted: &Weighted) -> Self {
        let (sum, truth) = (weighted.estimate.sum, weighted.truth as f64);
        let (low, high, words) = match weighted.estimate.certainty() {
            Certainty::NoSpans => (0.0, 0.0, "no spans were kept, so nothing can be estimated".to_owned()),
            Certainty::Partial => {
                (sum, sum, format!("at least; {} spans carry no probability", weighted.estimate.unknown))
            }
            Certainty::Counted => (sum, sum, "a count: each was kept with probability 1".to_owned()),
            Certainty::Sampled { low, high } => (low, high, format!("95 % confidence: about {low:.0} to {high:.0}")),
        };
        let scale = 100.0 / (1.1 * high.max(truth).max(1.0));
        let known = weighted.estimate.certainty() != Certainty::NoSpans;
        Self {
            what: weighted.what,
            truth: weighted.truth,
            spans: weighted.estimate.spans,
            estimate: if known { format!("{sum:.0}") } else { "–".to_owned() },
            words,
            at: known.then_some(sum * scale),
            low: low * scale,
            high: high * scale,
            truth_at: truth * scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::adjusted_count::Estimate;

    #[test]
    fn an_estimate_is_never_called_more_certain_than_it_is() {
        let of = |spans, unknown, sum, error| {
            Bar::of(&Weighted { what: "requests", truth: 100, estimate: Estimate { spans, unknown, sum, error } })
        };
        let none = of(0, 0, 0.0, 0.0);
        assert!(none.words.contains("nothing can be estimated") && none.at.is_none() && none.estimate == "–");
        assert!(of(2, 1, 20.0, 0.0).words.starts_with("at least"));
        assert!(of(100, 0, 100.0, 0.0).words.starts_with("a count"));
        let sampled = of(5, 0, 100.0, 40.0);
        assert_eq!(sampled.words, "95 % confidence: about 47 to 215");
        assert!(sampled.low < sampled.truth_at && sampled.truth_at < sampled.high && sampled.high < 100.0);
    }
}
