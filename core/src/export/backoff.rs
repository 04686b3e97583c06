//! When to try again: exponential backoff with full jitter, and what a receiver asks for.
//!
//! The backoff belongs to the receiver, not to a batch: while the receiver is down, one batch is tried and the others wait.

use crate::config;
use crate::random::SplitMix64;

/// Whether calls may be made.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    initial_ns: u64,
    max_ns: u64,
    /// Failures in a row; 0 while calls succeed.
    failures: u32,
    /// No call before this.
    until_ns: u64,
    /// Grows with each failure that counted: calls that were under way together are one failure.
    generation: u32,
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new(retry: &config::Retry) -> Self {
        let initial_ns = retry.initial.as_nanos().max(1);
        Self { initial_ns, max_ns: retry.max.as_nanos().max(initial_ns), failures: 0, until_ns: 0, generation: 0 }
    }

    /// How many calls may be under way: all, one as a trial, or none.
    pub(super) fn limit(&self, now_ns: u64, all: usize) -> usize {
        match self.failures {
            0 => all,
            _ if now_ns >= self.until_ns => 1,
            _ => 0,
        }
    }

    /// When the next call may be made, if not now.
    #[cfg(test)]
    pub(super) fn closed_until(&self) -> Option<u64> {
        (self.failures > 0).then_some(self.until_ns)
    }

    /// To be remembered with a call, and given back when it fails.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A call of `generation` failed. `steps` is how many doublings that is worth; `asked_ns` is what the receiver asked for,
    /// to which a jitter is added, or all its clients would come back at once.
    pub(super) fn failed(
        &mut self,
        now_ns: u64,
        generation: u32,
        steps: u32,
        asked_ns: Option<u64>,
        random: &mut SplitMix64,
    ) {
        let first = generation == self.generation;
        if first {
            self.generation = self.generation.wrapping_add(1);
            self.until_ns = now_ns.saturating_add(random.up_to(self.ceiling()));
        }
        if let Some(asked) = asked_ns {
            let until = now_ns.saturating_add(asked).saturating_add(random.up_to(self.initial_ns));
            self.until_ns = if first { until } else { self.until_ns.max(until) };
        }
        if first || self.failures == 0 {
            self.failures = self.failures.saturating_add(steps.max(1));
        }
    }

    /// `initial * 2^failures`, at most `max`.
    fn ceiling(&self) -> u64 {
        let factor = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        self.initial_ns.saturating_mul(factor).min(self.max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Duration;

    fn backoff() -> Backoff {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(30));
        Backoff::new(&config::Retry { initial, max, max_elapsed: Duration::from_secs(120) })
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn waits_are_spread_over_a_range_that_doubles_up_to_the_maximum() {
        for (failures, ceiling) in [(0, 1), (1, 2), (2, 4), (4, 16), (5, 30), (63, 30), (64, 30), (200, 30)] {
            let waits: Vec<u64> = (0..200)
                .map(|seed| {
                    let mut backoff = Backoff { failures, ..backoff() };
                    backoff.failed(5 * S, 0, 1, None, &mut SplitMix64::new(seed));
                    backoff.closed_until().expect("closed") - 5 * S
                })
                .collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling * S), "{failures}");
            assert!(waits.iter().any(|wait| *wait > ceiling * S * 9 / 10), "{failures}");
            assert!(waits.iter().any(|wait| *wait < ceiling * S / 10), "{failures}");
        }
    }

    #[test]
    fn calls_that_fail_together_are_one_failure() {
        let mut backoff = backoff();
        let mut random = SplitMix64::new(1);
        (0..4).for_each(|_| backoff.failed(0, 0, 1, None, &mut random));
        assert_eq!(backoff.failures, 1);
        backoff.failed(0, backoff.generation(), 1, None, &mut random);
        assert_eq!(backoff.failures, 2);
    }

    #[test]
    fn what_the_receiver_asks_for_is_the_least() {
        let mut backoff = backoff();
        let mut random = SplitMix64::new(1);
        backoff.failed(S, 0, 1, Some(7 * S), &mut random);
        let until = backoff.closed_until().expect("closed");
        assert!((8 * S..=9 * S).contains(&until));
        assert_eq!((backoff.limit(until - 1, 4), backoff.limit(until, 4)), (0, 1));
        backoff.succeeded();
        assert_eq!(backoff.limit(0, 4), 4);
    }
}
