//! What is remembered of a request from one callback to the next.

use super::native::Native;
use super::plan::Plan;
use crate::context::{Flags, Sampled, SpanContext};
use crate::id::{SpanId, TraceId};
use crate::propagation::{Incoming, Outgoing, TraceState};
use crate::sampling::late_keep::Below;
use crate::sampling::request_cap::RequestCap;
use crate::sampling::rules::Policy;
use crate::sampling::{Head, ParentState};
use crate::span::OriginalRequest;
use std::sync::Arc;

/// One request, from its headers to its end.
pub struct Stream {
    pub(super) plan: Arc<Plan>,
    pub(super) original: OriginalRequest,
    pub(super) incoming: Incoming,
    /// What is known of Envoy's own tracer; `None` where this filter takes its place.
    pub(super) native: Option<Native>,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// The right-most 56 bits of the trace id are said to be random.
    pub(super) random: bool,
    /// What is sent upstream. The `tracestate` of the span differs in its threshold.
    pub(super) trace_state: TraceState,
    pub(super) recording: Recording,
    pub(super) response: ResponseHead,
}

/// Whether a span may come of the request.
pub(super) enum Recording {
    /// It may.
    On(Sampling),
    /// A rule drops the request: the ids and the decision of the caller are passed on as they came.
    Off,
    /// The request carries telemetry: nothing is recorded here, and the receiver is told not to record either.
    Silenced,
}

/// The sampling side of a request that may be recorded.
pub(super) struct Sampling {
    /// Number of the policy that applies.
    pub(super) policy: usize,
    pub(super) head: Head,
    pub(super) whole_path: WholePath,
    pub(super) cap: RequestCap,
}

/// What is known of errors below this request.
#[derive(Clone, Copy, Default)]
pub(super) struct WholePath {
    /// With which thresholds something below was kept, if anything was.
    pub(super) below: Option<Below>,
    /// The mark for the listener that serves our caller is written.
    pub(super) marked: bool,
}

/// What the response headers said; all empty until they come.
#[derive(Clone, Copy, Default)]
pub(super) struct ResponseHead {
    pub(super) seen: bool,
    /// Nothing follows the headers.
    pub(super) complete: bool,
    /// From the end of the request to these headers, in nanoseconds; 0 where Envoy does not tell.
    pub(super) after_ns: u64,
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    /// Upstream attempts so far; 0 where they were not read.
    pub(super) attempts: u32,
}

/// Streams begin on one thread and their spans may be collected on another.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Stream>();
};

// === impl Stream ===

impl Stream {
    /// The context that came in.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The head decision; `None` where nothing is recorded.
    pub fn head(&self) -> Option<&Head> {
        self.sampling().map(|sampling| &sampling.head)
    }

    /// The context that is sent upstream.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let sampled = match &self.recording {
            Recording::On(sampling) => sampling.head.sampled,
            Recording::Off => match parent_state(&self.incoming) {
                Some(parent) if parent.sampled != Sampled::Defer => parent.sampled,
                // The decision was left to us. W3C cannot leave it to the next hop, and all formats must say the same.
                _ => Sampled::Deny,
            },
            Recording::Silenced => Sampled::Deny,
        };
        let flags = Flags::new(sampled.decision().unwrap_or_default(), self.random);
        let context = SpanContext { trace_id: self.trace_id, span_id: self.span_id, flags };
        Outgoing { context, sampled, trace_state: &self.trace_state }
    }

    pub(super) fn sampling(&self) -> Option<&Sampling> {
        match &self.recording {
            Recording::On(sampling) => Some(sampling),
            Recording::Off | Recording::Silenced => None,
        }
    }

    pub(super) fn sampling_mut(&mut self) -> Option<&mut Sampling> {
        match &mut self.recording {
            Recording::On(sampling) => Some(sampling),
            Recording::Off | Recording::Silenced => None,
        }
    }

    /// The policy that applies and the sampling side; `None` where nothing is recorded.
    pub(super) fn policy(&self) -> Option<(&Policy, &Sampling)> {
        self.sampling().map(|sampling| (self.plan.policy(sampling.policy), sampling))
    }
}

// === impl WholePath ===

impl WholePath {
    /// One more thing below was kept.
    pub(super) fn learn(&mut self, below: Below) {
        self.below = Some(self.below.map_or(below, |known| known.or(below)));
    }
}

/// The caller's decision.
pub(super) fn parent_state(incoming: &Incoming) -> Option<ParentState<'_>> {
    let extracted = incoming.extracted.as_ref();
    let context = extracted.map(|found| ParentState { sampled: found.sampled, ot: found.trace_state.get("ot") });
    context.or_else(|| incoming.instruction.map(|sampled| ParentState { sampled, ot: None }))
}
