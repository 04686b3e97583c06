//! What trace headers say and what they are to say: the context of a caller, of a request, and of the next hop.

use super::format::{Format, FormatSet};
use super::tracestate::TraceState;
use crate::context::{Flags, Sampled, SpanContext};
use crate::id::{SpanId, TraceId};

/// The context of a caller, as one format or several that agree named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The first format of the configured order that named a context.
    pub format: Format,
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span. `None` is possible in X-Ray (behind a load balancer) and Datadog (from Synthetics).
    pub span_id: Option<SpanId>,
    /// The caller's decision.
    pub sampled: Sampled,
    /// The random flag of W3C Trace Context; other formats have no such flag.
    pub random: bool,
    /// The `tracestate` that came with a `traceparent` of the same trace; else empty.
    pub trace_state: TraceState,
}

/// What the headers of a request say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The formats of which at least one header came, valid or not: W3C and B3 always, others if the configuration names them.
    pub present: FormatSet,
    /// The context to continue. `None` starts a new trace.
    pub extracted: Option<Extracted>,
    /// The decision of B3 headers without ids; it applies to the trace that starts here. Set only if nothing was extracted
    /// and the caller is trusted.
    pub instruction: Option<Sampled>,
    /// Headers of a format that the configuration reads came, but they are not valid.
    pub invalid: bool,
    /// Contexts of other traces. With [`Trust::Restart`](crate::config::Trust::Restart) the first is the one that would have
    /// been continued.
    pub links: Vec<SpanContext>,
}

/// The context that the next hop gets.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The trace, the span of this proxy, and flags. The sampled flag is used only where `sampled` is deferred.
    pub context: SpanContext,
    /// The sampling decision.
    pub sampled: Sampled,
    /// Written together with `traceparent`; may be empty.
    pub trace_state: &'a TraceState,
}

/// What the headers of one format say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Ids and a decision.
    Context(Extracted),
    /// A decision without ids (only B3 has this); never deferred.
    State(Sampled),
}

// === impl Extracted ===

impl Extracted {
    pub(super) fn new(format: Format, trace_id: TraceId, span_id: Option<SpanId>, sampled: Sampled) -> Self {
        Self { format, trace_id, span_id, sampled, random: false, trace_state: TraceState::empty() }
    }

    /// The ids and flags that a child or a link needs; `None` if the caller named no span.
    pub fn context(&self) -> Option<SpanContext> {
        let sampled = matches!(self.sampled, Sampled::Accept | Sampled::Debug);
        let flags = Flags::new(sampled, self.random);
        self.span_id.map(|span_id| SpanContext { trace_id: self.trace_id, span_id, flags })
    }
}

// === impl Outgoing ===

impl Outgoing<'_> {
    /// The sampled flag for formats that cannot defer. Of a deferred decision it is the flag of the context.
    pub(super) fn flag(&self) -> bool {
        self.sampled.decision().unwrap_or(self.context.flags.sampled())
    }
}
