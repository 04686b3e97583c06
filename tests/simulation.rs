//! A mesh in one thread: ten services behind a gateway, 100,000 requests, errors that callers mask, clients that leave, one or
//! two workers, and every hop deciding for itself as the filter does. Counts weighted by the exported thresholds must be the true counts, and of every error
//! the whole path from the root must be there.
//!
//! The decisions are the crate's own, and so is everything that passes between hops: `server-timing` as text, marks as
//! bytes in slots. Only Envoy and the applications are played. Deterministic: one seed, no clock.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use sidespan_core::config::{self, Direction};
use sidespan_core::context::Sampled;
use sidespan_core::http::headers::{Header, HeaderEdit};
use sidespan_core::id::{Entropy, SpanId, TraceId};
use sidespan_core::propagation::TraceState;
use sidespan_core::random::SplitMix64;
use sidespan_core::sampling::budgets::Budgets;
use sidespan_core::sampling::late_keep::{self, Below, Kept, Mark, Signal};
use sidespan_core::sampling::outcome::Outcome;
use sidespan_core::sampling::path_cap::PathCap;
use sidespan_core::sampling::request_cap::RequestCap;
use sidespan_core::sampling::response_flags::ResponseFlags;
use sidespan_core::sampling::rules::{Facts, Policy, Sampler, Workload};
use sidespan_core::sampling::threshold::Threshold;
use sidespan_core::sampling::{Head, OtChange, ParentState, Strata, beside_native, decide, revise};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const REQUESTS: u64 = 100_000;
const MILLISECOND: u64 = 1_000_000;
const GATEWAY: usize = 0;
const STORM: std::ops::Range<u64> = 10_000..50_000;

/// Whom each service calls, each with a chance of one half, so four visits a request; the longest path has six hops.
const CALLS: [&[usize]; 11] = [&[1], &[2, 3], &[4, 5], &[5, 6], &[7], &[7, 8], &[8], &[9], &[10], &[10], &[]];
/// Services that answer 200 to half of the errors below them.
const MASKS: [usize; 4] = [1, 3, 5, 7];
/// Services whose callers' sidecars try again after an error.
const RETRIED: [usize; 2] = [8, 10];
/// A service whose application sends metrics of its own.
const METRICS: usize = 7;
const METRIC: &[u8] = b"db;dur=53;desc=\"a, b\" , cache";

/// What differs between runs.
#[derive(Clone, Copy, Default)]
struct Scenario {
    /// The rate of the mesh in percent.
    head: f64,
    /// Errors are kept at 100 %, 50 % or 5 %, slow ones at 100 % or 20 %, by service; else all of them.
    mixed: bool,
    /// `maxPerSecond` of errors and of slow ones; 0 is none.
    cap: u32,
    /// Service 9 fails often for some time.
    storm: bool,
    /// Applications and clients send signals of other traces.
    forged: bool,
    /// Clients leave while the request is under way somewhere in the mesh: never, seldom, or as a storm.
    leave: f64,
    /// Each proxy has two workers, which have caps of their own.
    two_workers: bool,
    /// Envoy's own tracer samples, and the filter exports what it leaves out (`nativeTracer: adopt`).
    native: Option<Native>,
}

/// Envoy's own tracer: the gateway decides, all others follow.
#[derive(Clone, Copy)]
struct Native {
    /// In percent.
    rate: f64,
    /// By the randomness of the trace, as consistent samplers do, and not by chance.
    by_randomness: bool,
}

/// What is true of a span, and what was exported of it.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    trace: u64,
    randomness: u64,
    span_id: SpanId,
    parent_id: Option<SpanId>,
    /// Its place in the list of all.
    parent: Option<usize>,
    /// The rate that applies to it as a plain span, from the configuration alone.
    rate: Option<Threshold>,
    failed: bool,
    slow: bool,
    /// The client left while it was under way.
    cancelled: bool,
    /// A span below it failed.
    above: bool,
    /// What was exported, and with which threshold.
    exported: Option<Option<Threshold>>,
    /// Exported by Envoy's own tracer.
    native: bool,
    /// The threshold of its strata, whoever exports it; `None` if it is in none of them.
    stratum: Option<Threshold>,
}

struct Pod {
    sampler: Sampler,
    ignores_parent: bool,
    /// Of each worker.
    budgets: [Budgets; 2],
    /// Envoy's shared data, by slot.
    marks: BTreeMap<u64, Vec<u8>>,
}

/// What a request carries.
#[derive(Clone)]
struct Context {
    trace_id: TraceId,
    span_id: Option<SpanId>,
    sampled: Sampled,
    ot: Option<Vec<u8>>,
    /// The caps of the path.
    cap: PathCap,
}

/// What a response carries. No status: the stream was reset.
struct Response {
    status: Option<u16>,
    /// In the trailers.
    grpc_status: Option<u32>,
    timing: Vec<Vec<u8>>,
    duration_ns: u64,
}

/// One filter on one stream.
struct Stream {
    pod: usize,
    worker: usize,
    policy: usize,
    span: usize,
    trace_id: TraceId,
    head: Head,
    /// What is sent on.
    context: Context,
    below: Option<Below>,
    cap: RequestCap,
    told: bool,
}

struct Mesh {
    scenario: Scenario,
    random: Random,
    pods: Vec<Pod>,
    spans: Vec<Span>,
    request: u64,
    signals: u64,
    capped: u64,
    /// The client of the request has left: everything under way is cut.
    left: bool,
}

// === impl Pod ===

impl Pod {
    fn new(scenario: Scenario, service: usize) -> Self {
        // Two services have rates of their own, one above and one below the mesh's.
        let (head, parent) = match service {
            3 => (30.0, "ignore"),
            6 => (scenario.head / 5.0, "ignore"),
            _ => (scenario.head, "respect"),
        };
        let errors = if scenario.mixed { [100.0, 50.0, 5.0][service % 3] } else { 100.0 };
        let slow = if scenario.mixed { [100.0, 20.0][service % 2] } else { 100.0 };
        let cap = scenario.cap;
        let json = serde_json::json!({"sampling": {
            "randomSamplingPercentage": scenario.head,
            "rules": [{"name": "own", "match": {"workload": [service.to_string()]},
                       "randomSamplingPercentage": head, "parent": parent}],
            "errors": {"percentage": errors, "maxPerSecond": cap},
            "slow": {"threshold": "1s", "percentage": slow, "maxPerSecond": cap / 2},
            "cancelled": {"percentage": 100, "maxPerSecond": cap},
        }});
        let config = config::parse(json.to_string().as_bytes()).expect("valid").sampling;
        let workload = Workload { namespace: "shop", name: &service.to_string(), labels: &BTreeMap::new() };
        let sampler = Sampler::new(&config, &workload);
        let budgets = [0, 1].map(|_| Budgets::new(sampler.policies()));
        Self { budgets, sampler, ignores_parent: parent == "ignore", marks: BTreeMap::new() }
    }
}

// === impl Mesh: Envoy and the applications ===

impl Mesh {
    fn run(scenario: Scenario, requests: u64) -> Self {
        let pods = (0..CALLS.len()).map(|service| Pod::new(scenario, service)).collect();
        let (random, spans) = (Random(SplitMix64::new(4)), Vec::with_capacity(1_000_000));
        let mut mesh = Self { scenario, random, pods, spans, request: 0, signals: 0, capped: 0, left: false };
        for request in 0..requests {
            (mesh.request, mesh.left) = (request, false);
            mesh.enter();
        }
        mesh
    }

    /// A client calls the gateway; one in ten brings randomness of its own.
    fn enter(&mut self) {
        let context = self.random.chance(0.1).then(|| Context {
            trace_id: TraceId::random(&mut self.random),
            span_id: None,
            sampled: Sampled::Defer,
            ot: Some(format!("rv:{:014x}", self.random.next() >> 8).into_bytes()),
            cap: PathCap::NONE,
        });
        let mut stream = self.start(GATEWAY, Direction::Gateway, context.as_ref(), None);
        let mut response = self.call(&stream, CALLS[GATEWAY][0]);
        if response.status.is_some() {
            self.hear(&mut stream, &mut response, 1);
        }
        assert!(!says_trace(&response), "no client ever sees a signal");
        self.finish(stream, &response);
    }

    /// A sidecar takes a request to its application, and the answer back.
    fn visit(&mut self, service: usize, context: &Context, parent: usize) -> Response {
        let mut stream = self.start(service, Direction::Inbound, Some(context), Some(parent));
        let mut response = self.application(service, &stream.context, stream.span);
        if response.status.is_some() {
            self.answer(&mut stream, &mut response);
        }
        self.finish(stream, &response);
        response
    }

    /// Calls others one after the other, fails sometimes, masks some of the failures.
    fn application(&mut self, service: usize, context: &Context, parent: usize) -> Response {
        let mut duration_ns = if self.random.chance(0.002) { 1_500 } else { 10 } * MILLISECOND;
        let mut failed_below = false;
        self.left |= self.scenario.leave > 0.0 && self.random.chance(self.scenario.leave);
        for callee in CALLS[service] {
            if !self.left && self.random.chance(0.5) {
                let response = self.egress(service, *callee, context, parent);
                duration_ns += response.duration_ns;
                failed_below |= failed(&response);
            }
        }
        let storm = self.scenario.storm && service == 9 && STORM.contains(&self.request);
        let fails = self.random.chance(if storm { 0.6 } else { 0.005 });
        let masks = MASKS.contains(&service) && self.random.chance(0.5);
        let kind = self.random.next() % 8;
        let (status, grpc_status) = match kind {
            _ if self.left => (None, None),
            _ if !fails && failed_below && !masks => (Some(502), None),
            _ if !fails => (Some(200), None),
            0 => (None, None),
            1 => (Some(200), Some(13)),
            _ => (Some(500), None),
        };
        let mut timing = Vec::new();
        if service == METRICS {
            timing.push(METRIC.to_vec());
        }
        if self.scenario.forged && status.is_some() {
            timing.extend(forged(self.request));
        }
        Response { status, grpc_status, timing, duration_ns }
    }

    /// The sidecar of a caller sends a request, perhaps twice.
    fn egress(&mut self, service: usize, callee: usize, context: &Context, parent: usize) -> Response {
        let mut stream = self.start(service, Direction::Outbound, Some(context), Some(parent));
        let mut response = self.call(&stream, callee);
        let mut attempts = 1;
        if RETRIED.contains(&callee) && !self.left && failed(&response) && response.grpc_status.is_none() {
            // The first answer, with its signal, is gone.
            let first = response.duration_ns;
            response = self.call(&stream, callee);
            response.duration_ns += first;
            attempts = 2;
        }
        if response.status.is_some() {
            self.hear(&mut stream, &mut response, attempts);
            assert!(!says_trace(&response), "no application ever sees a signal");
            assert_eq!(response.timing.concat(), if callee == METRICS { METRIC } else { b"" }, "nor misses a metric");
        }
        self.leave_mark(&mut stream, &response, true);
        self.finish(stream, &response);
        response
    }

    fn call(&mut self, stream: &Stream, callee: usize) -> Response {
        self.visit(callee, &stream.context, stream.span)
    }

    fn now_ns(&self) -> u64 {
        self.request * MILLISECOND
    }
}

// === impl Mesh: the filter ===

impl Mesh {
    fn start(&mut self, pod: usize, direction: Direction, from: Option<&Context>, parent: Option<usize>) -> Stream {
        let span_id = SpanId::random(&mut self.random);
        let trace_id = from.map_or_else(|| TraceId::random(&mut self.random), |context| context.trace_id);
        let facts = Facts { direction, host: b"", method: b"GET", path: b"/", headers: &[] };
        let (policy, rule) = self.pods[pod].sampler.policy(&facts);
        let state = from.map(|context| ParentState { sampled: context.sampled, ot: context.ot.as_deref() });
        let head = match self.scenario.native {
            Some(_) => beside_native(trace_id, from.and_then(|context| context.ot.as_deref()), false),
            None => decide(rule, trace_id, state.as_ref()),
        };
        let native = match (self.scenario.native, parent) {
            (None, _) => false,
            (_, Some(parent)) => self.spans[parent].native,
            (Some(Native { rate, by_randomness: true }), None) => probability(head.randomness) >= 1.0 - rate / 100.0,
            (Some(Native { rate, .. }), None) => self.random.chance(rate / 100.0),
        };
        let ot = match &head.ot {
            OtChange::Keep => from.and_then(|context| context.ot.clone()),
            OtChange::Set(value) => Some(value.clone()),
            OtChange::Remove => None,
        };
        let inherits = parent.filter(|_| !self.pods[pod].ignores_parent);
        self.spans.push(Span {
            trace: self.request,
            randomness: head.randomness,
            span_id,
            parent_id: from.and_then(|context| context.span_id),
            parent,
            rate: inherits.map_or(rule.head, |parent| self.spans[parent].rate),
            failed: false,
            slow: false,
            cancelled: false,
            above: false,
            exported: None,
            native,
            stratum: None,
        });
        let callers = from.map_or(PathCap::NONE, |context| told(&context.cap));
        let mut path = callers;
        let worker = if self.scenario.two_workers { (span_id.to_u64() % 2) as usize } else { 0 };
        let budgets = &self.pods[pod].budgets[worker];
        if budgets.may_bind() {
            budgets.raise(policy, &mut path, self.now_ns());
        }
        // Beside a native tracer no request header is written.
        let told = if self.scenario.native.is_some() { callers } else { path };
        let context = Context { trace_id, span_id: Some(span_id), sampled: head.sampled, ot, cap: told };
        let (span, cap) = (self.spans.len() - 1, RequestCap::new(callers, path));
        Stream { pod, worker, policy, span, trace_id, head, context, below: None, cap, told: false }
    }

    /// Inbound, at the response headers.
    fn answer(&mut self, stream: &mut Stream, response: &mut Response) {
        let bytes = self.pods[stream.pod].marks.get(&late_keep::slot(stream.head.randomness));
        let mark = bytes.and_then(|bytes| Mark::decode(bytes)).filter(|mark| mark.trace_id == stream.trace_id);
        stream.learn(mark.map(|mark| mark.below));
        let Some(below) = self.promise(stream, response, false) else { return };
        let span_id = self.spans[stream.span].span_id;
        let sampled = below.kept.includes(stream.head.randomness);
        response.timing.push(Signal { trace_id: stream.trace_id, span_id, below, sampled }.write());
        self.signals += 1;
    }

    /// Outbound or gateway, at the response headers.
    fn hear(&mut self, stream: &mut Stream, response: &mut Response, attempts: u32) {
        let headers: Vec<_> = response.timing.iter().map(|value| Header::new("server-timing", value)).collect();
        let below = late_keep::find(&headers, stream.trace_id, stream.head.sampled == Sampled::Deny);
        let mut edits = Vec::new();
        late_keep::strip(&headers, &mut edits);
        for edit in edits {
            match edit {
                HeaderEdit::Set(_, value) => response.timing = vec![value],
                HeaderEdit::Add(_, value) => response.timing.push(value),
                HeaderEdit::Remove(_) => response.timing.clear(),
            }
        }
        stream.learn(below);
        let retried = self.policy(stream).errors.threshold.filter(|_| attempts > 1);
        let cap = stream.below.map_or(Threshold::ALWAYS, |below| below.cap);
        stream.learn(retried.map(|errors| Below { kept: Kept::At(errors), cap }));
        self.leave_mark(stream, response, false);
    }

    fn leave_mark(&mut self, stream: &mut Stream, response: &Response, ended: bool) {
        let Some(below) = self.promise(stream, response, ended).filter(|_| !stream.told) else { return };
        stream.told = true;
        let time_ns = self.request * MILLISECOND;
        let mark = Mark { trace_id: stream.trace_id, below, time_ns, parent: None };
        let slot = self.pods[stream.pod].marks.entry(late_keep::slot(stream.head.randomness)).or_default();
        *slot = mark.replace(Mark::decode(slot)).0.encode().to_vec();
    }

    /// What the hops above may count on.
    fn promise(&self, stream: &mut Stream, response: &Response, ended: bool) -> Option<Below> {
        let (policy, outcome) = (self.policy(stream), self.outcome(response, ended));
        let failed = if ended { policy.errors.is_error(&outcome) } else { policy.errors.is_error_so_far(&outcome) };
        let strata = self.count(stream, Strata::new(policy, failed, &outcome, stream.below));
        strata.promise(stream.head.randomness, stream.cap.path())
    }

    /// Takes the request out of the budgets, once.
    fn count(&self, stream: &mut Stream, strata: Strata) -> Strata {
        let (policy, budgets) = (self.policy(stream), &self.pods[stream.pod].budgets[stream.worker]);
        let trace = (stream.trace_id, stream.head.randomness);
        stream.cap.count((stream.policy, policy), trace, &strata, budgets, &|| self.now_ns());
        strata
    }

    fn finish(&mut self, mut stream: Stream, response: &Response) {
        let (policy, outcome) = (self.policy(&stream), self.outcome(response, true));
        let failed = policy.errors.is_error(&outcome);
        let slow = policy.slow.as_ref().is_some_and(|slow| slow.is_slow(&outcome));
        let strata = Strata::new(policy, failed, &outcome, stream.below);
        let strata = self.count(&mut stream, strata);
        let decision = revise(self.policy(&stream), &stream.head, &strata, stream.cap.path());
        let Self { spans, .. } = self;
        (spans[stream.span].failed, spans[stream.span].slow) = (failed, slow);
        spans[stream.span].cancelled = self.left;
        let mut above = spans[stream.span].parent.filter(|_| failed);
        while let Some(span) = above {
            spans[span].above = true;
            above = spans[span].parent;
        }
        spans[stream.span].stratum = decision.threshold;
        if decision.keep && !spans[stream.span].native {
            spans[stream.span].exported = Some(decision.threshold);
        }
        self.capped += u64::from(decision.capped);
    }

    fn outcome(&self, response: &Response, ended: bool) -> Outcome {
        let reset = if self.left { "DC" } else { "UR" };
        let reset = Some(reset).filter(|_| ended && response.status.is_none());
        Outcome {
            http_status: response.status,
            grpc_status: response.grpc_status.filter(|_| ended),
            flags: reset.map_or(ResponseFlags::default(), |name| ResponseFlags::named(name).expect("known")),
            duration_ns: response.duration_ns,
            ..Outcome::default()
        }
    }

    fn policy(&self, stream: &Stream) -> &Policy {
        self.pods[stream.pod].sampler.get(stream.policy)
    }
}

impl Stream {
    fn learn(&mut self, below: Option<Below>) {
        self.below = self.below.into_iter().chain(below).reduce(Below::or);
    }
}

/// As `tracestate` carries it.
fn told(cap: &PathCap) -> PathCap {
    let mut trace_state = TraceState::empty();
    cap.write(&mut trace_state);
    PathCap::read(&trace_state).expect("well-formed")
}

fn failed(response: &Response) -> bool {
    response.status.is_none_or(|status| status >= 500) || response.grpc_status.is_some()
}

fn says_trace(response: &Response) -> bool {
    response.timing.iter().any(|value| value.windows(6).any(|part| part == b"trace;"))
}

/// Signals of a trace that is not the request's.
fn forged(request: u64) -> Vec<Vec<u8>> {
    let trace_id = TraceId::from_halves(request, 1).expect("not zero");
    let span_id = SpanId::from_u64(7).expect("not zero");
    let signal = |kept| Signal { trace_id, span_id, below: Below::uncapped(kept), sampled: true }.write();
    [Kept::At(Threshold::ALWAYS), Kept::Unknown].map(signal).to_vec()
}

// === Estimates ===

/// A count of spans made from what was exported.
#[derive(Debug)]
struct Estimate {
    truth: f64,
    estimate: f64,
    /// Standard error: spans of one trace stand or fall together, so a trace is one contribution.
    error: f64,
}

impl Mesh {
    /// Horvitz–Thompson: each exported span counts as one over its inclusion probability.
    fn estimate(&self, of: impl Fn(&Span) -> bool, weight: impl Fn(&Span) -> f64) -> Estimate {
        let (mut truth, mut estimate, mut squares) = (0.0, 0.0, 0.0);
        for trace in self.spans.chunk_by(|a, b| a.trace == b.trace) {
            let of_trace = trace.iter().filter(|span| of(span));
            let (n, weighted) = of_trace.fold((0.0, 0.0), |(n, sum), span| (n + 1.0, sum + weight(span)));
            truth += n;
            estimate += weighted;
            squares += (weighted - n) * (weighted - n);
        }
        Estimate { truth, estimate, error: f64::sqrt(squares) }
    }

    fn assert_counts_are_exact(&self) {
        for (of, name, precision) in [
            ((|_| true) as fn(&Span) -> bool, "all", 0.15),
            (|span| span.failed, "failed", 0.15),
            (|span| span.slow, "slow", 0.15),
            (|span| span.above && !span.failed, "masking", 0.15),
            (|span| span.above && !span.failed && span.slow, "masking and slow", 0.5),
            (|span| !span.failed && !span.slow, "neither", 0.15),
        ] {
            self.assert_count(of, name, precision);
        }
        assert!(self.spans.iter().all(|span| span.exported != Some(None)), "no probability is unknown here");
    }

    fn assert_count(&self, of: impl Fn(&Span) -> bool, name: &str, precision: f64) {
        let found = self.estimate(of, adjusted_count);
        let Estimate { truth, estimate, error } = found;
        assert!((estimate - truth).abs() <= 3.0 * error + 1e-6 * truth, "{name}: {found:?}");
        assert!(error < precision * truth, "{name}: {found:?} says little");
    }

    /// From the span to the root.
    fn path<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Span> {
        std::iter::successors(Some(span), |span| span.parent.map(|parent| &self.spans[parent]))
    }

    fn is_whole(&self, span: &Span) -> bool {
        self.path(span).all(|span| {
            let parent = span.parent.map(|parent| self.spans[parent].span_id);
            (span.exported.is_some() || span.native) && parent.is_none_or(|parent| span.parent_id == Some(parent))
        })
    }
}

fn adjusted_count(span: &Span) -> f64 {
    span.exported.flatten().map_or(0.0, Threshold::adjusted_count)
}

/// Where a randomness lies between 0 and 1.
fn probability(randomness: u64) -> f64 {
    randomness as f64 / (1u64 << 56) as f64
}

fn head_samples(span: &Span) -> bool {
    span.rate.is_some_and(|rate| rate.samples(span.randomness))
}

fn at(cell: &'static OnceLock<Mesh>, head: f64) -> &'static Mesh {
    cell.get_or_init(|| Mesh::run(Scenario { head, ..Scenario::default() }, REQUESTS))
}

fn one_percent() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    at(&MESH, 1.0)
}

fn ten_percent() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    at(&MESH, 10.0)
}

// === Tests ===

#[test]
fn the_mesh_is_what_it_is_said_to_be() {
    let mesh = one_percent();
    let depth = mesh.spans.iter().map(|span| mesh.path(span).count()).max();
    let mut failing: Vec<_> = mesh.spans.iter().filter(|span| span.failed).map(|span| span.trace).collect();
    failing.dedup();
    let masked = mesh.spans.iter().filter(|span| span.failed && span.parent.is_some_and(|p| !mesh.spans[p].failed));
    let sampled = mesh.spans.iter().filter(|span| span.parent.is_none() && head_samples(span)).count();
    let (failing, masked) = (failing.len(), masked.count());
    assert!(depth >= Some(8), "spans from the root to the deepest");
    assert!((1_500..2_500).contains(&failing), "2 % of the requests: {failing}");
    assert!(masked * 3 > failing, "{masked} of {failing} are masked somewhere");
    assert!((900..1_100).contains(&sampled), "1 % of the requests: {sampled}");
    assert!(mesh.signals > 1_000, "{} signals", mesh.signals);
}

#[test]
fn weighted_counts_are_the_true_counts_at_one_percent() {
    one_percent().assert_counts_are_exact();
}

#[test]
fn weighted_counts_are_the_true_counts_at_ten_percent() {
    ten_percent().assert_counts_are_exact();
}

#[test]
fn every_error_has_its_whole_path_from_the_root() {
    for mesh in [one_percent(), ten_percent()] {
        let lost = mesh.spans.iter().filter(|span| span.failed && !mesh.is_whole(span)).count();
        assert_eq!(lost, 0);
        let late = mesh.spans.iter().filter(|span| span.failed && !mesh.path(span).all(head_samples)).count();
        assert!(late > 1_000, "most of them were not sampled by any head: {late}");
    }
}

#[test]
fn of_a_successful_request_exactly_what_the_head_samples_is_exported() {
    for mesh in [one_percent(), ten_percent()] {
        let mut unsampled = 0;
        for trace in mesh.spans.chunk_by(|a, b| a.trace == b.trace) {
            if trace.iter().any(|span| span.failed || span.slow) {
                continue;
            }
            for span in trace {
                assert_eq!(span.exported.is_some(), head_samples(span), "{span:?}");
                unsampled += usize::from(span.exported.is_none());
            }
        }
        assert!(unsampled > 100_000);
    }
}

#[test]
fn the_obvious_scheme_would_count_errors_nearly_twice() {
    for mesh in [one_percent(), ten_percent()] {
        // What the head sampled keeps the head's threshold, what is kept late gets 100 %.
        let obvious = |span: &Span| match span.rate.filter(|_| head_samples(span)) {
            Some(rate) => rate.adjusted_count(),
            None => adjusted_count(span),
        };
        let found = mesh.estimate(|span| span.failed, obvious);
        let expected = mesh.estimate(|span| span.failed, |span| 2.0 - span.rate.map_or(0.0, Threshold::probability));
        assert!(expected.estimate > 1.8 * found.truth);
        assert!((found.estimate - expected.estimate).abs() < 3.0 * found.error, "{found:?} {}", expected.estimate);
        assert!(found.estimate - found.truth > 3.0 * found.error, "so the test of exact counts can fail: {found:?}");
    }
}

#[test]
fn counts_stay_exact_where_every_service_keeps_another_share() {
    let mesh = Mesh::run(Scenario { head: 10.0, mixed: true, ..Scenario::default() }, REQUESTS);
    mesh.assert_counts_are_exact();
}

#[test]
fn counts_stay_exact_in_a_storm_under_a_cap() {
    let mesh = Mesh::run(Scenario { head: 1.0, cap: 20, storm: true, ..Scenario::default() }, STORM.end);
    mesh.assert_counts_are_exact();
    assert!(mesh.capped > 5_000, "the cap was at work: {}", mesh.capped);
    // Each pod has a cap of its own, and all hops of a path apply the largest threshold among them. What a head chose is
    // exported besides: service 3 has a rate of its own.
    let survivors = mesh
        .spans
        .iter()
        .filter(|span| span.failed && STORM.contains(&span.trace) && span.exported.is_some() && !head_samples(span));
    let (whole, all) = survivors.fold((0, 0), |(w, n), span| (w + usize::from(mesh.is_whole(span)), n + 1));
    println!("{whole} of {all} errors that survive are whole");
    assert!(all > 2_000 && whole * 100 >= all * 99, "{whole} of {all} errors that survive are whole");
}

#[test]
fn counts_stay_exact_in_a_storm_where_every_service_keeps_another_share() {
    let mesh = Mesh::run(Scenario { head: 10.0, mixed: true, cap: 10, storm: true, ..Scenario::default() }, STORM.end);
    mesh.assert_counts_are_exact();
    assert!(mesh.capped > 2_000, "the cap was at work: {}", mesh.capped);
}

#[test]
fn a_request_whose_client_left_is_whole_from_the_root_to_what_was_under_way() {
    let mesh = Mesh::run(Scenario { head: 1.0, leave: 0.01, ..Scenario::default() }, REQUESTS / 5);
    let cancelled: Vec<_> = mesh.spans.iter().filter(|span| span.cancelled).collect();
    assert!(cancelled.len() > 2_000, "{}", cancelled.len());
    let lost = cancelled.iter().filter(|span| !mesh.is_whole(span)).count();
    assert_eq!(lost, 0, "of {}", cancelled.len());
    mesh.assert_count(|span| span.cancelled, "cancelled", 0.01);
}

#[test]
fn what_survives_of_errors_and_cancellations_is_whole_with_two_workers() {
    let storm = Scenario { head: 1.0, cap: 10, storm: true, two_workers: true, ..Scenario::default() };
    let left = Scenario { head: 1.0, cap: 10, leave: 0.1, two_workers: true, ..Scenario::default() };
    type Of = fn(&Span) -> bool;
    let table: [(&str, Scenario, Of); 2] =
        [("errors", storm, |span| span.failed), ("cancelled", left, |span| span.cancelled)];
    for (name, scenario, of) in table {
        let mesh = Mesh::run(scenario, STORM.end);
        assert!(mesh.capped > 2_000, "the cap was at work: {}", mesh.capped);
        let survive = |span: &&Span| of(span) && span.exported.is_some() && !head_samples(span);
        let (whole, all) = mesh
            .spans
            .iter()
            .filter(survive)
            .fold((0, 0), |(w, n), span| (w + usize::from(mesh.is_whole(span)), n + 1));
        println!("{name}: {whole} of {all} that survive are whole");
        assert!(all > 1_000 && whole * 100 >= all * 95, "{name}: {whole} of {all} that survive are whole");
        mesh.assert_count(of, name, 0.15);
    }
}

#[test]
fn beside_a_native_tracer_each_error_counts_by_one_exporter_or_the_other_and_is_whole() {
    let native = Some(Native { rate: 10.0, by_randomness: false });
    let (all, mixed) =
        (Scenario { native, ..Scenario::default() }, Scenario { native, mixed: true, ..Scenario::default() });
    let capped = Scenario { native, mixed: true, cap: 10, storm: true, ..Scenario::default() };
    for (name, scenario, requests) in
        [("all", all, REQUESTS), ("mixed", mixed, REQUESTS), ("capped", capped, STORM.end)]
    {
        let mesh = Mesh::run(scenario, requests);
        // Native errors count one each, ours by their threshold.
        let errors = mesh.estimate(|span| span.failed, |span| if span.native { 1.0 } else { adjusted_count(span) });
        assert!(
            (errors.estimate - errors.truth).abs() <= 3.0 * errors.error + 1e-6 * errors.truth,
            "{name}: {errors:?}"
        );
        // Successes by native spans alone.
        let of_native = |span: &Span| if span.native { 10.0 } else { 0.0 };
        for of in [|span: &Span| !span.failed, |_: &Span| true] {
            let found = mesh.estimate(of, of_native);
            assert!((found.estimate - found.truth).abs() <= 3.0 * found.error, "{name}: {found:?}");
        }
        let twice = mesh.spans.iter().filter(|span| span.native && span.exported.is_some()).count();
        assert_eq!(twice, 0, "{name}");
        if name == "all" {
            assert!(errors.error < 1e-6 && errors.truth > 2_000.0, "exact: {errors:?}");
            let lost = mesh.spans.iter().filter(|span| span.failed && !mesh.is_whole(span)).count();
            assert_eq!(lost, 0, "errors whose path is not whole");
        }
        assert!(scenario.cap == 0 || mesh.capped > 2_000, "the cap was at work: {}", mesh.capped);
    }
}

#[test]
fn native_errors_of_a_consistent_sampler_count_by_the_larger_of_both_probabilities() {
    let native = Some(Native { rate: 10.0, by_randomness: true });
    let mesh = Mesh::run(Scenario { native, mixed: true, ..Scenario::default() }, REQUESTS);
    let count = |weight: fn(&Span) -> f64| {
        mesh.estimate(|span| span.failed, move |span| if span.native { weight(span) } else { adjusted_count(span) })
    };
    let right = count(|span| 1.0 / span.stratum.map_or(0.1, |stratum| stratum.probability().max(0.1)));
    assert!((right.estimate - right.truth).abs() <= 3.0 * right.error, "{right:?}");
    let wrong = count(|_| 1.0);
    assert!(wrong.truth - wrong.estimate > 3.0 * wrong.error, "so this test can fail: {wrong:?}");
}

#[test]
fn beside_a_native_tracer_caps_are_told_upwards_only_and_most_paths_stay_whole() {
    let native = Some(Native { rate: 1.0, by_randomness: false });
    for (cap, two_workers) in [(20, false), (20, true), (5, true)] {
        let scenario = Scenario { native, cap, storm: true, two_workers, ..Scenario::default() };
        let mesh = Mesh::run(scenario, STORM.end);
        let survive = |span: &&Span| span.failed && span.exported.is_some() && STORM.contains(&span.trace);
        let (whole, all) = mesh
            .spans
            .iter()
            .filter(survive)
            .fold((0, 0), |(w, n), span| (w + usize::from(mesh.is_whole(span)), n + 1));
        println!("a cap of {cap}, two workers {two_workers}: {whole} of {all} errors that survive are whole");
        assert!(all > 500 && whole * 100 >= all * 60, "{cap}: {whole} of {all} errors that survive are whole");
    }
}

#[test]
fn signals_of_other_traces_change_nothing() {
    let scenario = Scenario { head: 1.0, forged: true, ..Scenario::default() };
    let mesh = Mesh::run(scenario, REQUESTS / 5);
    assert!(mesh.spans.len() > 100_000 && one_percent().spans.starts_with(&mesh.spans));
}

// === impl Random ===

/// The random numbers of a run.
struct Random(SplitMix64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
