//! Kept spans on their way to the exporter.

use crate::export::{Class, Counter, Exporter, Stats};
use crate::sampling::{Reason, set_threshold};
use crate::stream::{Finished, Plan};

/// The exporter, and what it counts.
pub struct Pipeline {
    exporter: Option<Exporter>,
    /// Counts where there is no exporter.
    stats: Stats,
}

/// Where workers only hand spans over, one thread owns the pipeline.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Pipeline>();
};

// === impl Pipeline ===

impl Pipeline {
    /// Without an exporter in the configuration every span is counted and dropped. `seed` spreads retries: any number.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let exporter = plan.config().exporter.as_ref();
        let exporter = exporter.and_then(|exporter| {
            Exporter::new(exporter, &plan.identity().resource, plan.config().spans.semantic_conventions, seed)
        });
        Self { exporter, stats: Stats::new() }
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
        let Finished { span, mut trace_state, decision, .. } = finished;
        let mut body = Vec::with_capacity(1024);
        exporter.encode(&span, &mut body);
        if decision.threshold.is_none() {
            exporter.stats().count(Counter::ThresholdsErased);
        }
        set_threshold(&mut trace_state, decision.threshold);
        exporter.push(&body, trace_state.as_bytes(), class(decision.reason), now_ns).flush_soon
    }

    /// Whether nothing waits in the exporter and no call is under way.
    pub fn is_idle(&self) -> bool {
        self.exporter.as_ref().is_none_or(Exporter::is_idle)
    }
}

/// Plain spans are dropped first when the queue is full, errors last.
fn class(reason: Reason) -> Class {
    match reason {
        Reason::Head | Reason::Parent | Reason::Slow => Class::Plain,
        Reason::Marked | Reason::Cancelled => Class::Marked,
        Reason::Error | Reason::Debug => Class::Error,
    }
}
