//! The cap on late keeps. Of the late keeps of one window, the `k` traces with the largest R are exported (bottom-k sampling),
//! so that counts made from spans stay unbiased.
//!
//! R is shared by all hops, so all sidecars prefer the same traces, and the traces that survive stay whole. A trace that
//! survives was included with the probability that R exceeds τ, the largest R that did not survive. So τ is its threshold.

use crate::id::TraceId;
use crate::sampling::head::HeadThreshold;
use crate::sampling::threshold::Threshold;
use std::collections::BTreeMap;

/// One window of late keeps. Not more than `k` traces and `max_bytes` are held at any time.
pub struct CapWindow<T> {
    traces: u32,
    max_bytes: usize,
    bytes: usize,
    held: BTreeMap<(u64, TraceId), Vec<Late<T>>>,
    tau: Option<u64>,
    last_tau: Option<Threshold>,
    capped: u64,
}

/// A span that is kept late, or was kept by the head and failed as well: it counts for the order all the same.
pub struct Late<T> {
    /// The span.
    pub item: T,
    /// Size that counts against the bound, in bytes.
    pub bytes: usize,
    /// The stratum's threshold.
    pub threshold: Option<Threshold>,
    /// The head's: whatever it samples is exported, cap or not.
    pub head: HeadThreshold,
}

/// A span that leaves a window, and its true threshold (`None`: unknown).
pub type Released<T> = (T, Option<Threshold>);

// === impl CapWindow ===

impl<T> CapWindow<T> {
    /// `traces` for each window; at least one.
    pub fn new(traces: u32, max_bytes: usize) -> Self {
        Self { traces: traces.max(1), max_bytes, bytes: 0, held: BTreeMap::new(), tau: None, last_tau: None, capped: 0 }
    }

    /// Takes a span. A span that the cap does not hold is released at once if the head samples it; otherwise it is counted
    /// and dropped.
    pub fn offer(&mut self, randomness: u64, trace_id: TraceId, late: Late<T>, release: &mut dyn FnMut(Released<T>)) {
        if self.tau.is_some_and(|tau| randomness <= tau) {
            self.turn_away(randomness, late, release);
            return;
        }
        self.bytes = self.bytes.saturating_add(late.bytes);
        self.held.entry((randomness, trace_id)).or_default().push(late);
        while self.held.len() > self.traces as usize || self.bytes > self.max_bytes {
            let Some(((smallest, _), lost)) = self.held.pop_first() else { return };
            self.tau = self.tau.max(Some(smallest));
            for late in lost {
                self.bytes = self.bytes.saturating_sub(late.bytes);
                self.turn_away(smallest, late, release);
            }
        }
    }

    /// Ends the window: everything that is held leaves, with the threshold of this window.
    pub fn close(&mut self, release: &mut dyn FnMut(Released<T>)) {
        self.last_tau = self.tau.take().and_then(Threshold::new);
        self.bytes = 0;
        for ((randomness, _), trace) in std::mem::take(&mut self.held) {
            // Traces may share R (`rv`). Between those that share τ the id has chosen, not R.
            let tied = self.last_tau.is_some_and(|tau| tau.value() == randomness);
            for late in trace {
                let threshold =
                    if tied && !late.head.samples(randomness) { None } else { capped_threshold(&late, self.last_tau) };
                release((late.item, threshold));
            }
        }
    }

    /// τ of the last window: what a signal can promise in this one.
    pub fn last_tau(&self) -> Option<Threshold> {
        self.last_tau
    }

    /// Spans that the cap removed since the last call.
    pub fn take_capped(&mut self) -> u64 {
        std::mem::take(&mut self.capped)
    }

    /// Spans held now.
    pub fn len(&self) -> usize {
        self.held.values().fold(0, |sum, spans| sum.saturating_add(spans.len()))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// R ≤ τ: min(max(T, τ), T_head) is T_head, for everything that the head samples.
    fn turn_away(&mut self, randomness: u64, late: Late<T>, release: &mut dyn FnMut(Released<T>)) {
        match late.head {
            head if !head.samples(randomness) => self.capped = self.capped.saturating_add(1),
            HeadThreshold::Known(threshold) => release((late.item, Some(threshold))),
            HeadThreshold::Unknown | HeadThreshold::Never => release((late.item, None)),
        }
    }
}

/// min(max(T, τ), T_head).
fn capped_threshold<T>(late: &Late<T>, tau: Option<Threshold>) -> Option<Threshold> {
    let Some(tau) = tau else { return late.threshold };
    let capped = late.threshold.map(|threshold| threshold.max(tau));
    match late.head {
        HeadThreshold::Known(head) => capped.map(|threshold| threshold.min(head)),
        HeadThreshold::Never => capped,
        // Kept by the parent or by the cap: with which probability together, nobody knows.
        HeadThreshold::Unknown => None,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    const PLENTY: usize = 1 << 20;

    fn trace(id: u64) -> TraceId {
        TraceId::from_halves(1, id).expect("not zero")
    }

    fn at(value: u64) -> Option<Threshold> {
        Threshold::new(value)
    }

    fn late(item: &'static str, threshold: Option<Threshold>, head: HeadThreshold) -> Late<&'static str> {
        Late { item, bytes: 10, threshold, head }
    }

    /// An error that the head did not sample.
    fn error(item: &'static str) -> Late<&'static str> {
        late(item, Some(Threshold::ALWAYS), HeadThreshold::Never)
    }

    /// What left while spans of these R were offered, and what left at the close.
    type Both = (Vec<Released<&'static str>>, Vec<Released<&'static str>>);

    fn run(window: &mut CapWindow<&'static str>, offers: Vec<(u64, Late<&'static str>)>) -> Both {
        let (mut early, mut closed) = (Vec::new(), Vec::new());
        for (r, late) in offers {
            window.offer(r, trace(r), late, &mut |released| early.push(released));
        }
        window.close(&mut |released| closed.push(released));
        (early, closed)
    }

    #[test]
    fn below_the_cap_every_span_leaves_with_its_own_threshold() {
        let mut window = CapWindow::new(2, PLENTY);
        let marked = late("marked", at(40), HeadThreshold::Known(Threshold::new(90).expect("small")));
        let (early, closed) = run(&mut window, vec![(50, error("error")), (60, marked)]);
        assert_eq!((early, closed), (vec![], vec![("error", at(0)), ("marked", at(40))]));
        assert_eq!((window.last_tau(), window.take_capped()), (None, 0));
    }

    #[test]
    fn the_largest_randomness_survives_in_whatever_order_it_comes() {
        for order in [[10, 20, 30, 40], [40, 30, 20, 10], [30, 10, 40, 20]] {
            let mut window = CapWindow::new(2, PLENTY);
            let (early, closed) = run(&mut window, Vec::from(order.map(|r| (r, error("span")))));
            assert_eq!((early, closed), (vec![], vec![("span", at(20)); 2]), "{order:?}: τ is the third largest");
            assert_eq!((window.last_tau(), window.take_capped(), window.take_capped()), (at(20), 2, 0));
        }
    }

    #[test]
    fn spans_of_one_trace_share_a_place_and_stay_together() {
        let mut window = CapWindow::new(2, PLENTY);
        let offers = [30, 10, 30, 20, 10, 30].map(|r| (r, error("span")));
        let (_, closed) = run(&mut window, Vec::from(offers));
        assert_eq!(closed.len(), 4, "three of one trace, one of the other");
        assert_eq!(window.take_capped(), 2, "all of the smallest, whether they came before or after τ");
    }

    #[test]
    fn what_the_head_samples_leaves_in_any_case_and_counts_for_the_order() {
        let tenth = at(90).map(HeadThreshold::Known).expect("small");
        let mut window = CapWindow::new(1, PLENTY);
        let offers = vec![
            (95, late("first", at(0), tenth)),
            (99, late("second", at(0), tenth)),
            (97, late("third", at(0), tenth)),
        ];
        let (early, closed) = run(&mut window, offers);
        assert_eq!(early, [("first", at(90)), ("third", at(90))], "turned away, with the head's threshold");
        assert_eq!(closed, [("second", at(90))], "τ is above the head's, so the head's is the true one");
        assert_eq!((window.last_tau(), window.take_capped()), (at(97), 0));
    }

    #[test]
    fn thresholds_are_the_largest_of_stratum_and_cap_but_not_above_the_heads() {
        let known = |value| HeadThreshold::Known(Threshold::new(value).expect("small"));
        let table = [
            (at(0), HeadThreshold::Never, at(50), "τ"),
            (at(70), HeadThreshold::Never, at(70), "the stratum's"),
            (at(0), known(60), at(50), "τ is below the head's"),
            (at(0), known(40), at(40), "τ is above the head's"),
            (None, HeadThreshold::Never, None, "unknown stays unknown"),
            (at(0), HeadThreshold::Unknown, None, "sampled by the parent or by the cap"),
        ];
        for (threshold, head, expected, why) in table {
            let mut window = CapWindow::new(1, PLENTY);
            let (_, closed) = run(&mut window, vec![(50, error("smaller")), (80, late("span", threshold, head))]);
            assert_eq!(closed, [("span", expected)], "{why}");
        }
    }

    #[test]
    fn what_a_parent_sampled_with_unknown_probability_is_never_lost() {
        let mut window = CapWindow::new(1, PLENTY);
        let offers = vec![(80, error("larger")), (50, late("span", at(0), HeadThreshold::Unknown))];
        assert_eq!(run(&mut window, offers).0, [("span", None)]);
    }

    #[test]
    fn between_traces_that_share_the_limit_nobody_knows_the_probability() {
        let mut window = CapWindow::new(1, PLENTY);
        let mut released = Vec::new();
        for id in [1, 2] {
            window.offer(50, trace(id), error("span"), &mut |span| released.push(span));
        }
        window.close(&mut |span| released.push(span));
        assert_eq!(released, [("span", None)]);
    }

    #[test]
    fn each_window_starts_anew_and_remembers_only_the_last_limit() {
        let mut window = CapWindow::new(1, PLENTY);
        run(&mut window, vec![(50, error("a")), (80, error("b"))]);
        assert_eq!(window.last_tau(), at(50));
        let (_, closed) = run(&mut window, vec![(10, error("c"))]);
        assert_eq!((closed, window.last_tau()), (vec![("c", at(0))], None));
        assert!(window.is_empty());
    }

    #[test]
    fn neither_traces_nor_bytes_exceed_their_bounds_at_any_time() {
        let mut random = SplitMix64::new(7);
        let mut window = CapWindow::new(8, 1_000);
        let mut held = 0;
        for offer in 0..2_000 {
            let bytes = (random.next_u64() % 150) as usize;
            let id = random.next_u64() % 12 + 1;
            let late = Late { bytes, ..error("span") };
            window.offer(id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8, trace(id), late, &mut |_| {});
            assert!(window.bytes <= 1_000 && window.held.len() <= 8);
            let sum: usize = window.held.values().flatten().map(|late| late.bytes).sum();
            assert_eq!(window.bytes, sum);
            held = held.max(window.len());
            if offer % 40 == 0 {
                window.close(&mut |_| {});
            }
        }
        assert!(held > 8, "several spans of a trace share its place");
        window.close(&mut |_| {});
        assert_eq!((window.bytes, window.len()), (0, 0));
    }

    #[test]
    fn weighted_counts_are_the_true_counts_under_a_storm() {
        // Heads at 10 % (some Never: below it), errors at 100 % or 50 %, one to three spans of a trace, 5 to 60 traces
        // a window for 20 places; by traces and by bytes.
        let head = Threshold::parse(b"e6").expect("valid");
        for (traces, bytes) in [(20, PLENTY), (1_000, 400)] {
            let mut random = SplitMix64::new(42);
            let mut window = CapWindow::new(traces, bytes);
            let (mut truth, mut estimate, mut squares) = (0.0, 0.0, 0.0);
            for _ in 0..2_000 {
                let mut counts = BTreeMap::new();
                for id in 0..5 + random.next_u64() % 56 {
                    let r = random.next_u64() >> 8;
                    let stratum = if id % 3 == 0 { Threshold::parse(b"8").expect("valid") } else { Threshold::ALWAYS };
                    let spans = 1 + id % 3;
                    counts.insert(id, -(spans as f64));
                    truth += spans as f64;
                    for _ in 0..spans {
                        let head = if head.samples(r) { HeadThreshold::Known(head) } else { HeadThreshold::Never };
                        let late = Late { item: id, bytes: 10, threshold: Some(stratum), head };
                        let mut release = |(id, threshold): Released<u64>| {
                            let count = threshold.map_or(0.0, Threshold::adjusted_count);
                            *counts.get_mut(&id).expect("of this window") += count;
                            estimate += count;
                        };
                        if stratum.samples(r) {
                            window.offer(r, trace(r), late, &mut release);
                        }
                    }
                }
                window.close(&mut |(id, threshold)| {
                    let count = threshold.map_or(0.0, Threshold::adjusted_count);
                    *counts.get_mut(&id).expect("of this window") += count;
                    estimate += count;
                });
                squares += counts.values().map(|difference| difference * difference).sum::<f64>();
            }
            let error: f64 = estimate - truth;
            assert!(window.take_capped() > 10_000, "the cap was at work");
            assert!(error.abs() < 3.0 * f64::sqrt(squares), "{estimate} is not {truth}");
            assert!(f64::sqrt(squares) < 0.02 * truth, "the test could see a bias of 6 %");
        }
    }
}
