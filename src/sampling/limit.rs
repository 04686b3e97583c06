//! The cap that does not bias: of a window's late keeps, the `k` traces of largest R survive (bottom-k, order sampling).
//!
//! R is shared by all hops, so all sidecars prefer the same traces and what survives stays whole. What survives was
//! included with the probability that R exceeds τ, the largest R that did not survive; that is the threshold it carries.

use crate::id::TraceId;
use crate::sampling::HeadThreshold;
use crate::sampling::threshold::Threshold;
use std::collections::BTreeMap;

/// One window of late keeps. Not more than `k` traces and `max_bytes` are held at any time.
pub struct Limiter<T> {
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
    /// What it weighs against the bound, in bytes.
    pub bytes: usize,
    /// The stratum's threshold.
    pub threshold: Option<Threshold>,
    /// The head's: whatever it samples is exported, cap or not.
    pub head: HeadThreshold,
}

/// What leaves a window: the span and its true threshold (`None`: unknown).
pub type Released<T> = (T, Option<Threshold>);

// === impl Limiter ===

impl<T> Limiter<T> {
    /// `traces` for each window; at least one.
    pub fn new(traces: u32, max_bytes: usize) -> Self {
        Self { traces: traces.max(1), max_bytes, bytes: 0, held: BTreeMap::new(), tau: None, last_tau: None, capped: 0 }
    }

    /// Takes a span. What the cap does not hold is released at once if the head samples it, else counted and gone.
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

    /// Ends the window: everything held leaves with the threshold that the window has come to.
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

    /// Spans turned away since the last call.
    pub fn take_capped(&mut self) -> u64 {
        std::mem::take(&mut self.capped)
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes
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
