//! Runs the code of the filter on one case, without a proxy.

use crate::case::{Case, Headers, Response};
use crate::outcome::{Decision, Extracted, Native, Outcome};
use serde_json::Value;
use sidespan_core::config::{Config, Direction, NativeTracer, Sampling};
use sidespan_core::context::SpanContext;
use sidespan_core::export::{Counter, Stats};
use sidespan_core::http::headers::{Header, HeaderEdit};
use sidespan_core::id::{Entropy, TraceId};
use sidespan_core::otlp::json::span_to_string;
use sidespan_core::propagation::{self, NativeContexts, TraceHeaders};
use sidespan_core::sampling;
use sidespan_core::sampling::late_keep::{Below, Kept, Mark, Signal};
use sidespan_core::sampling::threshold::Threshold;
use sidespan_core::span::attributes::{Attributes, Recorded, path};
use sidespan_core::span::{Environment, Identity};
use sidespan_core::stream::{Finished, MarkWritten, Plan, Stream, StreamHost};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Headers that carry a trace context, by name or by prefix.
const TRACE_HEADERS: [&str; 7] =
    ["traceparent", "tracestate", "baggage", "b3", "uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context"];
const TRACE_PREFIXES: [&str; 3] = ["x-b3-", "x-datadog-", "ot-tracer-"];

/// A configuration that is ready for many cases.
pub(crate) struct Compiled {
    /// The configuration.
    pub config: Config,
    /// The plan for the last node.
    pub plans: Plans,
}

/// Caches the plan of the last node, because most lists of cases use only one.
#[derive(Default)]
pub(crate) struct Plans(RefCell<Option<(Value, Arc<Plan>)>>);

/// Random bytes of the operating system.
struct SystemEntropy;

/// The proxy of a case.
struct CaseHost {
    attributes: Recorded,
    now_ns: u64,
    /// The trace that has a mark.
    marked: Option<TraceId>,
}

/// Runs one case.
///
/// # Errors
/// If the clock of the operating system is before 1970, or the span cannot be written as JSON.
pub(crate) fn run_case(case: &Case, compiled: &Compiled) -> Result<Outcome, String> {
    if case.native.is_some() && compiled.config.native_tracer != NativeTracer::Adopt {
        return Err("native: has a meaning with `nativeTracer: adopt` in `config` only".to_owned());
    }
    let plan = compiled.plans.get(case, compiled);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let answered = case.response.clone().unwrap_or_else(|| Response { status: Some(200), ..Response::default() });
    let request = with_grpc(&case.request, &answered);
    let mut stats = Stats::new();
    let headers = view(&request);
    let before = CaseHost { attributes: Recorded::default(), now_ns, marked: None };
    let (mut stream, edits) = Stream::start(&plan, case.direction, &headers, &mut SystemEntropy, &before, &mut stats);

    let sent = case.native.as_ref().and_then(native_context);
    let context = sent.unwrap_or(stream.outgoing().context);
    let upstream = applied(&request, &[edits.clone(), native_edits(case)].concat());
    let response = response_headers(case, &answered, &context);
    let attributes = attributes(&upstream, &response, &answered, now_ns);
    let host = CaseHost { attributes, now_ns, marked: case.marked.then_some(context.trace_id) };
    let response_edits = match answered.status {
        Some(_) => stream.response_headers(&view(&response), false, &host, &mut stats),
        None => Vec::new(),
    };
    let extracted = stream.incoming().extracted.as_ref().map(extracted);
    let instruction = stream.incoming().instruction.map(|sampled| sampled.as_str().to_owned());
    let (recorded, head) = match stream.head() {
        Some(head) => (true, head.sampled.decision().unwrap_or_default()),
        None => (false, false),
    };
    let finished = stream.finish(&host, &mut stats);
    let native = native(&stats);
    Ok(Outcome {
        extracted,
        instruction,
        native,
        upstream_headers: trace_headers(&upstream),
        removed_headers: names(&edits, |edit| matches!(edit, HeaderEdit::Remove(_))),
        response_headers: set(&response_edits),
        decision: decision(head, recorded, native, finished.as_ref()),
        span: finished.as_ref().map(span).transpose()?,
    })
}

/// What the filter has counted.
fn native(stats: &Stats) -> Option<Native> {
    let table = [
        (Counter::NativeAdopted, Native::Adopted),
        (Counter::NativeSampled, Native::Exports),
        (Counter::NativeAbsent, Native::Absent),
        (Counter::NativeUnsent, Native::Absent),
    ];
    table.into_iter().find(|(counter, _)| stats.get(*counter) > 0).map(|(_, native)| native)
}

/// The context that Envoy's own tracer sent.
fn native_context(headers: &Headers) -> Option<SpanContext> {
    let headers = view(headers);
    NativeContexts::new(&TraceHeaders::new(&headers)).caller(None)?.context()
}

/// The router sets the headers of Envoy's own tracer.
fn native_edits(case: &Case) -> Vec<HeaderEdit> {
    let edit = |(name, value): &(Vec<u8>, Vec<u8>)| {
        HeaderEdit::Set(String::from_utf8_lossy(name).into_owned().into(), value.clone())
    };
    case.native.iter().flatten().map(edit).collect()
}

fn decision(head: bool, recorded: bool, native: Option<Native>, finished: Option<&Finished>) -> Decision {
    let reason = match finished {
        Some(finished) => finished.decision.reason.as_str(),
        None if native == Some(Native::Exports) => "native",
        None if recorded => "none",
        None => "drop",
    };
    let threshold = finished.and_then(|finished| finished.decision.threshold);
    Decision {
        head,
        keep: finished.is_some(),
        reason: reason.to_owned(),
        threshold: threshold.map(|threshold| threshold.to_string()),
    }
}

fn span(finished: &Finished) -> Result<Value, String> {
    let mut trace_state = finished.trace_state.clone();
    sampling::set_threshold(&mut trace_state, finished.decision.threshold);
    let text = span_to_string(&finished.span, trace_state.as_bytes());
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn extracted(found: &propagation::Extracted) -> Extracted {
    Extracted {
        format: found.format.as_str().to_owned(),
        trace_id: found.trace_id.to_string(),
        span_id: found.span_id.map(|span_id| span_id.to_string()),
        sampled: found.sampled.as_str().to_owned(),
        tracestate: found.trace_state.as_str().to_owned(),
    }
}

/// Adds the content type of gRPC if the case has a gRPC status but no content type.
fn with_grpc(request: &Headers, response: &Response) -> Headers {
    let mut request = request.clone();
    if response.grpc_status.is_some() && !request.iter().any(|(name, _)| name == b"content-type") {
        request.push((b"content-type".to_vec(), b"application/grpc".to_vec()));
    }
    request
}

/// The response headers that the filter sees. If the case is marked and not inbound, they contain the signal of the callee.
fn response_headers(case: &Case, response: &Response, context: &SpanContext) -> Headers {
    let status = response.status.map(|status| (b":status".to_vec(), status.to_string().into_bytes()));
    let below = Below::uncapped(Kept::At(Threshold::ALWAYS));
    let signal = Signal { trace_id: context.trace_id, span_id: context.span_id, below, sampled: true }.write();
    let signal = (case.marked && case.direction != Direction::Inbound).then(|| (b"server-timing".to_vec(), signal));
    status.into_iter().chain(response.headers.iter().cloned()).chain(signal).collect()
}

fn attributes(request: &Headers, response: &Headers, answered: &Response, now_ns: u64) -> Recorded {
    let duration_ns = (answered.duration_ms * 1e6) as i64;
    let mut recorded =
        Recorded { request: request.clone(), trailers: answered.trailers.clone(), ..Recorded::default() };
    if answered.status.is_some() {
        recorded.response = response.clone();
    }
    let in_trailers = |name: &[u8]| answered.trailers.iter().any(|(known, _)| known == name);
    if let Some(code) = answered.grpc_status.filter(|_| !in_trailers(b"grpc-status")) {
        recorded.trailers.push((b"grpc-status".to_vec(), code.to_string().into_bytes()));
    }
    let start_ns = i64::try_from(now_ns).unwrap_or(i64::MAX).saturating_sub(duration_ns);
    recorded.set_int(path::RESPONSE_CODE, answered.status.map_or(0, i64::from));
    recorded.set_int(path::RESPONSE_FLAGS, i64::try_from(answered.flags).unwrap_or_default());
    recorded.set_int(path::REQUEST_TIME, start_ns);
    recorded.set_int(path::REQUEST_DURATION, duration_ns);
    recorded
}

/// The scalar values of a node, by the paths of `xds.node`.
fn node_attributes(node: &Value) -> Recorded {
    let mut recorded = Recorded::default();
    add_leaves(&mut recorded, b"xds\0node".to_vec(), node);
    recorded
}

fn add_leaves(recorded: &mut Recorded, at: Vec<u8>, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                add_leaves(recorded, [at.as_slice(), name.as_bytes()].join(&0), member);
            }
        }
        Value::String(text) => {
            recorded.set(&at, text.as_bytes());
        }
        Value::Bool(truth) => {
            recorded.set_bool(&at, *truth);
        }
        Value::Number(number) => {
            recorded.set(&at, number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::Null | Value::Array(_) => {}
    }
}

fn view(headers: &Headers) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header::new(name, value)).collect()
}

fn applied(headers: &Headers, edits: &[HeaderEdit]) -> Headers {
    let mut headers = headers.clone();
    for edit in edits {
        if !matches!(edit, HeaderEdit::Add(..)) {
            headers.retain(|(name, _)| name != edit.name().as_bytes());
        }
        if let HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) = edit {
            headers.push((name.as_bytes().to_vec(), value.clone()));
        }
    }
    headers
}

fn trace_headers(headers: &Headers) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = headers.iter().map(|(name, value)| (text(name), text(value)));
    let is_trace =
        |name: &str| TRACE_HEADERS.contains(&name) || TRACE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    all.filter(|(name, _)| is_trace(name)).collect()
}

fn names(edits: &[HeaderEdit], wanted: impl Fn(&HeaderEdit) -> bool) -> Vec<String> {
    edits.iter().filter(|edit| wanted(edit)).map(|edit| edit.name().to_owned()).collect()
}

fn set(edits: &[HeaderEdit]) -> Vec<(String, String)> {
    let sets = edits.iter().filter_map(|edit| match edit {
        HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) => {
            Some((name.to_string(), String::from_utf8_lossy(value).into_owned()))
        }
        HeaderEdit::Remove(_) => None,
    });
    sets.collect()
}

// === impl Plans ===

impl Plans {
    fn get(&self, case: &Case, compiled: &Compiled) -> Arc<Plan> {
        let mut last = self.0.borrow_mut();
        if let Some((_, plan)) = last.as_ref().filter(|(node, _)| *node == case.node) {
            return Arc::clone(plan);
        }
        let environment = Environment::new();
        let identity = Identity::detect(&node_attributes(&case.node), &environment, &compiled.config);
        let plan = Arc::new(Plan::new(without_caps(compiled.config.clone()), &environment, identity));
        *last = Some((case.node.clone(), Arc::clone(&plan)));
        plan
    }
}

/// Each case stands for itself: those before it take nothing from its cap.
fn without_caps(mut config: Config) -> Config {
    let Sampling { errors, slow, cancelled, rules, .. } = &mut config.sampling;
    let errors = [Some(errors)].into_iter().chain(rules.iter_mut().map(|rule| rule.errors.as_mut()));
    errors.flatten().for_each(|errors| errors.max_per_second = 0);
    let slow = [slow.as_mut()].into_iter().chain(rules.iter_mut().map(|rule| rule.slow.as_mut()));
    slow.flatten().for_each(|slow| slow.max_per_second = 0);
    let cancelled = [Some(cancelled)].into_iter().chain(rules.iter_mut().map(|rule| rule.cancelled.as_mut()));
    cancelled.flatten().for_each(|cancelled| cancelled.max_per_second = 0);
    config
}

// === impl SystemEntropy ===

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        // Without random bytes the ids are constant, but valid.
        if getrandom::fill(out).is_err() {
            out.fill(1);
        }
    }
}

// === impl CaseHost ===

impl StreamHost for CaseHost {
    fn attributes(&self) -> &dyn Attributes {
        &self.attributes
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn read_mark(&self, _: u64) -> Option<Mark> {
        let below = Below::uncapped(Kept::At(Threshold::ALWAYS));
        self.marked.map(|trace_id| Mark { trace_id, below, time_ns: u64::MAX, parent: None })
    }

    fn write_mark(&self, _: u64, _: Mark) -> MarkWritten {
        MarkWritten::Stored
    }
}
