//! The whole path from the root to an error: whoever keeps an error late tells its callers, while they are still open.
//!
//! Between sidecars the response carries a keep signal. Inside of a pod the application does not pass response headers on, so
//! the outbound listener leaves a mark, which the inbound listener of the same trace finds.

use super::host::{MarkWritten, StreamHost};
use super::outcome::attribute;
use super::state::Stream;
use crate::context::Sampled;
use crate::export::{Counter, Stats};
use crate::http::headers::{Header, HeaderEdit};
use crate::sampling;
use crate::sampling::late_keep::{self, Kept, Mark, Signal};
use crate::sampling::outcome::Outcome;
use crate::sampling::threshold::Threshold;
use crate::span::attributes::path;

impl Stream {
    /// Inbound: a late keep is signalled to the caller. Also to a caller that samples the trace anyway, because its span then
    /// belongs to another stratum and has another threshold.
    pub(super) fn signal_to_caller(&self, host: &dyn StreamHost, stats: &mut Stats) -> Option<HeaderEdit> {
        let (policy, _) = self.policy().filter(|(policy, _)| policy.errors.whole_path)?;
        self.incoming.extracted.as_ref()?;
        let outcome = self.outcome_so_far(policy, host);
        let kept = self.promise(&outcome, policy.errors.is_error_so_far(&outcome))?;
        let signal = Signal { trace_id: self.trace_id, span_id: self.span_id, kept };
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
        let unsampled = self.head().is_some_and(|head| head.sampled == Sampled::Deny);
        let signal = late_keep::find(headers, self.trace_id, unsampled);
        if !self.plan.config().propagation.expose_keep_signal {
            late_keep::strip(headers, edits);
        }
        let Some((policy, _)) = self.policy().filter(|(policy, _)| policy.errors.whole_path) else { return };
        let errors = policy.errors.threshold;
        match signal {
            Some(_) => stats.count(Counter::SignalsReceived),
            None if !edits.is_empty() => stats.count(Counter::SignalsIgnored),
            None => {}
        }
        let attempts = attribute(host.attributes(), path::UPSTREAM_REQUEST_ATTEMPT_COUNT).unwrap_or_default();
        // This is the last attempt: a request that was answered is not tried again.
        self.response.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        // After a retry the failed attempt and its signal are gone, but its callee kept an error.
        let retried = errors.filter(|_| attempts > 1).map(Kept::At);
        let Some(sampling) = self.sampling_mut() else { return };
        signal.into_iter().chain(retried).for_each(|kept| sampling.whole_path.learn(kept));
    }

    /// Outbound: the mark, as far as the response headers tell.
    pub(super) fn mark_early(&mut self, host: &dyn StreamHost, stats: &mut Stats) {
        let Some((policy, _)) = self.policy() else { return };
        let outcome = self.outcome_so_far(policy, host);
        let failed = policy.errors.is_error_so_far(&outcome);
        self.leave_mark(&outcome, failed, host, stats);
    }

    /// Inbound: what the outbound listener of this proxy learnt of this trace, on whichever worker.
    pub(super) fn find_mark(&mut self, host: &dyn StreamHost, stats: &mut Stats) {
        let Some((_, sampling)) = self.policy().filter(|(policy, _)| policy.errors.whole_path) else { return };
        let mark = host.read_mark(sampling.head.randomness).filter(|mark| mark.trace_id == self.trace_id);
        let start = || attribute(host.attributes(), path::REQUEST_TIME);
        // A mark that is older than this request belongs to another one of the trace: the attempt before, or another call.
        let Some(mark) = mark.filter(|mark| start().is_none_or(|start| mark.time_ns >= start)) else { return };
        let Some(sampling) = self.sampling_mut() else { return };
        sampling.whole_path.learn(mark.kept);
        stats.count(Counter::MarksFound);
    }

    /// Outbound: tells the listener that serves our caller, once. A second mark would say the same.
    pub(super) fn leave_mark(&mut self, outcome: &Outcome, failed: bool, host: &dyn StreamHost, stats: &mut Stats) {
        let Some((policy, sampling)) = self.policy() else { return };
        if !policy.errors.whole_path || sampling.whole_path.marked {
            return;
        }
        let Some(kept) = self.promise(outcome, failed) else { return };
        let mark = Mark { trace_id: self.trace_id, kept, cap: Threshold::ALWAYS, time_ns: host.now_ns(), parent: None };
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

    /// The threshold with which callers may count on this span being kept late; `None` if it is not.
    fn promise(&self, outcome: &Outcome, failed: bool) -> Option<Kept> {
        let (policy, sampling) = self.policy()?;
        let decision = sampling::revise(policy, &sampling.head, failed, outcome, sampling.whole_path.below);
        let tau = decision.cap.and_then(|cap| self.plan.last_tau(sampling.policy, cap));
        decision.promise(sampling.head.randomness, tau)
    }
}
