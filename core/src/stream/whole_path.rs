//! The whole path from the root to an error: whoever keeps an error late tells its callers, while they are still open.
//!
//! Between sidecars the response carries a keep signal. Inside of a pod the application does not pass response headers on, so
//! the outbound listener leaves a mark, which the inbound listener of the same trace finds.

use super::host::{MarkWritten, StreamHost};
use super::native::Native;
use super::outcome::attribute;
use super::span_ids;
use super::state::Stream;
use crate::config::Direction;
use crate::context::Sampled;
use crate::export::{Counter, Stats};
use crate::http::headers::{Header, HeaderEdit};
use crate::id::SpanId;
use crate::sampling::Strata;
use crate::sampling::late_keep::{self, Below, Kept, Mark, Signal};
use crate::sampling::outcome::Outcome;
use crate::sampling::response_flags::ResponseFlags;
use crate::sampling::rules::Policy;
use crate::span::attributes::path;

/// A body that takes no longer than this after its headers is complete: no mark is looked for behind it. The headers' time is
/// that of Envoy's router; without it the whole request counts.
const SHORT_BODY_NS: u64 = 5_000_000;

impl Stream {
    /// Inbound and gateway: a late keep is signalled to the caller. Also to a caller that samples the trace anyway, because its
    /// span then belongs to another stratum and has another threshold.
    pub(super) fn signal_to_caller(&mut self, host: &dyn StreamHost, stats: &mut Stats) -> Option<HeaderEdit> {
        let (policy, _) = self.policy().filter(|(policy, _)| policy.errors.whole_path)?;
        self.incoming.extracted.as_ref()?;
        let outcome = self.outcome_so_far(policy, host);
        let strata = self.strata(&outcome, policy.errors.is_error_so_far(&outcome))?;
        self.count(&strata, host, stats);
        let sampling = self.sampling()?;
        let below = strata.promise(sampling.head.randomness, sampling.cap.path())?;
        let sampled = below.kept.includes(sampling.head.randomness);
        if !self.answers_caller(host.attributes()) {
            return None;
        }
        // Beside a native tracer the own span is not known yet; the caller's stands in its place. Callers compare the trace.
        let caller = self.incoming.extracted.as_ref().and_then(|found| found.span_id).filter(|_| self.native.is_some());
        let signal = Signal { trace_id: self.trace_id, span_id: caller.unwrap_or(self.span_id), below, sampled };
        stats.count(Counter::SignalsSent);
        // A header of its own: the application's stays as it is, and a quote that it left open cannot hide the signal.
        Some(HeaderEdit::Add("server-timing".into(), signal.write()))
    }

    /// Outbound: the callee's signal is read and removed, and so is known whether the request was tried more than once.
    pub(super) fn hear_callee(
        &mut self,
        headers: &[Header<'_>],
        host: &dyn StreamHost,
        stats: &mut Stats,
        edits: &mut Vec<HeaderEdit>,
    ) {
        let propagation = &self.plan.config().propagation;
        // To a caller that had asked for sampling, a foreign signal is no news.
        let unsampled = || match &self.native {
            Some(native) => !native.caller_samples(),
            None => self.head().is_some_and(|head| head.sampled == Sampled::Deny),
        };
        let foreign = propagation.foreign_keep_signals && unsampled();
        let heard = late_keep::find(headers, self.trace_id, foreign);
        if !propagation.expose_keep_signal {
            late_keep::strip(headers, edits);
        }
        if let Some(native) = &mut self.native {
            native.hear(late_keep::heard(headers, foreign).filter(|heard| heard.0 != self.trace_id));
        }
        let Some((policy, _)) = self.policy().filter(|(policy, _)| policy.errors.whole_path) else { return };
        let errors = policy.errors.threshold;
        let signal = heard.and_then(|below| self.believe(below));
        match signal {
            Some(_) => stats.count(Counter::SignalsReceived),
            None if self.native.as_ref().is_some_and(Native::has_heard) => {}
            None if heard.is_some() || !edits.is_empty() => stats.count(Counter::SignalsIgnored),
            None => {}
        }
        let attempts = attribute(host.attributes(), path::UPSTREAM_REQUEST_ATTEMPT_COUNT).unwrap_or_default();
        // This is the last attempt: a request that was answered is not tried again.
        self.response.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        // After a retry the failed attempt and its signal are gone, but its callee kept an error.
        let retried = errors.filter(|_| attempts > 1).map(|errors| Below::uncapped(Kept::At(errors)));
        let Some(sampling) = self.sampling_mut() else { return };
        if let Some(mut below) = signal.or(retried) {
            below.kept = retried.map_or(below.kept, |retried| below.kept.or(retried.kept));
            sampling.whole_path.learn(below);
        }
    }

    /// What the policy makes of a signal of this trace; `None`: it is not believed.
    fn believe(&self, below: Below) -> Option<Below> {
        let (policy, sampling) = self.policy().filter(|(policy, _)| policy.errors.whole_path && policy.keep_signals)?;
        below.bounded(policy.errors.threshold, sampling.head.randomness)
    }

    /// Beside a native tracer, at the end: signals that came before the trace was known. Only what was heard is worth a look at
    /// the request headers.
    pub(super) fn judge_signals(&mut self, host: &dyn StreamHost, stats: &mut Stats) {
        if !self.native.as_ref().is_some_and(Native::has_heard) {
            return;
        }
        self.adopt(host.attributes());
        let heard = self.native.as_mut().map(Native::take_heard).unwrap_or_default();
        let below = heard.iter().filter(|heard| heard.0 == self.trace_id).map(|heard| heard.1).reduce(Below::or);
        match (below.and_then(|below| self.believe(below)), self.sampling_mut()) {
            (Some(below), Some(sampling)) => {
                sampling.whole_path.learn(below);
                stats.count(Counter::SignalsReceived);
            }
            _ => stats.count(Counter::SignalsIgnored),
        }
    }

    /// Outbound: the mark, as far as the response headers tell.
    pub(super) fn mark_early(&mut self, host: &dyn StreamHost, stats: &mut Stats) {
        let Some((policy, _)) = self.policy() else { return };
        let outcome = self.outcome_so_far(policy, host);
        let failed = policy.errors.is_error_so_far(&outcome);
        let Some(strata) = self.strata(&outcome, failed) else { return };
        self.count(&strata, host, stats);
        self.leave_mark(&strata, host, stats);
    }

    /// Inbound: what the outbound listener of this proxy learnt of this trace, on whichever worker.
    #[inline(never)]
    pub(super) fn find_mark(&mut self, host: &dyn StreamHost, stats: &mut Stats) {
        if self.has_unknown_trace() {
            return;
        }
        let Some((policy, sampling)) = self.policy().filter(|(policy, _)| policy.errors.whole_path) else { return };
        let mark = host.read_mark(sampling.head.randomness).filter(|mark| mark.trace_id == self.trace_id);
        let mark = mark.filter(|mark| mark.parent.is_none_or(|parent| self.is_below(parent)));
        let start = || attribute(host.attributes(), path::REQUEST_TIME);
        // A mark that is older than this request belongs to another one of the trace: the attempt before, or another call.
        let Some(mark) = mark.filter(|mark| start().is_none_or(|start| mark.time_ns >= start)) else { return };
        let Some(below) = mark.below.bounded(policy.errors.threshold, sampling.head.randomness) else { return };
        let Some(sampling) = self.sampling_mut() else { return };
        sampling.whole_path.learn(below);
        stats.count(Counter::MarksFound);
    }

    /// Inbound, at the end: an error may have come after the response headers, or there were none. Nobody above can be told any
    /// more, but the span of this request is still to be made. A host call, so only where it can matter.
    pub(super) fn find_late_mark(&mut self, outcome: &Outcome, host: &dyn StreamHost, stats: &mut Stats) {
        let reset = outcome.flags.any(ResponseFlags::CLIENT_GONE) || outcome.flags.any(ResponseFlags::FAILURE);
        let head = &self.response;
        let body_ns = outcome.duration_ns.saturating_sub(head.after_ns);
        let went_on = !head.seen || (!head.complete && (reset || body_ns > SHORT_BODY_NS));
        let unknown = self.sampling().is_some_and(|sampling| sampling.whole_path.below.is_none());
        // What an earlier filter answered reached nobody below.
        if !unknown || !self.original.seen {
            return;
        }
        let follows = |(policy, _): (&Policy, _)| policy.errors.whole_path;
        if !self.policy().is_some_and(follows) {
            return;
        }
        // A native tracer that began the trace here told nobody its id before, so the mark could not be looked for earlier.
        if went_on || (self.has_unknown_trace() && self.adopt(host.attributes())) {
            self.find_mark(host, stats);
        }
    }

    /// Inbound: the response did not end with its headers, so how long it lasted matters to [`Self::find_late_mark`].
    pub(super) fn had_a_body(&self) -> bool {
        self.original.direction == Direction::Inbound && self.response.seen && !self.response.complete
    }

    /// Whether an outbound request with this parent belongs to this inbound request, as far as anybody can tell: not if the
    /// parent is the span of another inbound request. A span that the application made itself may be below any of them.
    fn is_below(&self, parent: SpanId) -> bool {
        parent == self.span_id || !span_ids::is_inbound(parent, self.trace_id)
    }

    /// Outbound: tells the listener that serves our caller, once. A second mark would say the same.
    pub(super) fn leave_mark(&mut self, strata: &Strata, host: &dyn StreamHost, stats: &mut Stats) {
        let Some((policy, sampling)) = self.policy() else { return };
        // Where a native tracer begins the trace, no other listener serves a caller of it.
        let nobody = self.native.is_some() && self.incoming.extracted.is_none();
        if !policy.errors.whole_path || sampling.whole_path.marked || nobody {
            return;
        }
        let Some(below) = strata.promise(sampling.head.randomness, sampling.cap.path()) else { return };
        let parent = self.incoming.extracted.as_ref().and_then(|found| found.span_id);
        let mark = Mark { trace_id: self.trace_id, below, time_ns: host.now_ns(), parent };
        match host.write_mark(sampling.head.randomness, mark) {
            MarkWritten::Stored => stats.count(Counter::MarksWritten),
            MarkWritten::Overwrote => {
                stats.count(Counter::MarksWritten);
                stats.count(Counter::MarksOverwritten);
            }
            MarkWritten::Failed => stats.count(Counter::HostErrors),
        }
        if let Some(sampling) = self.sampling_mut() {
            sampling.whole_path.marked = true;
        }
    }

    /// What the request has come to, so far or at its end; `None` where nothing is recorded.
    pub(super) fn strata(&self, outcome: &Outcome, failed: bool) -> Option<Strata> {
        self.policy().map(|(policy, sampling)| Strata::new(policy, failed, outcome, sampling.whole_path.below))
    }
}
