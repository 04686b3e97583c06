//! Kept spans on their way to the exporter: at once, or through the cap of their window first.
//!
//! A span that a cap counts is encoded at once but waits for the end of its window, because only then it is known whether the
//! cap keeps it, and with which threshold.

use crate::export::{Class, Counter, Exporter, Stats};
use crate::propagation::TraceState;
use crate::sampling::cap::{CapWindow, Late};
use crate::sampling::rules::Policy;
use crate::sampling::threshold::Threshold;
use crate::sampling::{Cap, Reason, set_threshold};
use crate::stream::{Finished, Plan};
use std::sync::Arc;

/// Encoded spans that one cap of one policy holds at most, in bytes.
const HELD_BYTES: usize = 1024 * 1024;

/// Spans that were kept, in caps and in the exporter.
pub struct Pipeline {
    plan: Arc<Plan>,
    exporter: Option<Exporter>,
    /// Counts where there is no exporter.
    stats: Stats,
    caps: Vec<PolicyCaps>,
    window_ns: u64,
    window_end_ns: u64,
}

/// The caps of one policy; none where the configuration sets none.
struct PolicyCaps {
    errors: Option<CapWindow<Encoded>>,
    slow: Option<CapWindow<Encoded>>,
}

/// A span that waits for its threshold.
struct Encoded {
    body: Vec<u8>,
    trace_state: TraceState,
    class: Class,
}

/// Where workers only hand spans over, one thread owns the pipeline.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Pipeline>();
};

// === impl Pipeline ===

impl Pipeline {
    /// Without an exporter in the configuration every span is counted and dropped. `seed` spreads retries: any number.
    pub fn new(plan: &Arc<Plan>, seed: u64) -> Self {
        let exporter = plan.config().exporter.as_ref();
        let window_ns = exporter.map_or(0, |exporter| exporter.batch.delay.as_nanos()).max(1);
        Self {
            exporter: exporter.and_then(|exporter| {
                Exporter::new(exporter, &plan.identity().resource, plan.config().spans.semantic_conventions, seed)
            }),
            stats: Stats::new(),
            caps: plan.sampler().policies().map(|policy| PolicyCaps::new(policy, window_ns)).collect(),
            window_ns,
            window_end_ns: 0,
            plan: Arc::clone(plan),
        }
    }

    /// The exporter, if the configuration has one.
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

    /// Takes a span; true if a batch is full and should leave before the next tick.
    pub fn record(&mut self, finished: Finished, now_ns: u64) -> bool {
        let Some(exporter) = &mut self.exporter else { return false };
        let mut body = Vec::with_capacity(1024);
        exporter.encode(&finished.span, &mut body);
        let decision = finished.decision;
        let encoded = Encoded { body, trace_state: finished.trace_state, class: class(decision.reason) };
        let mut soon = false;
        let mut release = |(encoded, threshold)| soon |= push(exporter, encoded, threshold, now_ns);
        let caps = self.caps.get_mut(finished.policy);
        match decision.cap.and_then(|cap| caps?.of(cap).as_mut()) {
            Some(window) => {
                let late = Late {
                    bytes: encoded.body.len().saturating_add(encoded.trace_state.as_bytes().len()),
                    item: encoded,
                    threshold: decision.threshold,
                    head: finished.head,
                };
                window.offer(finished.randomness, finished.span.trace_id, late, &mut release);
            }
            None => release((encoded, decision.threshold)),
        }
        soon
    }

    /// Ends the window of the caps when it is over (or `at_once`, for shutdown): the spans that survived go to the exporter.
    pub fn close_window(&mut self, now_ns: u64, at_once: bool) {
        if now_ns < self.window_end_ns && !at_once {
            return;
        }
        // A little less than a window, so that a tick that comes early does not wait for the next one.
        self.window_end_ns = now_ns.saturating_add(self.window_ns.saturating_mul(9) / 10);
        let Some(exporter) = &mut self.exporter else { return };
        // They have waited for a window, which is as long as a batch waits. So they leave with this tick.
        let born_ns = now_ns.saturating_sub(self.window_ns);
        for (policy, caps) in self.caps.iter_mut().enumerate() {
            for cap in [Cap::Errors, Cap::Slow] {
                let Some(window) = caps.of(cap) else { continue };
                window.close(&mut |(encoded, threshold)| {
                    push(exporter, encoded, threshold, born_ns);
                });
                exporter.stats().add(Counter::Capped, window.take_capped());
                self.plan.set_last_tau(policy, cap, window.last_tau());
            }
        }
    }

    /// Whether nothing waits in the exporter and no call is under way.
    pub fn is_idle(&self) -> bool {
        self.exporter.as_ref().is_none_or(Exporter::is_idle)
    }
}

// === impl PolicyCaps ===

impl PolicyCaps {
    fn new(policy: &Policy, window_ns: u64) -> Self {
        let window = |per_second: Option<u32>| {
            per_second.map(|per_second| CapWindow::new(per_window(per_second, window_ns), HELD_BYTES))
        };
        Self {
            errors: window(policy.errors.max_per_second),
            slow: window(policy.slow.as_ref().and_then(|slow| slow.max_per_second)),
        }
    }

    fn of(&mut self, cap: Cap) -> &mut Option<CapWindow<Encoded>> {
        match cap {
            Cap::Errors => &mut self.errors,
            Cap::Slow => &mut self.slow,
        }
    }
}

fn push(exporter: &mut Exporter, mut encoded: Encoded, threshold: Option<Threshold>, now_ns: u64) -> bool {
    if threshold.is_none() {
        exporter.stats().count(Counter::ThresholdsErased);
    }
    set_threshold(&mut encoded.trace_state, threshold);
    exporter.push(&encoded.body, encoded.trace_state.as_bytes(), encoded.class, now_ns).flush_soon
}

/// Plain spans are dropped first when the queue is full, errors last.
fn class(reason: Reason) -> Class {
    match reason {
        Reason::Head | Reason::Parent | Reason::Slow => Class::Plain,
        Reason::Marked => Class::Marked,
        Reason::Error | Reason::Debug => Class::Error,
    }
}

/// The share of a window that is not a second long, rounded up.
fn per_window(per_second: u32, window_ns: u64) -> u32 {
    let traces = u64::from(per_second).saturating_mul(window_ns).div_ceil(1_000_000_000);
    u32::try_from(traces).unwrap_or(u32::MAX)
}
