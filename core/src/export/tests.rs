//! A scripted collector drives an exporter step by step, in a time of its own. After every step the account is checked: each
//! span that was kept is exported, dropped for a counted reason, or still here.

use super::telemetry::USER_AGENT;
use super::*;
use crate::config::{Batch, Bytes, Duration, Otlp, Protocol, Queue, Retry, SemanticConventions, Zipkin};
use crate::http::headers::Header;
use crate::id::SpanId;
use crate::otlp::tests::plain_span;
use crate::span::Span;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::BTreeMap;

const S: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * S;

impl Exporter {
    /// When [`Self::poll`] will have something to do, if nothing else happens; `None` if it will not. May lie in the past.
    fn wake_at(&self) -> Option<u64> {
        let gate = self.backoff.closed_until().unwrap_or(0);
        let ready = match (self.queue.has_waiting(), self.deadline_ns) {
            (true, _) => Some(gate),
            (false, Some(_)) => self.queue.due_ns().map(|_| gate),
            (false, None) => self.queue.due_ns().map(|due| due.max(gate)),
        };
        let ready = ready.filter(|_| self.calls.len() < MAX_CALLS);
        let late = self.calls.iter().map(|call| self.lost_at(call)).min();
        ready.into_iter().chain(late).min()
    }

    /// Bytes that count against `queue.maxBytes`, under way included.
    fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Spans that wait or are under way.
    fn queued_spans(&self) -> u64 {
        self.queue.spans()
    }
}

/// An exporter, a clock, and Envoy.
struct World {
    exporter: Exporter,
    now: u64,
    next_span: u64,
    next_token: u32,
    under_way: Vec<(u32, ExportCall)>,
    /// How often each span arrived at the collector and was taken.
    taken: BTreeMap<u64, u32>,
    log: Vec<Event>,
}

fn otlp() -> config::Exporter {
    let otlp = Otlp {
        receiver: config::Receiver { service: Some("otel.obs.svc".to_owned()), ..config::Receiver::default() },
        ..Otlp::default()
    };
    config::Exporter { otlp: Some(otlp), ..config::Exporter::default() }
}

fn small_queue(max_bytes: u64) -> config::Exporter {
    config::Exporter { queue: Queue { max_bytes: Bytes(max_bytes) }, ..otlp() }
}

fn small_batches(max_spans: u32) -> config::Exporter {
    config::Exporter { batch: Batch { max_spans, ..Batch::default() }, ..otlp() }
}

// === impl World ===

impl World {
    fn new(config: &config::Exporter) -> Self {
        let exporter =
            Exporter::new(config, &[Attribute::new("service.name", "shop")], SemanticConventions::Stable, 42)
                .expect("a receiver");
        let (under_way, taken, log) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { exporter, now: START, next_span: 0, next_token: 100, under_way, taken, log }
    }

    fn push(&mut self, count: u64, class: Class) -> bool {
        let mut soon = false;
        for _ in 0..count {
            self.next_span += 1;
            let span_id = SpanId::from_u64(self.next_span).expect("not zero");
            let mut body = Vec::new();
            self.exporter.encoder().encode(&Span { span_id, ..plain_span() }, &mut body);
            soon |= self.exporter.push(&body, b"ot=th:0", class, self.now).flush_soon;
        }
        self.check();
        soon
    }

    /// Polls, and lets Envoy accept every call. Returns how many there were.
    fn tick(&mut self) -> usize {
        self.tick_with(|_| Ok(()))
    }

    fn tick_with(&mut self, envoy: impl Fn(&ExportCall) -> Result<(), DispatchError>) -> usize {
        let mut calls = 0;
        while let Some(call) = self.exporter.poll(self.now, &mut |_| None) {
            calls += 1;
            assert!(calls < 1000, "poll must come to an end");
            self.next_token += 1;
            let result = envoy(&call).map(|()| self.next_token);
            self.exporter.dispatched(call.id, result, self.now);
            if result.is_ok() {
                self.under_way.push((self.next_token, call));
            }
            self.check();
        }
        assert!(self.under_way.len() <= MAX_CALLS);
        calls
    }

    /// The collector answers everything that is under way.
    fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| Header::new(*name, *value)).collect();
        for (token, call) in std::mem::take(&mut self.under_way) {
            if status == 200 {
                self.take(&call.body);
            }
            let reply =
                Reply { status: Some(status).filter(|status| *status > 0), headers: &headers, body, trailers: &[] };
            assert!(self.exporter.reply(token, &reply, self.now));
            self.check();
        }
    }

    fn take(&mut self, body: &[u8]) {
        for span in spans_of(body) {
            *self.taken.entry(span).or_default() += 1;
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds * S;
    }

    /// Ticks once a second, with the same answer to everything.
    fn run(&mut self, seconds: u64, status: u16, headers: &[(&str, &str)]) {
        for _ in 0..seconds {
            self.pass(1);
            self.tick();
            self.answer(status, headers, b"");
        }
    }

    fn get(&mut self, counter: Counter) -> u64 {
        self.exporter.stats().get(counter)
    }

    /// The account, and the bound.
    fn check(&mut self) {
        let (queued, bytes) = (self.exporter.queued_spans(), self.exporter.queued_bytes());
        let stats = self.exporter.stats();
        let accounted = stats.get(Counter::SpansExported) + stats.dropped() + queued;
        assert_eq!(stats.get(Counter::SpansKept), accounted);
        assert_eq!(self.next_span, stats.get(Counter::SpansKept));
        assert_eq!((stats.gauge(Gauge::QueueSpans), stats.gauge(Gauge::QueueBytes)), (queued, bytes as u64));
        assert_eq!(queued == 0, bytes == 0);
        self.exporter.queue.check();
        let calls = self.exporter.calls.iter().map(|call| call.batch.spans() as u64).sum::<u64>();
        assert!(calls <= queued);
        self.log.extend(self.exporter.take_events());
    }

    fn taken_once(&self) -> usize {
        assert!(self.taken.values().all(|times| *times == 1), "nothing is sent twice");
        self.taken.len()
    }
}

fn spans_of(body: &[u8]) -> Vec<u64> {
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
    let spans = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    let ids: Vec<u64> =
        spans.map(|span| u64::from_be_bytes(span.span_id.as_slice().try_into().expect("8 bytes"))).collect();
    assert!(!ids.is_empty(), "empty requests are not sent");
    ids
}

fn header<'a>(call: &'a ExportCall, name: &str) -> Option<&'a str> {
    let mut all = call.headers.iter().filter(|(known, _)| known == name);
    let value = all.next().map(|(_, value)| value.as_str());
    assert!(all.next().is_none(), "{name} appears once");
    value
}

#[test]
fn a_batch_leaves_after_its_delay_or_when_it_is_full() {
    let mut world = World::new(&small_batches(10));
    assert!(!world.push(9, Class::Plain));
    assert_eq!(world.exporter.wake_at(), Some(START + S));
    assert_eq!(world.tick(), 0);
    assert!(world.push(1, Class::Plain), "full: flush soon");
    assert_eq!(world.tick(), 1);
    world.push(3, Class::Plain);
    assert_eq!(world.tick(), 0);
    world.pass(1);
    assert_eq!(world.tick(), 1);
    world.answer(200, &[], b"");
    assert_eq!(world.taken_once(), 13);
    assert_eq!(world.exporter.wake_at(), None);
    assert!(world.exporter.is_idle());
}

#[test]
fn a_batch_is_bounded_in_bytes() {
    let mut world = World::new(&small_batches(8192));
    world.push(20_000, Class::Plain);
    let mut largest = 0;
    while world.tick() > 0 {
        largest = world.under_way.iter().map(|(_, call)| call.body.len()).max().unwrap_or(0).max(largest);
        world.answer(200, &[], b"");
        world.pass(1);
    }
    assert!((BATCH_BYTES / 2..BATCH_BYTES + 4096).contains(&largest), "{largest}");
    assert_eq!(world.taken_once(), 20_000);
}

#[test]
fn at_most_four_calls_are_under_way() {
    let mut world = World::new(&small_batches(1));
    world.push(10, Class::Plain);
    assert_eq!(world.tick(), 4);
    assert_eq!(world.tick(), 0);
    world.answer(200, &[], b"");
    assert_eq!(world.tick(), 4);
    world.answer(200, &[], b"");
    assert_eq!(world.tick(), 2);
}

#[test]
fn what_waits_for_a_collector_that_is_down_arrives_once_it_is_up() {
    let mut world = World::new(&otlp());
    for second in 0..60 {
        world.push(20, Class::Plain);
        world.pass(1);
        world.tick();
        world.answer(503, &[], b"upstream connect error or disconnect/reset before headers");
        assert!(world.get(Counter::Calls) <= second + 1);
    }
    assert!(world.get(Counter::Calls) < 20, "one call at a time is tried, less and less often");
    assert_eq!(world.get(Counter::CallsRefused), world.get(Counter::Calls));
    world.run(40, 200, &[]);
    assert_eq!(world.taken_once(), 1200);
    assert_eq!(world.exporter.stats().dropped(), 0);
    assert!(world.get(Counter::SpansRetried) > 0);
    let lines: Vec<_> = world.log.iter().map(|event| (event.level, event.text.as_str())).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].1.contains("outbound|4318||otel.obs.svc") && lines[0].1.contains("check"));
    assert!(lines[1].1.contains("takes spans again; 0 were dropped"));
}

#[test]
fn every_retryable_failure_is_counted_under_its_name_and_retried() {
    let table: &[(u16, &[u8], Counter)] = &[
        (429, b"", Counter::CallsThrottled),
        (502, b"", Counter::CallsUnavailable),
        (503, b"", Counter::CallsUnavailable),
        (503, b"no healthy upstream", Counter::CallsNoHost),
        (503, b"upstream connect error", Counter::CallsRefused),
        (504, b"upstream request timeout", Counter::CallsTimeout),
        (0, b"", Counter::CallsReset),
    ];
    for (status, body, counter) in table {
        let mut world = World::new(&otlp());
        world.push(5, Class::Plain);
        world.pass(1);
        world.tick();
        world.answer(*status, &[], body);
        assert_eq!((world.get(*counter), world.exporter.queued_spans()), (1, 5), "{status}");
        world.run(10, 200, &[]);
        assert_eq!(world.taken_once(), 5);
    }
}

#[test]
fn what_a_collector_will_never_take_is_dropped_and_does_not_stop_the_rest() {
    let table = [
        (400, Counter::CallsRejected, Counter::DroppedNotRetryable),
        (413, Counter::CallsTooLarge, Counter::DroppedTooLarge),
    ];
    for (status, call, drop) in table {
        let mut world = World::new(&otlp());
        world.push(5, Class::Plain);
        world.pass(1);
        world.tick();
        world.answer(status, &[], b"bad");
        assert_eq!((world.get(call), world.get(drop)), (1, 5));
        assert_eq!(world.log.iter().map(|event| event.level).collect::<Vec<_>>(), [log::Level::Error]);
        world.push(5, Class::Plain);
        world.pass(1);
        assert_eq!(world.tick(), 1, "no backoff: the collector is there");
        world.answer(200, &[], b"");
        assert_eq!(world.taken_once(), 5);
    }
}

#[test]
fn honors_retry_after_before_retrying() {
    let date = "Tue, 14 Nov 2023 22:13:41 GMT"; // START + 21 s, which is 20 s after the answer
    for value in ["20", date] {
        let mut world = World::new(&otlp());
        world.push(5, Class::Plain);
        world.pass(1);
        world.tick();
        world.answer(429, &[("retry-after", value)], b"");
        world.push(5, Class::Plain);
        for _ in 0..19 {
            world.pass(1);
            assert_eq!(world.tick(), 0);
        }
        world.pass(2);
        assert_eq!(world.tick(), 1, "one batch is tried");
        assert_eq!(world.tick(), 0);
        world.answer(200, &[], b"");
        assert_eq!(world.tick(), 1, "then the rest");
        world.answer(200, &[], b"");
        assert_eq!(world.taken_once(), 10);
    }
}

#[test]
fn a_partial_success_is_counted_and_never_retried() {
    let mut world = World::new(&otlp());
    for _ in 0..3 {
        world.push(10, Class::Plain);
        world.pass(1);
        world.tick();
        world.answer(200, &[], b"\x0a\x07\x08\x04\x12\x03old");
    }
    assert_eq!((world.get(Counter::SpansExported), world.get(Counter::DroppedRejected)), (18, 12));
    assert_eq!((world.get(Counter::CallsPartial), world.get(Counter::CallsSuccess)), (3, 3));
    assert_eq!(world.log.len(), 1, "its message is logged once");
    assert!(world.log[0].text.contains("rejected 4 spans: old"));
    world.push(2, Class::Plain);
    world.pass(1);
    world.tick();
    world.answer(200, &[], b"\x0a\x02\x08\x63");
    assert_eq!(world.get(Counter::DroppedRejected), 14, "no more than were sent");
    assert!(world.exporter.is_idle());
}

#[test]
fn a_batch_older_than_the_bound_is_dropped_and_counted() {
    let mut world = World::new(&otlp());
    world.push(5, Class::Error);
    world.run(121, 503, &[]);
    assert_eq!((world.get(Counter::DroppedRetryExhausted), world.exporter.queued_spans()), (5, 0));
    let never = config::Exporter { retry: Retry { max_elapsed: Duration::default(), ..Retry::default() }, ..otlp() };
    let mut world = World::new(&never);
    world.push(5, Class::Error);
    world.run(1, 503, &[]);
    assert_eq!(world.get(Counter::DroppedRetryExhausted), 5, "zero: never retry");
}

#[test]
fn spans_of_an_outage_do_not_age_together() {
    let mut world = World::new(&otlp());
    for _ in 0..300 {
        world.push(1, Class::Plain);
        world.run(1, 503, &[]);
    }
    let queued = world.exporter.queued_spans();
    assert!((100..=140).contains(&queued), "about the last two minutes are still here: {queued}");
    let dropped = world.exporter.stats().dropped();
    world.run(40, 200, &[]);
    // The oldest go while the last backoff lasts.
    let aged = world.exporter.stats().dropped() - dropped;
    assert_eq!(world.taken_once() as u64 + aged, queued);
    assert!(aged < 50, "{aged}");
}

#[test]
fn a_call_that_envoy_refuses_is_told_apart_and_retried() {
    let table = [
        (DispatchError::UnknownCluster, Counter::CallsUnknownCluster),
        (DispatchError::NoHealthyHost, Counter::CallsNoHost),
        (DispatchError::Other(7), Counter::CallsNotDispatched),
    ];
    for (error, counter) in table {
        let mut world = World::new(&otlp());
        world.push(5, Class::Plain);
        for _ in 0..30 {
            world.pass(1);
            assert!(world.tick_with(|_| Err(error)) <= 1, "a refusal at once must not become a loop");
        }
        let calls = world.get(Counter::Calls);
        assert_eq!(world.get(counter), calls);
        assert!((2..20).contains(&calls), "{calls}");
        assert_eq!(world.log.len(), 1);
        assert!(world.log[0].text.contains("outbound|4318||otel.obs.svc"));
        world.run(31, 200, &[]);
        assert_eq!(world.taken_once(), 5);
    }
}

#[test]
fn unknown_tokens_and_ids_are_ignored() {
    let mut world = World::new(&otlp());
    world.push(5, Class::Plain);
    world.pass(1);
    world.tick();
    let ok = Reply { status: Some(200), ..Reply::default() };
    assert!(!world.exporter.reply(1, &ok, world.now));
    world.exporter.dispatched(999, Err(DispatchError::NoHealthyHost), world.now);
    world.check();
    let token = world.under_way[0].0;
    assert!(world.exporter.reply(token, &ok, world.now));
    assert!(!world.exporter.reply(token, &ok, world.now), "an answer counts once");
    world.check();
    assert_eq!(world.get(Counter::SpansExported), 5);
}

#[test]
fn a_call_without_any_answer_is_given_up_and_sent_again() {
    let mut world = World::new(&otlp());
    world.push(5, Class::Plain);
    world.pass(1);
    world.tick();
    let (token, _) = world.under_way.remove(0);
    assert_eq!(world.exporter.wake_at(), Some(world.now + 40 * S));
    world.pass(39);
    assert_eq!(world.tick(), 0);
    world.pass(1);
    world.tick();
    world.run(5, 200, &[]);
    assert_eq!((world.get(Counter::CallsReset), world.taken_once()), (1, 5));
    assert!(!world.exporter.reply(token, &Reply { status: Some(200), ..Reply::default() }, world.now), "too late");
}

#[test]
fn a_full_queue_drops_plain_before_marked_before_errors() {
    let mut world = World::new(&small_queue(64 * 1024));
    let drops = |world: &mut World| {
        let counters =
            [Counter::DroppedQueueFullPlain, Counter::DroppedQueueFullMarked, Counter::DroppedQueueFullError];
        counters.map(|counter| world.get(counter))
    };
    while drops(&mut world) == [0, 0, 0] {
        world.push(1, Class::Plain);
    }
    let room = world.exporter.queued_spans();
    assert!(room > 300, "{room}");
    world.push(room / 2, Class::Marked);
    assert_eq!(drops(&mut world)[1..], [0, 0]);
    assert!(drops(&mut world)[0] >= room / 2);
    world.push(room / 4, Class::Error);
    assert_eq!(drops(&mut world)[1..], [0, 0], "there are plain spans left to drop");
    world.push(room * 2, Class::Error);
    let [_, marked, errors] = drops(&mut world);
    assert_eq!(marked, room / 2, "all the marked");
    assert!(errors > 0);
    let before = drops(&mut world);
    world.push(10, Class::Plain);
    world.push(10, Class::Marked);
    assert_eq!(
        drops(&mut world),
        [before[0] + 10, before[1] + 10, before[2]],
        "newcomers of a lower class go themselves"
    );
    assert_eq!(world.log.len(), 1, "one line for all of it");
    assert!(world.log[0].text.contains("queue.maxBytes"));
    world.run(10, 200, &[]);
    assert!(world.taken_once() > 0);
    assert!(world.exporter.is_idle());
}

#[test]
fn what_is_under_way_counts_against_the_bound_and_is_never_dropped() {
    let mut world = World::new(&small_queue(64 * 1024));
    world.push(1000, Class::Plain);
    while world.tick() > 0 {}
    let under_way: u64 = world.under_way.iter().map(|(_, call)| spans_of(&call.body).len() as u64).sum();
    world.push(5000, Class::Error);
    assert!(world.exporter.queued_bytes() <= 64 * 1024);
    world.answer(200, &[], b"");
    assert_eq!(world.get(Counter::SpansExported), under_way);
}

#[test]
fn a_span_that_no_request_can_hold_is_dropped() {
    let mut world = World::new(&otlp());
    world.next_span += 2;
    world.exporter.push(&vec![0; SPAN_BYTES + 1], b"", Class::Error, START);
    let large = Span { name: "x".repeat(SPAN_BYTES - 1000), ..plain_span() };
    let mut body = Vec::new();
    world.exporter.encoder().encode(&large, &mut body);
    world.exporter.push(&body, b"", Class::Plain, START);
    world.check();
    assert_eq!(world.get(Counter::DroppedTooLarge), 1);
    world.push(1, Class::Plain);
    world.run(2, 200, &[]);
    assert_eq!(world.get(Counter::SpansExported), 2, "a large one travels alone");
}

#[test]
fn draining_sends_everything_at_once_and_ends_at_the_deadline() {
    let mut world = World::new(&otlp());
    world.push(5, Class::Plain);
    world.exporter.drain(START + 5 * S);
    assert!(!world.exporter.is_idle());
    assert_eq!(world.tick(), 1, "without waiting for the delay");
    world.answer(200, &[], b"");
    assert!(world.exporter.is_idle());

    let mut world = World::new(&otlp());
    world.push(5, Class::Plain);
    world.run(20, 503, &[]);
    world.exporter.drain(world.now + 5 * S);
    assert_eq!(world.tick(), 1, "without waiting for the backoff");
    world.answer(503, &[], b"");
    world.pass(5);
    assert_eq!(world.tick(), 0, "the deadline is over");
    world.exporter.abandon();
    world.check();
    assert_eq!((world.get(Counter::DroppedAbandoned), world.exporter.is_idle()), (5, true));
}

#[test]
fn what_is_abandoned_is_counted_once_wherever_it_was() {
    let mut world = World::new(&small_batches(3));
    world.push(20, Class::Marked);
    world.tick();
    world.exporter.abandon();
    world.check();
    world.exporter.abandon();
    world.check();
    assert_eq!((world.get(Counter::DroppedAbandoned), world.exporter.queued_bytes()), (20, 0));
    assert_eq!(world.exporter.stats().gauge(Gauge::CallsUnderWay), 0);
    let (token, _) = world.under_way[0];
    assert!(!world.exporter.reply(token, &Reply { status: Some(200), ..Reply::default() }, world.now));
}

#[test]
fn a_call_is_addressed_and_cannot_be_traced() {
    let mut config = otlp();
    let own = [("x-scope-orgid", "team-a"), ("authorization", " Bearer abc ")];
    if let Some(otlp) = &mut config.otlp {
        otlp.receiver.headers.text =
            own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }
    let mut world = World::new(&config);
    world.push(1, Class::Plain);
    world.pass(1);
    world.tick();
    let call = &world.under_way[0].1;
    assert_eq!((&*call.cluster, call.timeout_ms), ("outbound|4318||otel.obs.svc", 10_000));
    let expected = [
        (":method", Some("POST")),
        (":path", Some("/v1/traces")),
        (":authority", Some("otel.obs.svc:4318")),
        ("content-type", Some("application/x-protobuf")),
        ("user-agent", Some(USER_AGENT)),
        ("x-scope-orgid", Some("team-a")),
        ("b3", Some("0")),
        ("authorization", Some("Bearer abc")),
        ("content-encoding", None),
    ];
    for (name, value) in expected {
        assert_eq!(header(call, name), value, "{name}");
    }
    let traceparent = header(call, "traceparent").expect("there");
    assert!(traceparent.len() == 55 && traceparent.starts_with("00-") && traceparent.ends_with("-00"));
    assert!(is_telemetry(b"/anything", b"", USER_AGENT.as_bytes()));
}

#[test]
fn clusters_and_authorities_follow_from_what_is_configured() {
    type Row = (Option<&'static str>, Option<&'static str>, Option<&'static str>, &'static str, &'static str);
    let table: &[Row] = &[
        (Some("o.ns.svc"), None, None, "outbound|4318||o.ns.svc", "o.ns.svc:4318"),
        (None, Some("collector_1"), None, "collector_1", "collector_1"),
        (None, Some("outbound|4318||o.ns.svc"), None, "outbound|4318||o.ns.svc", "o.ns.svc:4318"),
        (None, Some("a|b"), None, "a|b", "collector"),
        (Some("o.ns.svc"), Some("named"), None, "named", "o.ns.svc:4318"),
        (None, Some("named"), Some("otel.example:443"), "named", "otel.example:443"),
    ];
    for (service, cluster, authority, name, expected) in table {
        let own = |text: &Option<&str>| text.map(str::to_owned);
        let (service, cluster, authority) = (own(service), own(cluster), own(authority));
        let receiver = config::Receiver { service, cluster, authority, ..config::Receiver::default() };
        let otlp = Otlp { receiver, ..Otlp::default() };
        let target =
            Receiver::new(&config::Exporter { otlp: Some(otlp), ..config::Exporter::default() }).expect("named");
        assert_eq!(&*target.cluster, *name);
        let headers = target.headers(&mut SplitMix64::new(1), None);
        let authority = headers.iter().find(|(name, _)| name == ":authority").map(|(_, value)| value.as_str());
        assert_eq!(authority, Some(*expected));
    }
    assert_eq!(Receiver::new(&config::Exporter::default()), None);
    let nameless = config::Exporter { otlp: Some(Otlp::default()), ..config::Exporter::default() };
    assert_eq!(Receiver::new(&nameless), None);
}

#[test]
fn grpc_goes_through_the_same_call_with_its_frame_and_trailers() {
    let mut config = otlp();
    if let Some(otlp) = &mut config.otlp {
        otlp.protocol = Protocol::Grpc;
    }
    let mut world = World::new(&config);
    world.push(3, Class::Plain);
    world.pass(1);
    world.tick();
    let (token, call) = world.under_way.remove(0);
    assert_eq!(&*call.cluster, "outbound|4317||otel.obs.svc");
    let expected = [
        (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        (":authority", "otel.obs.svc:4317"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10000m"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&call, name), Some(value));
    }
    let (prefix, message) = call.body.split_at(5);
    assert_eq!(prefix[0], 0);
    assert_eq!(prefix[1..], (message.len() as u32).to_be_bytes());
    assert_eq!(spans_of(message), [1, 2, 3]);
    let trailers = [Header::new("grpc-status", "14")];
    let unavailable = Reply { status: Some(200), trailers: &trailers, ..Reply::default() };
    assert!(world.exporter.reply(token, &unavailable, world.now));
    world.check();
    assert_eq!((world.get(Counter::CallsUnavailable), world.exporter.queued_spans()), (1, 3));
    world.pass(2);
    world.tick();
    let (token, _) = world.under_way.remove(0);
    let trailers = [Header::new("grpc-status", "0")];
    world.exporter.reply(token, &Reply { status: Some(200), trailers: &trailers, ..Reply::default() }, world.now);
    world.check();
    assert_eq!(world.get(Counter::SpansExported), 3);
}

#[test]
fn json_and_zipkin_batches_of_all_classes_are_valid_documents() {
    let mut json = otlp();
    if let Some(otlp) = &mut json.otlp {
        otlp.protocol = Protocol::HttpJson;
    }
    let mut zipkin = Zipkin::default();
    zipkin.receiver.service = Some("zipkin.obs.svc".to_owned());
    let zipkin = config::Exporter { otlp: None, zipkin: Some(zipkin), ..otlp() };
    for (config, pointer) in [(json, "/resourceSpans/0/scopeSpans/0/spans"), (zipkin, "")] {
        // Small enough that errors push plain spans out of the middle of a batch.
        let mut world = World::new(&config::Exporter { queue: Queue { max_bytes: Bytes(64 * 1024) }, ..config });
        world.push(150, Class::Plain);
        world.push(50, Class::Marked);
        world.push(100, Class::Error);
        world.pass(1);
        let mut sent = 0;
        while world.tick() > 0 {
            for (_, call) in &world.under_way {
                let document: serde_json::Value = serde_json::from_slice(&call.body).expect("JSON");
                sent += document.pointer(pointer).and_then(|spans| spans.as_array()).expect("spans").len();
                assert_eq!(header(call, "content-type"), Some("application/json"));
            }
            for (token, _) in std::mem::take(&mut world.under_way) {
                world.exporter.reply(token, &Reply { status: Some(202), ..Reply::default() }, world.now);
            }
            world.check();
        }
        assert_eq!(sent as u64, world.get(Counter::SpansExported));
        assert_eq!(world.exporter.stats().dropped() + sent as u64, 300);
    }
}

/// What Envoy's `compress` would make, as far as the exporter can tell.
fn fake_zlib(plain: &[u8]) -> Option<Vec<u8>> {
    Some([&[0x78, 0x9c], &plain[..plain.len() / 3], &[0; 4]].concat())
}

#[test]
fn a_request_is_compressed_if_asked_for_and_possible() {
    for (compression, name) in [(Compression::Deflate, "deflate"), (Compression::Gzip, "gzip")] {
        for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
            let mut config = otlp();
            if let Some(otlp) = &mut config.otlp {
                (otlp.compression, otlp.protocol) = (compression, protocol);
            }
            let encoding = if protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
            let mut world = World::new(&config);
            world.push(100, Class::Plain);
            let now = START + S;
            let call = world.exporter.poll(now, &mut fake_zlib).expect("due");
            assert_eq!(header(&call, encoding), Some(name));
            let (encoded, sent) = (world.get(Counter::BytesEncoded), world.get(Counter::BytesSent));
            assert!(sent < encoded / 2 && sent as usize == call.body.len());
            if protocol == Protocol::Grpc {
                assert_eq!(call.body[0], 1);
            }
            world.push(100, Class::Plain);
            let call = world.exporter.poll(now + S, &mut |_| None).expect("due");
            assert_eq!((header(&call, encoding), world.get(Counter::CompressionFailed)), (None, 1));
            world.check();
            assert_eq!(world.log.len(), 1);
        }
    }
}

#[test]
fn telemetry_of_others_is_known_by_its_path() {
    let table: &[(&str, &str, &str, bool)] = &[
        ("/v1/traces", "application/x-protobuf", "", true),
        ("/v1/traces?x=1", "application/x-protobuf", "", true),
        ("/v1/logs", "application/json", "OTel-OTLP-Exporter-Python/1.2", true),
        ("/v1/logs", "application/json", "curl/8", false),
        ("/v1/traces/7", "application/x-protobuf", "", false),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc", "grpc-go/1.7", true),
        ("/api/v2/spans", "application/json", "", true),
        ("/orders", "application/json", "Mozilla/5.0", false),
        ("", "", "", false),
    ];
    for (path, content_type, agent, expected) in table {
        let telemetry = is_telemetry(path.as_bytes(), content_type.as_bytes(), agent.as_bytes());
        assert_eq!(telemetry, *expected, "{path} {content_type} {agent}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64, u8),
    Pass(u64),
    Tick,
    Refuse(u8),
    Answer(u16),
    AnswerOne(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let status = || prop_oneof![4 => Just(200u16), 1 => Just(0u16), 1 => Just(429), 1 => Just(503), 1 => Just(400)];
    prop_oneof![
        (1u64..120, 0u8..3).prop_map(|(count, class)| Step::Push(count, class)),
        (0u64..40).prop_map(Step::Pass),
        Just(Step::Tick),
        (0u8..3).prop_map(Step::Refuse),
        status().prop_map(Step::Answer),
        status().prop_map(Step::AnswerOne),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// `check` runs after each step.
    #[test]
    fn the_account_holds_and_the_bound_too_whatever_happens(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new(&config::Exporter { queue: Queue { max_bytes: Bytes(64 * 1024) }, ..small_batches(50) });
        for step in steps {
            match step {
                Step::Push(count, class) => {
                    world.push(count, [Class::Plain, Class::Marked, Class::Error][usize::from(class)]);
                }
                Step::Pass(seconds) => world.pass(seconds),
                Step::Tick => {
                    // Calls that Envoy forgot: the exporter has given them up, or soon will.
                    world.tick();
                }
                Step::Refuse(kind) => {
                    let errors = [DispatchError::UnknownCluster, DispatchError::NoHealthyHost, DispatchError::Other(3)];
                    world.tick_with(|_| Err(errors[usize::from(kind)]));
                }
                Step::Answer(status) => world.answer_known(usize::MAX, status),
                Step::AnswerOne(status) => world.answer_known(1, status),
            }
            prop_assert!(world.exporter.queued_bytes() <= 64 * 1024);
            let known = world.exporter.calls.iter().filter_map(|call| call.token).collect::<Vec<_>>();
            world.under_way.retain(|(token, _)| known.contains(token));
            if let Some(wake) = world.exporter.wake_at() {
                // Nothing is forgotten: at that time there is something to do.
                prop_assert!(wake < world.now + 700 * S);
            } else {
                prop_assert!(world.exporter.is_idle());
            }
        }
        world.exporter.drain(world.now + 1000 * S);
        world.answer_known(usize::MAX, 200);
        for _ in 0..20 {
            world.tick();
            world.answer_known(usize::MAX, 200);
        }
        prop_assert!(world.exporter.is_idle());
        prop_assert_eq!(world.taken.len() as u64, world.get(Counter::SpansExported));
        world.taken_once();
    }
}

impl World {
    /// Answers at most `most` calls, of those that the exporter still knows.
    fn answer_known(&mut self, most: usize, status: u16) {
        let known = self.exporter.calls.iter().filter_map(|call| call.token).collect::<Vec<_>>();
        self.under_way.retain(|(token, _)| known.contains(token));
        let later = self.under_way.split_off(most.min(self.under_way.len()));
        self.answer(status, &[], b"");
        self.under_way = later;
    }
}
