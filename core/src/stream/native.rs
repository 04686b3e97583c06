//! Beside Envoy's own tracer (`nativeTracer: adopt`): which ids it has given the request, and whether it has sampled it.
//!
//! The tracer starts its span before any filter, and writes its headers when the router sends the request. So while the request
//! headers pass they are still the caller's, while the response headers pass a filter cannot read them, and at the end they
//! are what was sent. The trace is known early only where a caller sent one; the own span id and the sampled flag only at
//! the end. They are read for requests that matter only, because that is a host call.

use crate::context::Sampled;
use crate::id::TraceId;
use crate::propagation::{Extracted, Format, Incoming, NativeContexts, TraceHeaders, TraceState};
use crate::sampling::late_keep::Below;
use crate::sampling::{self, Head};

/// Signals that are kept until the trace is known, at most. A callee adds one for its own trace; more are of stray headers.
const MOST_SIGNALS: usize = 8;

/// What is known of Envoy's own tracer and one request.
pub(super) struct Native {
    came: NativeContexts,
    /// Signals of traces that may turn out to be this one.
    heard: Vec<(TraceId, Below)>,
    wrote: Wrote,
}

/// What the tracer sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// Nobody has looked yet.
    Unknown,
    Nothing,
    Sampled,
    Unsampled,
}

// === impl Native ===

impl Native {
    /// What came in.
    pub(super) fn new(headers: &TraceHeaders<'_, '_>) -> Self {
        Self { came: NativeContexts::new(headers), heard: Vec::new(), wrote: Wrote::Unknown }
    }

    /// The caller's context, as far as it is known before the end: `format` is what the tracer is known to write. Contexts in other
    /// formats are stale, so they become no links.
    pub(super) fn incoming(&self, format: Option<Format>) -> Incoming {
        let extracted = self.came.caller(format).cloned();
        let instruction = self.came.instruction.filter(|_| extracted.is_none());
        Incoming { extracted, instruction, invalid: self.came.invalid, ..Incoming::default() }
    }

    /// The head decision: the tracer's rate is not ours.
    pub(super) fn head(&self, trace_id: TraceId, trace_state: &TraceState) -> Head {
        sampling::beside_native(trace_id, trace_state.get("ot"), self.came.asks_for_debugging())
    }

    /// Whether the caller has asked for sampling.
    pub(super) fn caller_samples(&self) -> bool {
        self.came.caller(None).is_some_and(|context| context.sampled.decision() == Some(true))
    }

    /// Whether the caller has said that the trace is not sampled.
    pub(super) fn caller_refuses(&self) -> bool {
        self.came.caller(None).is_some_and(|context| context.sampled.decision() == Some(false))
    }

    /// Keeps signals until the trace is known.
    pub(super) fn hear(&mut self, signals: impl Iterator<Item = (TraceId, Below)>) {
        self.heard = signals.take(MOST_SIGNALS).collect();
    }

    /// Whether any signal waits.
    pub(super) fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// The signals that wait.
    pub(super) fn take_heard(&mut self) -> Vec<(TraceId, Below)> {
        std::mem::take(&mut self.heard)
    }

    /// Whether nobody has looked yet at what the tracer sent.
    pub(super) fn is_open(&self) -> bool {
        self.wrote == Wrote::Unknown
    }

    /// Whether the tracer is known to have sent a context upstream.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.wrote, Wrote::Sampled | Wrote::Unsampled)
    }

    /// Whether the tracer is known to have sampled the request, and so exports it.
    pub(super) fn has_sampled(&self) -> bool {
        self.wrote == Wrote::Sampled
    }

    /// Compares the headers as they went upstream with those that came in: what the tracer sent, and the caller's context in
    /// that trace.
    pub(super) fn compare(&mut self, headers: &TraceHeaders<'_, '_>) -> Option<(Extracted, Option<Extracted>)> {
        self.wrote = Wrote::Nothing;
        let sent = self.came.sent(NativeContexts::new(headers))?;
        self.wrote = match sent.sampled {
            Sampled::Accept | Sampled::Debug => Wrote::Sampled,
            Sampled::Deny | Sampled::Defer => Wrote::Unsampled,
        };
        let parent = self.came.parent_of(&sent).cloned();
        Some((sent, parent))
    }
}
