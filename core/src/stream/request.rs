//! The request headers: which trace, is it sampled, and what the next hop is told.

use super::host::StreamHost;
use super::native::Native;
use super::plan::Plan;
use super::span_ids;
use super::state::{Recording, ResponseHead, Sampling, Stream, WholePath, parent_state};
use crate::config::{Direction, Trust};
use crate::context::Sampled;
use crate::export::{Counter, Stats, is_telemetry};
use crate::http::authority;
use crate::http::headers::{self, Header, HeaderEdit};
use crate::id::{Entropy, SpanId, TraceId};
use crate::propagation::{Incoming, TraceHeaders, TraceState, edits, extract};
use crate::sampling;
use crate::sampling::rules::{Facts, Policy};
use crate::span::OriginalRequest;
use std::sync::Arc;

/// What came with a request.
struct Came {
    incoming: Incoming,
    native: Option<Native>,
}

// === impl Came ===

impl Came {
    fn new(plan: &Plan, headers: &TraceHeaders<'_, '_>) -> Self {
        match plan.adopts() {
            true => {
                let native = Native::new(headers);
                Self { incoming: native.incoming(plan.native_format()), native: Some(native) }
            }
            false => Self { incoming: extract(headers, &plan.config().propagation), native: None },
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Reads the request headers, decides, and returns the changes of the request headers.
    pub fn start(
        plan: &Arc<Plan>,
        direction: Direction,
        headers: &[Header<'_>],
        entropy: &mut dyn Entropy,
        host: &dyn StreamHost,
        stats: &mut Stats,
    ) -> (Self, Vec<HeaderEdit>) {
        let scan = TraceHeaders::new(headers);
        let came = Came::new(plan, &scan);
        let original = OriginalRequest::new(direction, headers);
        let stream = Self::decide(plan, original, headers, came, entropy, host, stats);
        if stream.native.is_some() {
            return (stream, Vec::new());
        }
        let edits = edits(&scan, &stream.incoming, &stream.outgoing(), &plan.config().propagation);
        (stream, edits)
    }

    /// For a request that was answered before it reached this filter: nothing was propagated, but there is a span.
    pub fn at_end(
        plan: &Arc<Plan>,
        direction: Direction,
        headers: &[Header<'_>],
        entropy: &mut dyn Entropy,
        host: &dyn StreamHost,
        stats: &mut Stats,
    ) -> Self {
        let came = Came::new(plan, &TraceHeaders::new(headers));
        Self::decide(plan, OriginalRequest::at_end(direction, headers), headers, came, entropy, host, stats)
    }

    fn decide(
        plan: &Arc<Plan>,
        original: OriginalRequest,
        headers: &[Header<'_>],
        came: Came,
        entropy: &mut dyn Entropy,
        host: &dyn StreamHost,
        stats: &mut Stats,
    ) -> Self {
        count(plan, original.direction, &came.incoming, stats);
        let (number, policy) = plan.sampler().policy_of(|| facts(&original, headers));
        let telemetry = carries_telemetry(&original, headers);
        let mut stream = Self::passing_on(plan, original, came, entropy);
        if telemetry {
            stream.silence(entropy);
        } else if !policy.drop {
            stream.record((number, policy), entropy, host, stats);
        }
        if !matches!(stream.recording, Recording::On(_)) {
            stats.count(Counter::RequestsIgnored);
        }
        stream
    }

    /// Passes the caller's context on. Without a caller it is a new one, which is not sampled.
    fn passing_on(plan: &Arc<Plan>, original: OriginalRequest, came: Came, entropy: &mut dyn Entropy) -> Self {
        let Came { incoming, native } = came;
        let extracted = incoming.extracted.as_ref();
        Self {
            plan: Arc::clone(plan),
            trace_id: extracted.map_or_else(|| TraceId::random(entropy), |found| found.trace_id),
            span_id: extracted.and_then(|found| found.span_id).unwrap_or_else(|| SpanId::random(entropy)),
            random: extracted.is_none_or(|found| found.random),
            trace_state: extracted.map_or_else(TraceState::empty, |found| found.trace_state.clone()),
            recording: Recording::Off,
            response: ResponseHead::default(),
            original,
            incoming,
            native,
        }
    }

    /// Starts a span of our own. That of an inbound request has an id that can be recognised.
    fn record(
        &mut self,
        (number, policy): (usize, &Policy),
        entropy: &mut dyn Entropy,
        host: &dyn StreamHost,
        stats: &mut Stats,
    ) {
        if self.original.direction == Direction::Inbound && self.native.is_none() {
            self.span_id = span_ids::inbound(self.trace_id, entropy);
        } else if self.incoming.extracted.as_ref().is_some_and(|found| found.span_id.is_some()) {
            self.span_id = SpanId::random(entropy);
        }
        let head = match &self.native {
            Some(native) => native.head(self.trace_id, &self.trace_state),
            None => sampling::decide(policy, self.trace_id, parent_state(&self.incoming).as_ref()),
        };
        head.ot.apply(&mut self.trace_state);
        let cap = self.apply_caps(number, host, stats);
        self.recording = Recording::On(Sampling { policy: number, head, whole_path: WholePath::default(), cap });
    }

    /// Telemetry with a sampled context must not make its receiver trace its own traces, so from here on it is unsampled.
    /// The flag may only change together with the parent id; what is unsampled already may not change at all (W3C Trace
    /// Context, "Mutating the traceparent Field").
    fn silence(&mut self, entropy: &mut dyn Entropy) {
        self.recording = Recording::Silenced;
        if parent_state(&self.incoming).is_none_or(|parent| parent.sampled != Sampled::Deny) {
            self.span_id = SpanId::random(entropy);
            sampling::set_threshold(&mut self.trace_state, None);
        }
    }
}

fn count(plan: &Plan, direction: Direction, incoming: &Incoming, stats: &mut Stats) {
    stats.count(match direction {
        Direction::Inbound => Counter::RequestsInbound,
        Direction::Outbound => Counter::RequestsOutbound,
        Direction::Gateway => Counter::RequestsGateway,
    });
    if plan.config().propagation.trust == Trust::Continue && !incoming.links.is_empty() {
        stats.count(Counter::PropagationConflicts);
    }
    if incoming.invalid {
        stats.count(Counter::PropagationInvalid);
    }
}

fn facts<'a>(original: &'a OriginalRequest, headers: &'a [Header<'a>]) -> Facts<'a> {
    let host = original.authority();
    Facts {
        direction: original.direction,
        host: authority::without_port(host),
        method: original.method(),
        path: original.path(),
        headers,
    }
}

/// Whether the request carries telemetry, which must not be traced: its spans would be telemetry again.
fn carries_telemetry(original: &OriginalRequest, headers: &[Header<'_>]) -> bool {
    original.method() == b"POST" && {
        let value = |name: &[u8]| headers::first(headers, name).unwrap_or_default();
        is_telemetry(original.path(), value(b"content-type"), value(b"user-agent"))
    }
}
