//! The life of one stream: headers in, edits out, and at the end a span if it is kept. Pure: every effect is an argument.

use crate::config::{Config, Direction, Trust};
use crate::context::{Flags, Sampled, SpanContext};
use crate::export::stats::{Counter, Stats};
use crate::id::{Entropy, SpanId, TraceId};
use crate::propagation::headers::{self, Header, HeaderEdit, decode_pairs};
use crate::propagation::{self, Incoming, Outgoing, TraceState, edits, extract};
use crate::sampling::keep::{self, Mark, Signal};
use crate::sampling::outcome::{Outcome, ResponseFlags};
use crate::sampling::rules::{Facts, Policy, Sampler};
use crate::sampling::threshold::{OtelState, Threshold};
use crate::sampling::{self, Head, HeadThreshold, OtChange, ParentState, Reason, Verdict};
use crate::span::attributes::{self, Attributes};
use crate::span::{self, Draft, Identity, Ids, Link, Recipe, Span};

/// Compiled once per configuration; shared by all streams of a root context.
pub struct Plan {
    config: Config,
    identity: Identity,
    recipe: Recipe,
    sampler: Sampler,
}

/// What the other listener of this proxy is told: marks in a store shared by all workers.
pub trait Marks {
    /// The mark in the slot of `randomness`, whoever left it.
    fn read(&mut self, randomness: u64) -> Option<Mark>;
    /// Leaves a mark.
    fn write(&mut self, randomness: u64, mark: Mark) -> Written;
}

/// What writing a mark did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Stored,
    /// It is there, and another trace's live mark is gone.
    Overwrote,
    /// It could not be stored.
    Failed,
}

/// Effects that a callback may need, each of them lazy because each is a host call.
pub struct World<'a> {
    /// Envoy's attributes and header maps.
    pub attributes: &'a dyn Attributes,
    /// Marks for the other listener.
    pub marks: &'a mut dyn Marks,
    /// Counters.
    pub stats: &'a mut Stats,
    /// Nanoseconds since the Unix epoch.
    pub now_ns: &'a dyn Fn() -> u64,
    /// Threshold of the error cap at the last flush: what a signal may promise.
    pub cap: Option<Threshold>,
}

/// One request, from its headers to its end.
pub struct Stream {
    draft: Draft,
    incoming: Incoming,
    trace_id: TraceId,
    span_id: SpanId,
    /// The right-most 56 bits of the trace id are said to be random.
    random: bool,
    /// What goes upstream; the span's own differs in its threshold.
    trace_state: TraceState,
    /// `None`: nothing is recorded, the parent's context is handed on.
    recording: Option<Recording>,
    response: Response,
}

/// The sampling side of a stream.
struct Recording {
    policy: usize,
    head: Head,
    /// The smallest threshold with which an error below was kept.
    mark: Option<Threshold>,
    /// The other listener has been told, or has told us.
    told: bool,
    attempts: u32,
}

/// What the response headers said; all empty until they come.
#[derive(Clone, Copy, Default)]
struct Response {
    seen: bool,
    complete: bool,
    status: Option<u16>,
    grpc_status: Option<u32>,
}

/// A span that is kept, with what its sampling needs until the flush.
pub struct Finished {
    /// Ready to be encoded.
    pub span: Span,
    /// What the span's own `tracestate` is made from: its `ot` member gets the threshold of the stratum.
    pub trace_state: TraceState,
    /// The threshold of the head decision.
    pub head: HeadThreshold,
    /// Why it is kept.
    pub verdict: Verdict,
    /// R of the trace.
    pub randomness: u64,
    /// The policy that applied: its caps count it.
    pub policy: usize,
}

// === impl Plan ===

impl Plan {
    /// Resolves everything that does not depend on a request.
    pub fn new(config: Config, environment: &Environment, identity: Identity) -> Self {
        let Workload { namespace, name, labels } = &identity.workload;
        let sampler = Sampler::new(&config.sampling, &rules::Workload { namespace, name, labels });
        let recipe = Recipe::new(&config, environment);
        Self { config, identity, recipe, sampler }
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who this proxy speaks for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The sampling policies that can apply to this workload.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// What a listener's `xds.listener_direction` (1 inbound, 2 outbound, else unspecified) means here. The listeners of a
    /// gateway or waypoint serve both sides whatever they say, and so does an Envoy that says nothing.
    pub fn direction(&self, listener: Option<i64>) -> Direction {
        match listener {
            _ if self.identity.gateway || self.identity.waypoint => Direction::Gateway,
            Some(1) => Direction::Inbound,
            Some(2) => Direction::Outbound,
            _ => Direction::Gateway,
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Extracts, decides, and says what is to change in the request headers.
    pub fn start(
        plan: &Plan,
        direction: Direction,
        headers: &[Header<'_>],
        entropy: &mut dyn Entropy,
        stats: &mut Stats,
    ) -> (Self, Vec<HeaderEdit>) {
        let stream = Self::decide(plan, Draft::new(direction, headers), headers, entropy, stats);
        let edits = edits(headers, &stream.incoming, &stream.outgoing(), &plan.config.propagation);
        (stream, edits)
    }

    /// A request that was answered before it reached this filter: nothing was propagated, but there is a span.
    pub fn at_end(
        plan: &Plan,
        direction: Direction,
        headers: &[Header<'_>],
        entropy: &mut dyn Entropy,
        stats: &mut Stats,
    ) -> Self {
        Self::decide(plan, Draft::at_end(direction, headers), headers, entropy, stats)
    }

    fn decide(plan: &Plan, draft: Draft, headers: &[Header<'_>], entropy: &mut dyn Entropy, stats: &mut Stats) -> Self {
        stats.count(match draft.direction {
            Direction::Inbound => Counter::RequestsInbound,
            Direction::Outbound => Counter::RequestsOutbound,
            Direction::Gateway => Counter::RequestsGateway,
        });
        let incoming = extract(headers, &plan.config.propagation);
        if plan.config.propagation.trust == Trust::Continue && !incoming.links.is_empty() {
            stats.count(Counter::PropagationConflicts);
        }
        let (policy, rule) = plan.sampler.policy(&facts(&draft, headers));
        if rule.drop || is_telemetry(&draft, headers) {
            stats.count(Counter::RequestsIgnored);
            return Self::hand_on(draft, incoming, entropy);
        }
        let trace_id = incoming.extracted.as_ref().map_or_else(|| TraceId::random(entropy), |found| found.trace_id);
        let head = sampling::decide(rule, trace_id, parent_state(&incoming).as_ref());
        let mut trace_state = incoming.extracted.as_ref().map_or_else(TraceState::empty, |found| found.trace_state.clone());
        change_ot(&mut trace_state, &head.ot);
        Self {
            trace_id,
            span_id: SpanId::random(entropy),
            random: incoming.extracted.as_ref().is_none_or(|found| found.random),
            trace_state,
            recording: Some(Recording { policy, head, mark: None, told: false, attempts: 0 }),
            response: Response::default(),
            draft,
            incoming,
        }
    }

    /// Without a span of our own the parent's context goes on as it is; without a parent, an unsampled one starts.
    fn hand_on(draft: Draft, incoming: Incoming, entropy: &mut dyn Entropy) -> Self {
        let extracted = incoming.extracted.as_ref();
        Self {
            trace_id: extracted.map_or_else(|| TraceId::random(entropy), |found| found.trace_id),
            span_id: extracted.and_then(|found| found.span_id).unwrap_or_else(|| SpanId::random(entropy)),
            random: extracted.is_none_or(|found| found.random),
            trace_state: extracted.map_or_else(TraceState::empty, |found| found.trace_state.clone()),
            recording: None,
            response: Response::default(),
            draft,
            incoming,
        }
    }

    /// What came in.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The head decision; `None` where nothing is recorded.
    pub fn head(&self) -> Option<&Head> {
        self.recording.as_ref().map(|recording| &recording.head)
    }

    /// What goes upstream.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let sampled = match &self.recording {
            Some(recording) => recording.head.sampled,
            None => parent_state(&self.incoming).map_or(Sampled::Deny, |parent| parent.sampled),
        };
        let flags = Flags::new(sampled.decision().unwrap_or_default(), self.random);
        let context = SpanContext { trace_id: self.trace_id, span_id: self.span_id, flags };
        Outgoing { context, sampled, trace_state: &self.trace_state }
    }

    /// Takes what the response headers tell, and says what is to change in them.
    pub fn response_headers(
        &mut self,
        plan: &Plan,
        headers: &[Header<'_>],
        end_of_stream: bool,
        world: &mut World<'_>,
    ) -> Vec<HeaderEdit> {
        self.response = Response {
            seen: true,
            complete: end_of_stream,
            status: headers::first(headers, b":status").and_then(number),
            grpc_status: headers::first(headers, b"grpc-status").filter(|_| self.draft.grpc).and_then(number),
        };
        let mut edits = Vec::new();
        match self.draft.direction {
            Direction::Inbound => self.answer_caller(plan, headers, world, &mut edits),
            Direction::Outbound => self.hear_callee(plan, headers, world, &mut edits),
            Direction::Gateway => {
                self.hear_callee(plan, headers, world, &mut edits);
                if plan.identity.waypoint {
                    self.answer_caller(plan, headers, world, &mut edits);
                }
            }
        }
        if let Some(name) = &plan.config.propagation.trace_id_response_header {
            edits.push(HeaderEdit::Set(name.clone().into(), self.trace_id.hex().to_vec()));
        }
        edits
    }

    /// Towards the caller: a request that is to be kept although its sampled flag does not say so is signalled.
    fn answer_caller(
        &mut self,
        plan: &Plan,
        headers: &[Header<'_>],
        world: &mut World<'_>,
        edits: &mut Vec<HeaderEdit>,
    ) {
        let Some(policy) = self.policy(plan) else { return };
        self.find_mark(policy, world);
        let Some(threshold) = self.late_keep(policy, world) else { return };
        if self.incoming.extracted.is_none() {
            return;
        }
        let signal = Signal { trace_id: self.trace_id, span_id: self.span_id, threshold };
        let mut value = headers::values(headers, b"server-timing").collect::<Vec<_>>().join(&b", "[..]);
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(&signal.write());
        edits.push(HeaderEdit::Set("server-timing".into(), value));
        world.stats.count(Counter::SignalsSent);
    }

    /// From the callee: its signal, a retry, or its failure are told to the listener that serves our own caller.
    fn hear_callee(&mut self, plan: &Plan, headers: &[Header<'_>], world: &mut World<'_>, edits: &mut Vec<HeaderEdit>) {
        let signal = keep::find(headers, self.trace_id);
        if !plan.config.propagation.expose_keep_signal {
            keep::strip(headers, edits);
        }
        let Some(policy) = self.policy(plan) else { return };
        if !policy.errors.whole_path {
            return;
        }
        let attempts = world.attributes.get(paths::UPSTREAM_REQUEST_ATTEMPT_COUNT);
        let attempts = attempts.as_deref().and_then(attributes::uint).and_then(|count| u32::try_from(count).ok());
        if let Some(recording) = &mut self.recording {
            recording.attempts = attempts.unwrap_or_default();
            if let Some(threshold) = signal {
                world.stats.count(Counter::SignalsReceived);
                recording.lower_mark(threshold);
            }
            // Envoy tried again: the failed attempt and its signal are gone, but its callee kept an error.
            if recording.attempts > 1 {
                recording.lower_mark(policy.errors.threshold);
            }
        }
        self.leave_mark(policy, world);
    }

    /// The stream has ended: its span, if it is kept.
    pub fn finish(mut self, plan: &Plan, world: &mut World<'_>) -> Option<Finished> {
        let policy = self.policy(plan)?;
        if self.draft.direction == Direction::Outbound {
            self.leave_mark(policy, world);
        } else if self.draft.grpc && !self.response.complete {
            // A stream of messages may have called others after its headers had left.
            self.find_mark(policy, world);
        }
        let outcome = self.outcome(policy, world, true);
        let recording = self.recording.as_ref()?;
        let verdict = sampling::revise(policy, &recording.head, &outcome, recording.mark);
        if !verdict.keep {
            return None;
        }
        self.detect_overwriting(plan, world);
        Some(self.into_finished(plan, world, outcome, verdict))
    }
}
