//! Kept spans on their way to the exporter.

use crate::export::{Class, Counter, Exporter, Stats};
use crate::otlp::Encoder;
use crate::propagation::TraceState;
use crate::sampling::{Reason, set_threshold};
use crate::stream::{Fault, Finished, Plan};

/// A span that is kept, as an exporter takes it. A worker encodes its spans itself and hands them over; their size is known.
pub struct EncodedSpan {
    body: Vec<u8>,
    trace_state: TraceState,
    class: Class,
    /// The probability with which it was kept is known.
    threshold_known: bool,
    end_ns: u64,
    /// What is wrong with the trace headers that went upstream.
    pub fault: Option<Fault>,
}

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
    can_be_sent::<EncodedSpan>();
};

// === impl EncodedSpan ===

impl EncodedSpan {
    /// Encodes a span for the exporter whose encoder this is.
    pub fn new(finished: Finished, encoder: &Encoder) -> Self {
        let Finished { span, mut trace_state, decision, fault } = finished;
        let mut body = Vec::with_capacity(1024);
        encoder.encode(&span, &mut body);
        set_threshold(&mut trace_state, decision.threshold);
        Self {
            body,
            trace_state,
            class: class(decision.reason),
            threshold_known: decision.threshold.is_some(),
            end_ns: span.end_ns,
            fault,
        }
    }

    /// Bytes that it occupies, about.
    pub fn size(&self) -> usize {
        self.body.capacity().saturating_add(self.trace_state.as_bytes().len()).saturating_add(size_of::<Self>())
    }

    /// What is counted where it is dropped because there is no room for it.
    pub fn drop_counter(&self) -> Counter {
        self.class.drop_counter()
    }
}

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

    /// What encodes spans for this pipeline; `None` without an exporter.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.exporter.as_ref().map(Exporter::encoder)
    }

    /// Takes a span; true if a batch is full and should leave before the next tick.
    pub fn record(&mut self, span: &EncodedSpan) -> bool {
        let Some(exporter) = &mut self.exporter else { return false };
        if !span.threshold_known {
            exporter.stats().count(Counter::ThresholdsErased);
        }
        exporter.push(&span.body, span.trace_state.as_bytes(), span.class, span.end_ns).flush_soon
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
