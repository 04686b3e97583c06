//! The life of one stream: headers in, edits out, and at the end a span if it is kept. Pure: every effect is an argument.

use crate::config::{Config, Dialect, Direction, Trust};
use crate::context::{Flags, Sampled, SpanContext};
use crate::export::{Counter, Stats, is_telemetry};
use crate::http::authority::without_port;
use crate::http::headers::{self, Header, HeaderEdit};
use crate::id::{Entropy, SpanId, TraceId};
use crate::propagation::headers::decode_pairs;
use crate::propagation::{Incoming, Outgoing, TraceHeaders, TraceState, edits, extract, traceparent};
use crate::sampling::keep::{self, Kept, Mark, Signal};
use crate::sampling::outcome::Outcome;
use crate::sampling::response_flags::ResponseFlags;
use crate::sampling::rules::{self, Facts, Policy, Sampler};
use crate::sampling::threshold::{OtelState, Threshold};
use crate::sampling::{self, Cap, Head, HeadThreshold, OtChange, ParentState, Reason, Verdict};
use crate::span::attributes::{self, Attributes, path};
use crate::span::{self, EndedRequest, Environment, Identity, Ids, Link, OriginalRequest, Span, SpanBuilder, Workload};
use std::str::FromStr;

/// Compiled once per configuration; shared by all streams of a root context.
pub struct Plan {
    config: Config,
    identity: Identity,
    span_builder: SpanBuilder,
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
    /// τ of a policy's cap at the last flush: what a signal may promise.
    pub last_tau: &'a dyn Fn(usize, Cap) -> Option<Threshold>,
}

/// One request, from its headers to its end.
pub struct Stream {
    draft: OriginalRequest,
    incoming: Incoming,
    trace_id: TraceId,
    span_id: SpanId,
    /// The right-most 56 bits of the trace id are said to be random.
    random: bool,
    /// What goes upstream; the span's own differs in its threshold.
    trace_state: TraceState,
    /// `None`: nothing is recorded, the parent's context is handed on.
    recording: Option<Recording>,
    /// Telemetry: unsampled, whatever came in.
    silenced: bool,
    response: Response,
}

/// The sampling side of a stream.
struct Recording {
    policy: usize,
    head: Head,
    /// What is known of errors that were kept below.
    below: Option<Kept>,
    /// The listener that serves our caller has been told.
    told: bool,
}

/// What the response headers said; all empty until they come.
#[derive(Clone, Copy, Default)]
struct Response {
    seen: bool,
    complete: bool,
    status: Option<u16>,
    grpc_status: Option<u32>,
    /// Attempts so far; 0 where nobody asked.
    attempts: u32,
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
    /// Somebody changed the trace headers that we wrote.
    pub overwritten: bool,
}

// === impl Plan ===

impl Plan {
    /// Resolves everything that does not depend on a request.
    pub fn new(config: Config, environment: &Environment, identity: Identity) -> Self {
        let Workload { namespace, name, labels } = &identity.workload;
        let sampler = Sampler::new(&config.sampling, &rules::Workload { namespace, name, labels });
        let span_builder = SpanBuilder::new(&config, environment);
        Self { config, identity, span_builder, sampler }
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
    pub fn direction(&self, listener: impl FnOnce() -> Option<i64>) -> Direction {
        if self.identity.gateway || self.identity.waypoint {
            return Direction::Gateway;
        }
        match listener() {
            Some(1) => Direction::Inbound,
            Some(2) => Direction::Outbound,
            _ => Direction::Gateway,
        }
    }
}

// === impl World ===

impl World<'_> {
    /// A number, time or duration among Envoy's attributes.
    fn number(&self, path: &[u8]) -> Option<u64> {
        self.attributes.get(path).as_deref().and_then(attributes::uint)
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
        let scan = TraceHeaders::new(headers);
        let stream = Self::decide(plan, OriginalRequest::new(direction, headers), headers, &scan, entropy, stats);
        let edits = edits(&scan, &stream.incoming, &stream.outgoing(), &plan.config.propagation);
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
        Self::decide(
            plan,
            OriginalRequest::at_end(direction, headers),
            headers,
            &TraceHeaders::new(headers),
            entropy,
            stats,
        )
    }

    fn decide(
        plan: &Plan,
        draft: OriginalRequest,
        headers: &[Header<'_>],
        scan: &TraceHeaders<'_, '_>,
        entropy: &mut dyn Entropy,
        stats: &mut Stats,
    ) -> Self {
        stats.count(match draft.direction {
            Direction::Inbound => Counter::RequestsInbound,
            Direction::Outbound => Counter::RequestsOutbound,
            Direction::Gateway => Counter::RequestsGateway,
        });
        let incoming = extract(scan, &plan.config.propagation);
        if plan.config.propagation.trust == Trust::Continue && !incoming.links.is_empty() {
            stats.count(Counter::PropagationConflicts);
        }
        if incoming.invalid {
            stats.count(Counter::PropagationInvalid);
        }
        let (policy, rule) = plan.sampler.policy_of(|| facts(&draft, headers));
        let telemetry = carries_telemetry(&draft, headers);
        if rule.drop || telemetry {
            stats.count(Counter::RequestsIgnored);
            let stream = Self::hand_on(draft, incoming, entropy);
            return if telemetry { stream.silenced(entropy) } else { stream };
        }
        let trace_id = incoming.extracted.as_ref().map_or_else(|| TraceId::random(entropy), |found| found.trace_id);
        let head = sampling::decide(rule, trace_id, parent_state(&incoming).as_ref());
        let mut trace_state =
            incoming.extracted.as_ref().map_or_else(TraceState::empty, |found| found.trace_state.clone());
        change_ot(&mut trace_state, &head.ot);
        Self {
            trace_id,
            span_id: SpanId::random(entropy),
            random: incoming.extracted.as_ref().is_none_or(|found| found.random),
            trace_state,
            silenced: false,
            recording: Some(Recording { policy, head, below: None, told: false }),
            response: Response::default(),
            draft,
            incoming,
        }
    }

    /// Without a span of our own the parent's context goes on as it is; without a parent, an unsampled one starts.
    fn hand_on(draft: OriginalRequest, incoming: Incoming, entropy: &mut dyn Entropy) -> Self {
        let extracted = incoming.extracted.as_ref();
        Self {
            trace_id: extracted.map_or_else(|| TraceId::random(entropy), |found| found.trace_id),
            span_id: extracted.and_then(|found| found.span_id).unwrap_or_else(|| SpanId::random(entropy)),
            random: extracted.is_none_or(|found| found.random),
            trace_state: extracted.map_or_else(TraceState::empty, |found| found.trace_state.clone()),
            recording: None,
            silenced: false,
            response: Response::default(),
            draft,
            incoming,
        }
    }

    /// Telemetry that brings a sampled context must not make a receiver trace its own traces: from here on it is unsampled.
    /// The flag may only change together with the parent id (W3C Trace Context, "Mutating the traceparent Field").
    fn silenced(mut self, entropy: &mut dyn Entropy) -> Self {
        self.span_id = SpanId::random(entropy);
        let ot = OtelState::parse(self.trace_state.get("ot").unwrap_or_default());
        let change = ot.with_threshold(None).map_or(OtChange::Remove, OtChange::Set);
        change_ot(&mut self.trace_state, &change);
        Self { silenced: true, ..self }
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
            None if self.silenced => Sampled::Deny,
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
            attempts: 0,
        };
        let mut edits = Vec::new();
        match self.draft.direction {
            Direction::Inbound => {
                self.find_mark(plan, world);
                self.answer_caller(plan, world, &mut edits);
            }
            Direction::Outbound => {
                self.hear_callee(plan, headers, world, &mut edits);
                self.tell_inbound(plan, world);
            }
            // One listener serves both sides: what it hears it knows, without a mark.
            Direction::Gateway => {
                self.hear_callee(plan, headers, world, &mut edits);
                if plan.identity.waypoint {
                    self.answer_caller(plan, world, &mut edits);
                }
            }
        }
        // For whoever called this workload; an application has no use for the ids of its own calls.
        let to_caller = plan.config.propagation.trace_id_response_header.as_ref();
        if let Some(name) = to_caller.filter(|_| self.draft.direction != Direction::Outbound) {
            edits.push(HeaderEdit::Set(name.clone().into(), self.trace_id.hex().to_vec()));
        }
        edits
    }

    /// Towards the caller: a late keep is signalled, also to a caller that samples the trace anyway, because its span then
    /// belongs to another stratum and carries another threshold.
    fn answer_caller(&self, plan: &Plan, world: &mut World<'_>, edits: &mut Vec<HeaderEdit>) {
        let caller = self.incoming.extracted.is_some();
        let Some(policy) = self.policy(plan).filter(|policy| caller && policy.errors.whole_path) else { return };
        let outcome = self.outcome_so_far(policy, world);
        let Some(kept) = self.promise(policy, world, &outcome, policy.errors.is_error_so_far(&outcome)) else { return };
        let signal = Signal { trace_id: self.trace_id, span_id: self.span_id, kept };
        // A line of its own: what the application wrote stays as it is, and a quote that it left open swallows nothing.
        edits.push(HeaderEdit::Add("server-timing".into(), signal.write()));
        world.stats.count(Counter::SignalsSent);
    }

    /// From the callee: its signal, or that it was tried more than once.
    fn hear_callee(&mut self, plan: &Plan, headers: &[Header<'_>], world: &mut World<'_>, edits: &mut Vec<HeaderEdit>) {
        let unsampled = self.recording.as_ref().is_some_and(|recording| recording.head.sampled == Sampled::Deny);
        let signal = keep::find(headers, self.trace_id, unsampled);
        if !plan.config.propagation.expose_keep_signal {
            keep::strip(headers, edits);
        }
        let (Some(policy), Some(recording)) = (self.policy(plan), &mut self.recording) else { return };
        if !policy.errors.whole_path {
            return;
        }
        match signal {
            Some(kept) => {
                world.stats.count(Counter::SignalsReceived);
                recording.learn(kept);
            }
            None if !edits.is_empty() => world.stats.count(Counter::SignalsIgnored),
            None => {}
        }
        let attempts = world.number(path::UPSTREAM_REQUEST_ATTEMPT_COUNT).unwrap_or_default();
        // The last one: what answers is not tried again.
        self.response.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        // Envoy tried again: the failed attempt and its signal are gone, but its callee kept an error.
        if let Some(threshold) = policy.errors.threshold.filter(|_| attempts > 1) {
            recording.learn(Kept::At(threshold));
        }
    }

    /// To the listener that serves our caller, as far as the response headers tell.
    fn tell_inbound(&mut self, plan: &Plan, world: &mut World<'_>) {
        let Some(policy) = self.policy(plan) else { return };
        let outcome = self.outcome_so_far(policy, world);
        self.leave_mark(policy, world, &outcome, policy.errors.is_error_so_far(&outcome));
    }

    /// What the other listener learnt of this trace, on whichever worker.
    fn find_mark(&mut self, plan: &Plan, world: &mut World<'_>) {
        let whole_path = self.policy(plan).is_some_and(|policy| policy.errors.whole_path);
        let Some(recording) = self.recording.as_mut().filter(|_| whole_path) else { return };
        let mark = world.marks.read(recording.head.randomness).filter(|mark| mark.trace_id == self.trace_id);
        let start = |world: &World<'_>| world.number(path::REQUEST_TIME);
        // What an earlier request of this trace met (the attempt before, another call) is no news of this one.
        if let Some(mark) = mark.filter(|mark| start(world).is_none_or(|start| mark.time_ns >= start)) {
            world.stats.count(Counter::MarksFound);
            recording.learn(mark.kept);
        }
    }

    /// Tells the listener that serves our caller, once: what is written again would only say the same.
    fn leave_mark(&mut self, policy: &Policy, world: &mut World<'_>, outcome: &Outcome, failed: bool) {
        if self.recording.as_ref().is_none_or(|recording| recording.told) || !policy.errors.whole_path {
            return;
        }
        let Some(kept) = self.promise(policy, world, outcome, failed) else { return };
        let Some(recording) = &mut self.recording else { return };
        recording.told = true;
        let mark = Mark { trace_id: self.trace_id, kept, time_ns: (world.now_ns)() };
        match world.marks.write(recording.head.randomness, mark) {
            Written::Stored => world.stats.count(Counter::MarksWritten),
            Written::Overwrote => {
                world.stats.count(Counter::MarksWritten);
                world.stats.count(Counter::MarksOverwritten);
            }
            Written::Failed => world.stats.count(Counter::HostErrors),
        }
    }

    /// With which threshold our callers may count on this span being kept late; `None` if it is not.
    fn promise(&self, policy: &Policy, world: &World<'_>, outcome: &Outcome, failed: bool) -> Option<Kept> {
        let recording = self.recording.as_ref()?;
        let verdict = sampling::revise(policy, &recording.head, failed, outcome, recording.below);
        let tau = verdict.cap.and_then(|cap| (world.last_tau)(recording.policy, cap));
        verdict.promise(recording.head.randomness, tau)
    }

    /// The stream has ended: its span, if it is kept.
    pub fn finish(mut self, plan: &Plan, world: &mut World<'_>) -> Option<Finished> {
        let policy = self.policy(plan)?;
        if self.recording.as_ref()?.head.sampled.decision() == Some(true) {
            world.attributes.expect_span(self.draft.kind());
        }
        let outcome = self.outcome(policy, world);
        let failed = policy.errors.is_error(&outcome);
        match self.draft.direction {
            Direction::Outbound => self.leave_mark(policy, world, &outcome, failed),
            // Not asked again: what a stream met after its headers had left can be signalled to nobody any more.
            Direction::Inbound | Direction::Gateway => {}
        }
        let recording = self.recording.as_ref()?;
        let verdict = sampling::revise(policy, &recording.head, failed, &outcome, recording.below);
        if !verdict.keep {
            return None;
        }
        world.attributes.expect_span(self.draft.kind());
        let overwritten = self.is_overwritten(plan, world);
        if overwritten {
            world.stats.count(Counter::PropagationOverwritten);
        }
        world.stats.count(Counter::SpansCreated);
        world.stats.count(counter(verdict.reason));
        Some(Finished {
            span: self.span(plan, &outcome, verdict.reason, world),
            trace_state: self.trace_state,
            head: recording.head.threshold,
            randomness: recording.head.randomness,
            policy: recording.policy,
            verdict,
            overwritten,
        })
    }

    fn span(&self, plan: &Plan, outcome: &Outcome, reason: Reason, world: &World<'_>) -> Span {
        let restarted = plan.config.propagation.trust == Trust::Restart;
        let link = |context: &SpanContext| Link {
            context: *context,
            attributes: vec![span::Attribute::new("reason", if restarted { "restarted" } else { "conflict" })],
        };
        let ids = Ids {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent: self.incoming.extracted.as_ref().and_then(|found| found.span_id),
            flags: Flags::new(true, self.random),
            links: self.incoming.links.iter().map(link).collect(),
        };
        let (start_ns, end_ns) = self.times(outcome, world);
        let reason = reason.as_str();
        let request = EndedRequest { original: &self.draft, ids, outcome, start_ns, end_ns, reason };
        plan.span_builder.build(&plan.identity, request, world.attributes)
    }

    /// Envoy's own clock; ours if it does not tell.
    fn times(&self, outcome: &Outcome, world: &World<'_>) -> (u64, u64) {
        let start = world.number(path::REQUEST_TIME);
        let duration = match outcome.duration_ns {
            0 => duration_ns(world),
            known => known,
        };
        let start = start.unwrap_or_else(|| (world.now_ns)().saturating_sub(duration));
        (start, start.saturating_add(duration))
    }

    /// What is known when the response headers have come: the status, and the time so far where somebody asks for it.
    fn outcome_so_far(&self, policy: &Policy, world: &World<'_>) -> Outcome {
        let duration_ns = match &policy.slow {
            Some(_) => {
                let start = world.number(path::REQUEST_TIME);
                start.map_or(0, |start| (world.now_ns)().saturating_sub(start))
            }
            None => 0,
        };
        let Response { status: http_status, grpc_status, .. } = self.response;
        Outcome { http_status, grpc_status, grpc: self.draft.grpc, duration_ns, ..Outcome::default() }
    }

    /// What is known at the end. Each read is a host call, so only what decides is read.
    fn outcome(&self, policy: &Policy, world: &World<'_>) -> Outcome {
        let http_status = match self.response.seen {
            true => self.response.status,
            false => {
                world.number(path::RESPONSE_CODE).and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 100)
            }
        };
        let grpc_status = match self.draft.grpc && !self.response.complete {
            true => self.response.grpc_status.or_else(|| trailing_grpc_status(world.attributes)),
            false => self.response.grpc_status,
        };
        Outcome {
            http_status,
            grpc_status,
            grpc: self.draft.grpc,
            flags: ResponseFlags(world.number(path::RESPONSE_FLAGS).unwrap_or_default()),
            duration_ns: if policy.slow.is_some() { duration_ns(world) } else { 0 },
            attempts: self.response.attempts,
        }
    }

    /// A native tracer that is still on replaces what we wrote, and nothing of ours would link (trap 1). Envoy's Zipkin
    /// tracer writes `x-b3-*` only, and writes them also where we had not.
    fn is_overwritten(&self, plan: &Plan, world: &World<'_>) -> bool {
        if !self.draft.seen {
            return false;
        }
        let block = world.attributes.request_headers();
        let headers = decode_pairs(&block);
        let w3c = || {
            let sent = headers::only(&headers, b"traceparent").and_then(traceparent::parse);
            sent.is_none_or(|sent| (sent.trace_id, sent.span_id) != (self.trace_id, self.span_id))
        };
        let b3 = || headers::values(&headers, b"x-b3-spanid").any(|sent| *sent != self.span_id.hex());
        !headers.is_empty() && (b3() || (plan.config.propagation.inject.contains(&Dialect::TraceContext) && w3c()))
    }

    fn policy<'p>(&self, plan: &'p Plan) -> Option<&'p Policy> {
        self.recording.as_ref().map(|recording| plan.sampler.get(recording.policy))
    }
}

// === impl Recording ===

impl Recording {
    fn learn(&mut self, kept: Kept) {
        self.below = Some(self.below.map_or(kept, |known| known.or(kept)));
    }
}

// === impl Finished ===

impl Finished {
    /// The `tracestate` of the exported span, its threshold being `threshold` (`None`: unknown, so it says nothing).
    pub fn exported_trace_state(trace_state: &TraceState, threshold: Option<Threshold>) -> TraceState {
        let ot = OtelState::parse(trace_state.get("ot").unwrap_or_default());
        let change = match ot.with_threshold(threshold) {
            Some(value) => OtChange::Set(value),
            None => OtChange::Remove,
        };
        let mut exported = trace_state.clone();
        change_ot(&mut exported, &change);
        exported
    }
}

fn facts<'a>(draft: &'a OriginalRequest, headers: &'a [Header<'a>]) -> Facts<'a> {
    let host = draft.authority();
    Facts { direction: draft.direction, host: without_port(host), method: draft.method(), path: draft.path(), headers }
}

/// Telemetry must not become telemetry.
fn carries_telemetry(draft: &OriginalRequest, headers: &[Header<'_>]) -> bool {
    draft.method() == b"POST" && {
        let value = |name: &[u8]| headers::first(headers, name).unwrap_or_default();
        is_telemetry(draft.path(), value(b"content-type"), value(b"user-agent"))
    }
}

fn parent_state(incoming: &Incoming) -> Option<ParentState<'_>> {
    let extracted = incoming.extracted.as_ref();
    let context = extracted.map(|found| ParentState { sampled: found.sampled, ot: found.trace_state.get("ot") });
    context.or_else(|| incoming.instruction.map(|sampled| ParentState { sampled, ot: None }))
}

fn change_ot(trace_state: &mut TraceState, change: &OtChange) {
    match change {
        OtChange::Keep => {}
        OtChange::Set(value) => {
            trace_state.set("ot", value);
        }
        OtChange::Remove => {
            trace_state.remove("ot");
        }
    }
}

fn trailing_grpc_status(attributes: &dyn Attributes) -> Option<u32> {
    let block = attributes.response_trailers();
    headers::first(&decode_pairs(&block), b"grpc-status").and_then(number)
}

fn duration_ns(world: &World<'_>) -> u64 {
    world.number(path::REQUEST_DURATION).unwrap_or_default()
}

fn counter(reason: Reason) -> Counter {
    match reason {
        Reason::Head => Counter::KeptHead,
        Reason::Parent => Counter::KeptParent,
        Reason::Error => Counter::KeptError,
        Reason::Slow => Counter::KeptSlow,
        Reason::Marked => Counter::KeptMarked,
        Reason::Debug => Counter::KeptDebug,
    }
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
