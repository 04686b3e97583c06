//! The cap on late keeps: a budget of expected keeps, which makes no decision depend on the randomness R.
//!
//! A budget fills with `maxPerSecond`, and each trace that it counts takes its *probability* out of it, whether the trace is
//! kept or not. While the budget is overdrawn, the probability falls: it halves with every [slope](Budget::slope) of the
//! overdraft. So the mean rate of a long storm is the cap, whatever its size. Nothing is held and nothing is ranked: the
//! threshold of a request is known before its outcome, so that a request can tell it to its callees, a response to its
//! callers, and all hops of a path keep the same traces.
//!
//! A trace counts once per budget, so both listeners of a sidecar count it as one.

use crate::id::TraceId;
use crate::sampling::threshold::Threshold;

/// Expected keeps are counted in billionths of a trace: `maxPerSecond` times nanoseconds.
const TRACE: i64 = 1_000_000_000;
/// Larger caps are no caps: no proxy ends so many requests a second.
const MOST_PER_SECOND: u32 = 10_000_000;
/// A budget of a small cap still lets this many traces pass at once.
const LEAST_FREE: i64 = 5;
/// The probability falls in steps of a quarter of a halving, so that budgets of several hops agree more often.
const STEPS: i64 = 4;
/// The smallest probability is 2^-24.
const MOST_STEPS: i64 = 24 * STEPS;
/// Traces that are remembered, so that they count once: a place for each value of R's lowest byte.
const RECENT: usize = 256;
/// A hop whose callers thin the traffic already pays only this part, so that it is not overdrawn by chance. It may pass this
/// many times its cap of such traffic.
const SLACK: u64 = 2;

/// A cap is made tighter at the end of a request if its probability has fallen to one in so many since the request came in.
/// Requests that are under way when a storm begins would all be kept otherwise; a smaller factor would tear more paths apart.
const LATE: u64 = 16;

/// Whether the own threshold is so much above what the path applies that it has to apply at the end.
pub(super) fn is_much_tighter(own: Threshold, path: Threshold) -> bool {
    is_tighter(own, path, LATE)
}

/// Whether the own threshold keeps one in `times` of what the other one keeps, or less.
pub(super) fn is_tighter(own: Threshold, path: Threshold, times: u64) -> bool {
    let probability = |threshold: Threshold| CERTAIN.saturating_sub(threshold.value());
    probability(own).saturating_mul(times) <= probability(path)
}

/// The budget of one cap, for one policy and worker.
#[derive(Debug)]
pub struct Budget {
    per_second: i64,
    /// What is left, in billionths of a trace; below zero it is overdrawn.
    left: i64,
    filled_ns: u64,
    /// Low halves of trace ids, each at the place that its R gives. Empty until the first trace is counted.
    recent: Vec<u64>,
}

// === impl Budget ===

impl Budget {
    /// A full budget. `per_second` is `maxPerSecond`, at least 1.
    pub fn new(per_second: u32) -> Self {
        let per_second = i64::from(per_second.clamp(1, MOST_PER_SECOND));
        let mut budget = Self { per_second, left: 0, filled_ns: 0, recent: Vec::new() };
        budget.left = budget.free();
        budget
    }

    /// Whether the threshold is above zero unless time has passed. If not, nobody need ask for the time.
    pub fn is_overdrawn(&self) -> bool {
        self.left < 0
    }

    /// The threshold of a request that comes in now; [`Threshold::ALWAYS`] while the budget is not overdrawn.
    pub fn threshold(&mut self, now_ns: u64) -> Threshold {
        self.fill(now_ns);
        // Always below 2^56, since no probability is zero.
        Threshold::new(CERTAIN.saturating_sub(self.probability())).unwrap_or(Threshold::ALWAYS)
    }

    /// Counts a trace that is kept late or would be without a cap. `callers` is the threshold that callers apply to it.
    ///
    /// A trace that was counted a short time ago is not counted again. (256 traces are remembered.)
    pub fn count(&mut self, now_ns: u64, trace_id: TraceId, callers: Threshold) {
        if self.is_recent(trace_id) {
            return;
        }
        self.fill(now_ns);
        let own = self.probability();
        let cost = match callers {
            Threshold::ALWAYS => own,
            callers => CERTAIN.saturating_sub(callers.value()).min(own.saturating_mul(SLACK)) / SLACK,
        };
        self.left = self.left.saturating_sub(billionths(cost)).max(self.free().saturating_mul(-MOST_STEPS / STEPS / 2));
    }

    /// What may be kept at once after a quiet time: one second of the cap, and not less than [`LEAST_FREE`] traces.
    fn free(&self) -> i64 {
        self.per_second.max(LEAST_FREE).saturating_mul(TRACE)
    }

    /// The overdraft that halves the probability.
    fn slope(&self) -> i64 {
        self.free() / 2
    }

    /// A clock that goes back adds nothing.
    fn fill(&mut self, now_ns: u64) {
        let passed = i64::try_from(now_ns.saturating_sub(self.filled_ns)).unwrap_or(i64::MAX);
        self.filled_ns = now_ns;
        self.left = self.left.saturating_add(self.per_second.saturating_mul(passed)).min(self.free());
    }

    /// Times 2^56.
    fn probability(&self) -> u64 {
        let overdraft = self.left.min(0).saturating_neg();
        let scaled = overdraft.saturating_mul(STEPS);
        let slope = self.slope().max(1);
        // Rounded up: the first of an overdraft makes the first step.
        let steps =
            scaled.saturating_add(slope.saturating_sub(1)).checked_div(slope).unwrap_or_default().min(MOST_STEPS);
        let base = usize::try_from(steps % STEPS).ok().and_then(|step| QUARTERS.get(step)).copied().unwrap_or(CERTAIN);
        base >> (steps / STEPS).clamp(0, 24)
    }

    fn is_recent(&mut self, trace_id: TraceId) -> bool {
        if self.recent.is_empty() {
            self.recent = vec![0; RECENT];
        }
        // The lowest byte of R. All of R would not fit into the `usize` of wasm.
        let place = usize::from(trace_id.randomness() as u8);
        let low = trace_id.low64();
        self.recent.get_mut(place).is_some_and(|slot| std::mem::replace(slot, low) == low)
    }
}

/// 100 %, times 2^56.
const CERTAIN: u64 = 1 << 56;

/// 2^(-n/4) for n = 0 to 3, times 2^56, rounded to 16 bits so that thresholds have few digits.
const QUARTERS: [u64; STEPS as usize] = [CERTAIN, 0xd745 << 40, 0xb505 << 40, 0x9838 << 40];

/// A probability times 2^56, in billionths. Precise to 2^-30.
fn billionths(probability: u64) -> i64 {
    let billionths = (probability >> 26).saturating_mul(TRACE.unsigned_abs()) >> 30;
    i64::try_from(billionths).unwrap_or(TRACE)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Distinct ids with uniform R.
    fn trace(number: u64) -> TraceId {
        TraceId::from_halves(1, (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).expect("not zero")
    }

    #[test]
    fn quarters_are_powers_of_the_fourth_root_of_a_half() {
        for (steps, quarter) in QUARTERS.iter().enumerate() {
            let expected = (-(steps as f64) / 4.0).exp2();
            assert!((*quarter as f64 / CERTAIN as f64 - expected).abs() < 1e-5, "{steps}");
        }
        assert_eq!((billionths(CERTAIN), billionths(CERTAIN >> 1), billionths(CERTAIN >> 24)), (TRACE, TRACE / 2, 59));
    }

    #[test]
    fn a_budget_that_is_not_overdrawn_keeps_everything() {
        let mut budget = Budget::new(10);
        for number in 0..10 {
            assert_eq!(budget.threshold(5), Threshold::ALWAYS);
            budget.count(5, trace(number), Threshold::ALWAYS);
        }
        assert!(!budget.is_overdrawn(), "one second of the cap is free");
        budget.count(5, trace(10), Threshold::ALWAYS);
        assert!(budget.is_overdrawn() && budget.threshold(5) > Threshold::ALWAYS);
        assert_eq!(budget.threshold(5 + SECOND), Threshold::ALWAYS, "and comes back with time");
    }

    #[test]
    fn the_probability_halves_with_every_slope_of_the_overdraft() {
        let table = [
            (0, 1.0),
            (1, 0.8409),
            (125, 0.8409),
            (126, std::f64::consts::FRAC_1_SQRT_2),
            (500, 0.5),
            (1_000, 0.25),
            (12_000, 2.0_f64.powi(-24)),
            (99_000, 2.0_f64.powi(-24)),
        ];
        for (overdraft, expected) in table {
            let mut budget = Budget::new(1_000);
            budget.left = -overdraft * TRACE;
            let probability = budget.threshold(0).probability();
            assert!((probability / expected - 1.0).abs() < 1e-4, "{overdraft}: {probability}");
        }
    }

    #[test]
    fn a_trace_counts_once_and_without_regard_to_what_becomes_of_it() {
        let mut budget = Budget::new(5);
        for _ in 0..100 {
            budget.count(0, trace(1), Threshold::ALWAYS);
        }
        assert_eq!(budget.left, 4 * TRACE);
    }

    #[test]
    fn traffic_that_callers_thin_costs_half_of_what_they_leave_but_not_more_than_the_own_probability() {
        let half = Threshold::new(CERTAIN / 2).expect("below 2^56");
        let mut budget = Budget::new(5);
        budget.count(0, trace(1), half);
        assert_eq!(budget.left, 5 * TRACE - TRACE / 4);
        budget.left = -6 * TRACE; // p is below 2^-2
        let own = i64::try_from((u128::from(budget.probability()) * 1_000_000_000) >> 56).expect("small");
        budget.count(0, trace(2), half);
        let cost = -6 * TRACE - budget.left;
        assert!((cost - own.min(TRACE / 4)).abs() <= 1, "{cost}, own {own}");
    }

    #[test]
    fn the_mean_rate_of_a_storm_is_the_cap_whatever_its_size() {
        for (cap, storm) in [(1, 60), (5, 20), (5, 2_000), (50, 600)] {
            let mut budget = Budget::new(cap);
            let (mut number, mut kept, mut late) = (0, 0_u32, 0_u32);
            let seconds = 120;
            for second in 0..seconds {
                for place in 0..storm {
                    let now_ns = SECOND * (1_000 + second) + SECOND / storm * place;
                    let id = trace(number);
                    number += 1;
                    let keep = budget.threshold(now_ns).samples(id.randomness());
                    budget.count(now_ns, id, Threshold::ALWAYS);
                    kept += u32::from(keep);
                    late += u32::from(keep && second >= 60);
                }
            }
            let rate = f64::from(late) / 60.0;
            let error = 4.0 * (rate / 60.0).sqrt();
            assert!((rate - f64::from(cap)).abs() < error.max(0.1 * f64::from(cap)), "{cap}/{storm}: {rate} a second");
            let start = f64::from(kept) - f64::from(cap) * 120.0;
            assert!(start < f64::from(cap.max(5)) * 10.0, "{cap}/{storm}: {start} more at the start");
        }
    }

    #[test]
    fn below_the_cap_nearly_everything_is_kept() {
        let mut budget = Budget::new(10);
        let kept = (0..1_000_u64).filter(|number| {
            let now_ns = SECOND / 8 * number;
            let keep = budget.threshold(now_ns) == Threshold::ALWAYS;
            budget.count(now_ns, trace(*number), Threshold::ALWAYS);
            keep
        });
        assert_eq!(kept.count(), 1_000, "eight a second of ten");
    }

    #[test]
    fn a_storm_that_ends_opens_the_budget_within_seconds_and_a_clock_may_go_back() {
        let mut budget = Budget::new(5);
        for number in 0..200_000 {
            budget.count(7 * SECOND, trace(number), Threshold::ALWAYS);
            if number % 50_000 == 0 {
                budget.threshold(0);
            }
        }
        assert!(budget.left >= -12 * budget.free());
        assert_eq!(budget.threshold(7 * SECOND + 13 * SECOND), Threshold::ALWAYS);
    }
}
