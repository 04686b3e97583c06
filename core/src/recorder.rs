//! What becomes of a span that is kept: to the exporter at once, or through the cap of its window first.

use crate::config::Config;
use crate::export::{Class, Counter, Exporter, Stats};
use crate::filter::Finished;
use crate::propagation::TraceState;
use crate::sampling::limit::{Late, Limiter};
use crate::sampling::rules::Sampler;
use crate::sampling::threshold::Threshold;
use crate::sampling::{Cap, Reason};
use crate::span::Attribute;

/// Late keeps of one policy and cap never hold more than this.
const HELD_BYTES: usize = 1024 * 1024;

/// Kept spans on their way to the exporter. One per root context.
pub struct Recorder {
    exporter: Option<Exporter>,
    /// Counts where there is no exporter.
    stats: Stats,
    caps: Vec<Caps>,
    window_ns: u64,
    closes_ns: u64,
}

/// The caps of one policy; none where the configuration sets none.
struct Caps {
    errors: Option<Limiter<Encoded>>,
    slow: Option<Limiter<Encoded>>,
}

/// What each cap came to in its last window.
pub struct LastWindow<'a>(&'a [Caps]);

/// A span that waits for its threshold.
struct Encoded {
    body: Vec<u8>,
    trace_state: TraceState,
    class: Class,
}

// === impl Recorder ===

impl Recorder {
    /// Without an exporter in `config` every span is counted and let go. `seed` spreads retries.
    pub fn new(config: &Config, sampler: &Sampler, resource: &[Attribute], seed: u64) -> Self {
        let exporter = config.exporter.as_ref();
        let window_ns = exporter.map_or(0, |exporter| exporter.batch.delay.as_nanos()).max(1);
        let limiter =
            |per_second: Option<u32>| per_second.map(|limit| Limiter::new(per_window(limit, window_ns), HELD_BYTES));
        let caps = sampler.policies().map(|policy| Caps {
            errors: limiter(policy.errors.max_per_second),
            slow: limiter(policy.slow.as_ref().and_then(|slow| slow.max_per_second)),
        });
        Self {
            exporter: exporter.and_then(|exporter| Exporter::new(exporter, resource, seed)),
            stats: Stats::new(),
            caps: caps.collect(),
            window_ns,
            closes_ns: 0,
        }
    }

    /// Where spans go, if anywhere.
    pub fn exporter(&mut self) -> Option<&mut Exporter> {
        self.exporter.as_mut()
    }

    /// The counters.
    pub fn stats(&mut self) -> &mut Stats {
        match &mut self.exporter {
            Some(exporter) => exporter.stats(),
            None => &mut self.stats,
        }
    }

    /// The counters, and what each cap came to in its last window.
    pub fn stats_and_caps(&mut self) -> (&mut Stats, LastWindow<'_>) {
        let stats = match &mut self.exporter {
            Some(exporter) => exporter.stats(),
            None => &mut self.stats,
        };
        (stats, LastWindow(&self.caps))
    }

    /// Takes a span; true if a batch is full and should leave before the next tick.
    pub fn record(&mut self, finished: Finished, now_ns: u64) -> bool {
        let Some(exporter) = &mut self.exporter else { return false };
        let mut body = Vec::with_capacity(1024);
        exporter.encode(&finished.span, &mut body);
        let class = class(finished.verdict.reason);
        let encoded = Encoded { body, trace_state: finished.trace_state, class };
        let mut soon = false;
        let mut release = |(encoded, threshold)| soon |= push(exporter, &encoded, threshold, now_ns);
        match limiter(&mut self.caps, finished.policy, finished.verdict.cap) {
            Some(limiter) => {
                let late = Late {
                    bytes: encoded.body.len().saturating_add(encoded.trace_state.as_bytes().len()),
                    item: encoded,
                    threshold: finished.verdict.threshold,
                    head: finished.head,
                };
                limiter.offer(finished.randomness, finished.span.trace_id, late, &mut release);
            }
            None => release((encoded, finished.verdict.threshold)),
        }
        soon
    }

    /// Ends the window of the caps when it is over (or at once, to drain): what survived goes to the exporter.
    pub fn close_window(&mut self, now_ns: u64, at_once: bool) {
        if now_ns < self.closes_ns && !at_once {
            return;
        }
        self.closes_ns = now_ns.saturating_add(self.window_ns.saturating_mul(9) / 10);
        let Some(exporter) = &mut self.exporter else { return };
        // They have waited for a window, which is as long as a batch waits: this tick takes them along.
        let born_ns = now_ns.saturating_sub(self.window_ns);
        for limiter in self.caps.iter_mut().flat_map(|caps| [&mut caps.errors, &mut caps.slow]).flatten() {
            limiter.close(&mut |(encoded, threshold)| {
                push(exporter, &encoded, threshold, born_ns);
            });
            exporter.stats().add(Counter::Capped, limiter.take_capped());
        }
    }

    /// Spans that wait for their window to end.
    pub fn held(&self) -> usize {
        let limiters = self.caps.iter().flat_map(|caps| [&caps.errors, &caps.slow]).flatten();
        limiters.fold(0, |sum, limiter| sum.saturating_add(limiter.len()))
    }
}

// === impl LastWindow ===

impl LastWindow<'_> {
    /// τ: the least threshold that a signal may promise.
    pub fn last_tau(&self, policy: usize, cap: Cap) -> Option<Threshold> {
        let caps = self.0.get(policy)?;
        match cap {
            Cap::Errors => caps.errors.as_ref()?.last_tau(),
            Cap::Slow => caps.slow.as_ref()?.last_tau(),
        }
    }
}

fn limiter(caps: &mut [Caps], policy: usize, cap: Option<Cap>) -> Option<&mut Limiter<Encoded>> {
    let caps = caps.get_mut(policy)?;
    match cap? {
        Cap::Errors => caps.errors.as_mut(),
        Cap::Slow => caps.slow.as_mut(),
    }
}

fn push(exporter: &mut Exporter, encoded: &Encoded, threshold: Option<Threshold>, now_ns: u64) -> bool {
    if threshold.is_none() {
        exporter.stats().count(Counter::ThresholdsErased);
    }
    let trace_state = Finished::exported_trace_state(&encoded.trace_state, threshold);
    exporter.push(&encoded.body, trace_state.as_bytes(), encoded.class, now_ns).flush_soon
}

/// Plain spans go first when the queue is full, errors last.
fn class(reason: Reason) -> Class {
    match reason {
        Reason::Head | Reason::Parent | Reason::Slow => Class::Plain,
        Reason::Marked => Class::Marked,
        Reason::Error | Reason::Debug => Class::Error,
    }
}

/// A window of another length than a second has its share, rounded up.
fn per_window(per_second: u32, window_ns: u64) -> u32 {
    let traces = u64::from(per_second).saturating_mul(window_ns).div_ceil(1_000_000_000);
    u32::try_from(traces).unwrap_or(u32::MAX)
}
