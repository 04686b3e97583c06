//! The end of a request: the final decision, and the span if it is kept.

use super::host::StreamHost;
use super::outcome::{attribute, duration_ns};
use super::state::Stream;
use crate::config::{Dialect, Direction, Trust};
use crate::context::{Flags, SpanContext};
use crate::export::{Counter, Stats};
use crate::http::headers;
use crate::propagation::{TraceState, traceparent};
use crate::sampling::outcome::Outcome;
use crate::sampling::path_cap;
use crate::sampling::{self, FinalDecision, Reason};
use crate::span::attributes::{Attributes, path};
use crate::span::{Attribute, EndedRequest, Ids, Link, Span};

/// A span that is kept, with what its sampling needs until it is exported.
pub struct Finished {
    /// Ready to be encoded.
    pub span: Span,
    /// The `tracestate` that was sent upstream, without the member of caps. That of the span has another threshold
    /// ([`sampling::set_threshold`]).
    pub trace_state: TraceState,
    /// Why it is kept.
    pub decision: FinalDecision,
    /// What is wrong with the trace headers that went upstream.
    pub fault: Option<Fault>,
}

/// What is wrong with the trace headers that went upstream: the configuration and Envoy's own tracer do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something changed them after this filter wrote them.
    Overwritten,
    /// Envoy's own tracer wrote none, so there is nothing to adopt.
    NothingToAdopt,
}

/// A worker hands it to whatever collects spans, perhaps on another thread.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Finished>();
};

// === impl Stream ===

impl Stream {
    /// The stream has ended: its span, if it is kept.
    pub fn finish(mut self, host: &dyn StreamHost, stats: &mut Stats) -> Option<Finished> {
        let attributes = host.attributes();
        let (policy, sampling) = self.policy()?;
        if self.native.is_none() && sampling.head.sampled.decision() == Some(true) {
            attributes.expect_span(self.original.kind());
        }
        let outcome = self.outcome(policy, attributes);
        self.judge_signals(host, stats);
        // A gateway hears its callees itself, and has heard them all when the response headers came.
        if self.original.direction == Direction::Inbound {
            self.find_late_mark(&outcome, host, stats);
        }
        let failed = self.policy()?.0.errors.is_error(&outcome);
        let strata = self.strata(&outcome, failed)?;
        if self.is_left_to_native(&strata) {
            return None;
        }
        self.adopt(attributes);
        self.count(&strata, host, stats);
        if self.original.direction == Direction::Outbound {
            self.leave_mark(&strata, host, stats);
        }
        let (policy, sampling) = self.policy()?;
        let decision = sampling::revise(policy, &sampling.head, &strata, sampling.cap.path());
        if (decision.keep || decision.capped) && self.is_exported_by_native(attributes) {
            stats.count(Counter::NativeSampled);
            return None;
        }
        if !decision.keep {
            if decision.capped {
                stats.count(Counter::Capped);
            }
            return None;
        }
        attributes.expect_span(self.original.kind());
        let fault = self.fault(attributes, stats);
        stats.count(Counter::SpansCreated);
        stats.count(counter(decision.reason));
        self.trace_state.remove(path_cap::KEY);
        Some(Finished {
            span: self.span(&outcome, decision.reason, host),
            decision,
            fault,
            trace_state: self.trace_state,
        })
    }

    fn span(&self, outcome: &Outcome, reason: Reason, host: &dyn StreamHost) -> Span {
        let (start_ns, end_ns) = self.times(outcome, host);
        let request = EndedRequest {
            original: &self.original,
            ids: self.ids(),
            outcome,
            start_ns,
            end_ns,
            reason: reason.as_str(),
        };
        self.plan.span_builder().build(self.plan.identity(), request, host.attributes())
    }

    fn ids(&self) -> Ids {
        let restarted = self.plan.config().propagation.trust == Trust::Restart;
        let link = |context: &SpanContext| Link {
            context: *context,
            attributes: vec![Attribute::new("reason", if restarted { "restarted" } else { "conflict" })],
        };
        Ids {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent: self.incoming.extracted.as_ref().and_then(|found| found.span_id),
            flags: Flags::new(true, self.random),
            links: self.incoming.links.iter().map(link).collect(),
        }
    }

    /// Start and end, by Envoy's clock, or by ours if Envoy does not tell.
    fn times(&self, outcome: &Outcome, host: &dyn StreamHost) -> (u64, u64) {
        let start = attribute(host.attributes(), path::REQUEST_TIME);
        let duration = match outcome.duration_ns {
            0 => duration_ns(host.attributes()),
            known => known,
        };
        let start = start.unwrap_or_else(|| host.now_ns().saturating_sub(duration));
        (start, start.saturating_add(duration))
    }

    /// Counts what Envoy's own tracer did with the headers of a request whose span is exported.
    fn fault(&self, attributes: &dyn Attributes, stats: &mut Stats) -> Option<Fault> {
        let (counter, fault) = match &self.native {
            Some(native) if native.has_sent() => (Counter::NativeAdopted, None),
            Some(_) if self.went_upstream(attributes) => (Counter::NativeAbsent, Some(Fault::NothingToAdopt)),
            Some(_) => (Counter::NativeUnsent, None),
            None if self.is_overwritten(attributes) => (Counter::PropagationOverwritten, Some(Fault::Overwritten)),
            None => return None,
        };
        stats.count(counter);
        fault
    }

    /// Whether Envoy's own tracer is on as well: it replaces the headers that this filter wrote, and no span would link to
    /// ours. Envoy's Zipkin tracer writes `x-b3-*` only, also where this filter had not.
    fn is_overwritten(&self, attributes: &dyn Attributes) -> bool {
        if !self.original.seen {
            return false;
        }
        let headers = attributes.request_headers();
        let w3c = || {
            let sent = headers::only(&headers, b"traceparent").and_then(traceparent::parse);
            sent.is_none_or(|sent| (sent.trace_id, sent.span_id) != (self.trace_id, self.span_id))
        };
        let b3 = || headers::values(&headers, b"x-b3-spanid").any(|sent| *sent != self.span_id.hex());
        let writes_w3c = self.plan.config().propagation.inject.contains(&Dialect::TraceContext);
        !headers.is_empty() && (b3() || (writes_w3c && w3c()))
    }
}

fn counter(reason: Reason) -> Counter {
    match reason {
        Reason::Head => Counter::KeptHead,
        Reason::Parent => Counter::KeptParent,
        Reason::Error => Counter::KeptError,
        Reason::Slow => Counter::KeptSlow,
        Reason::Marked => Counter::KeptMarked,
        Reason::Cancelled => Counter::KeptCancelled,
        Reason::Debug => Counter::KeptDebug,
    }
}
