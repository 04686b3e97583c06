//! A mesh in one process: services with a sidecar each, a gateway in front, applications in between.
//!
//! Each sidecar is one Envoy with two workers: requests arrive on one and leave on the other, so the two filters meet only in
//! what workers share. Applications copy trace headers from request to request and nothing from response to response, as
//! Istio applications do. Time is one clock; each hop takes a millisecond.

use super::attributes::{Direction, EndFacts};
use super::collector::ExportedSpan;
use super::contexts::Stream;
use super::headers::HeaderMap;
use super::native::{NativeSpan, Provider};
use super::process::{Clock, Process};
use super::world::World;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const MILLISECOND: u64 = 1_000_000;

/// What applications copy.
const COPIED: &[&str] = &[
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
];

type Job = Box<dyn FnOnce(&mut World) + Send>;
/// An application: sees a request, may call others, answers.
pub type App = Box<dyn Fn(&Hop<'_>) -> Answer>;

/// What an application answers. A number is an HTTP status; 0 is a reset of the connection.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// An HTTP status.
    Http(u16),
    /// 200, and a gRPC status in trailers.
    Grpc(u32),
    /// 200, and a gRPC status in headers; no trailers.
    TrailersOnly(u32),
}

/// One worker of one Envoy: a thread, because a thread is a VM.
struct Worker(Sender<Job>);

/// A service with its sidecar; a gateway has no application.
struct Pod {
    name: &'static str,
    /// Envoy's own tracer is on, if the mesh has one.
    native: bool,
    inbound: Worker,
    outbound: Worker,
    app: App,
}

/// All of it.
pub struct Mesh {
    clock: Clock,
    initialize: fn(),
    configuration: String,
    pods: BTreeMap<&'static str, Pod>,
    native: Option<Native>,
}

/// Envoy's own tracer, on in every proxy.
struct Native {
    provider: Provider,
    /// A gateway makes one span more for its request upstream (`spawn_upstream_span`).
    spawn_upstream_span: bool,
    /// Whether a proxy samples: service, and whether a caller of the trace had asked for it; `None`: no caller.
    samples: Box<dyn Fn(&str, Option<bool>) -> bool>,
    /// All its spans, exported or not.
    spans: RefCell<Vec<(&'static str, NativeSpan)>>,
}

/// A request as the application behind a sidecar sees it.
pub struct Hop<'m> {
    mesh: &'m Mesh,
    pod: &'m Pod,
    /// Its headers.
    pub headers: HeaderMap,
}

/// A response as it arrives.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 0: none came.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its trailers; empty if it has none.
    pub trailers: HeaderMap,
}

// === impl Worker ===

impl Worker {
    fn start(initialize: fn(), process: Process, node_id: String, configuration: String) -> Self {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            let mut world = World::idle(process);
            world.set_node(&["xds", "node", "id"], node_id.as_str());
            world.boot(initialize, configuration);
            for job in inbox {
                job(&mut world);
            }
        });
        Self(jobs)
    }

    fn run<R: Send + 'static>(&self, job: impl FnOnce(&mut World) -> R + Send + 'static) -> R {
        let (answer, answered) = channel();
        let job = move |world: &mut World| drop(answer.send(job(world)));
        self.0.send(Box::new(job)).expect("the worker lives");
        answered.recv().expect("the worker lives")
    }

    /// The stream's id and the headers that go on.
    fn request(&self, direction: Direction, headers: HeaderMap) -> (u32, HeaderMap) {
        self.run(move |world| {
            let stream = world.request(direction, headers);
            (stream.id(), stream.upstream_headers())
        })
    }

    /// The response passes and the stream ends; without a status there is nothing to pass.
    fn respond(&self, stream: u32, reply: Reply, facts: EndFacts) -> HeaderMap {
        self.run(move |_| {
            let stream = Stream::from_id(stream);
            stream.attempts(facts.attempts);
            if reply.status != 0 {
                stream.response(reply.headers);
            }
            if reply.trailers.len() > 0 {
                stream.trailers(reply.trailers);
            }
            stream.finish(facts).1.unwrap_or_default()
        })
    }
}

// === impl Mesh ===

impl Mesh {
    /// A gateway and no service yet; all sidecars run the filter with this `pluginConfig`.
    pub fn new(configuration: &str) -> Self {
        Self::with_filter(super::start_filter, configuration)
    }

    /// gateway → front → back → db, and back → cache on the side; `broken` is what db answers, `masked` what back answers then.
    pub fn of_four(configuration: &str, broken: u16, masked: Option<u16>, attempts: u64) -> Self {
        Self::new(configuration)
            .service("front", |hop| hop.call("back"))
            .service("back", move |hop| {
                hop.call("cache");
                match hop.call_retrying("db", attempts) {
                    200 => 200,
                    failed => masked.unwrap_or(failed),
                }
            })
            .service("cache", |_| 200)
            .service("db", move |_| broken)
    }

    /// As [`Self::new`], with any filter.
    pub fn with_filter(initialize: fn(), configuration: &str) -> Self {
        let configuration = configuration.to_owned();
        let mut mesh = Self { clock: Clock::default(), initialize, configuration, pods: BTreeMap::new(), native: None };
        mesh.add("gateway", "router", Box::new(|_| Answer::Http(404)));
        mesh
    }

    /// A service with its sidecar.
    pub fn service<A: Into<Answer>>(mut self, name: &'static str, app: impl Fn(&Hop<'_>) -> A + 'static) -> Self {
        self.add(name, "sidecar", Box::new(move |hop| app(hop).into()));
        self
    }

    /// The same with Envoy's own tracer on; `samples` as in [`Native::samples`].
    pub fn native(
        mut self,
        provider: Provider,
        spawn_upstream_span: bool,
        samples: impl Fn(&str, Option<bool>) -> bool + 'static,
    ) -> Self {
        let spans = RefCell::default();
        self.native = Some(Native { provider, spawn_upstream_span, samples: Box::new(samples), spans });
        self
    }

    /// All spans of Envoy's own tracers, exported or not.
    pub fn native_spans(&self) -> Vec<(&'static str, NativeSpan)> {
        self.native.as_ref().map(|native| native.spans.borrow().clone()).unwrap_or_default()
    }

    /// A service whose sidecar has another `pluginConfig`, and no tracer of its own.
    pub fn other<A: Into<Answer>>(
        mut self,
        name: &'static str,
        configuration: &str,
        app: impl Fn(&Hop<'_>) -> A + 'static,
    ) -> Self {
        let usual = std::mem::replace(&mut self.configuration, configuration.to_owned());
        self.add(name, "sidecar", Box::new(move |hop| app(hop).into()));
        self.configuration = usual;
        self.pods.get_mut(name).expect("just added").native = false;
        self
    }

    fn add(&mut self, name: &'static str, role: &str, app: App) {
        let process = Process::at(self.clock.clone());
        let worker = || {
            let node_id = format!("{role}~10.0.0.1~{name}-0.store~store.svc.cluster.local");
            Worker::start(self.initialize, process.clone(), node_id, self.configuration.clone())
        };
        let pod = Pod { name, native: true, inbound: worker(), outbound: worker(), app };
        self.pods.insert(name, pod);
    }

    /// A client outside sends a request through the gateway.
    pub fn request(&self, service: &str, headers: impl Into<HeaderMap>) -> Reply {
        self.exchange(&self.pods["gateway"], service, headers.into(), 1)
    }

    /// A request leaves through a sidecar or gateway; a failing answer is retried by Envoy, which shows the last one only.
    fn exchange(&self, caller: &Pod, service: &str, headers: HeaderMap, attempts: u64) -> Reply {
        let start = self.step();
        let grpc = headers.text("content-type").is_some_and(|kind| kind == "application/grpc");
        let span = self.native_span(caller, &headers);
        let (stream, upstream) = caller.outbound.request(Direction::Outbound, headers);
        let upstream = self.routed(caller, &caller.outbound, stream, upstream, span.as_ref());
        let mut made = 0;
        let reply = loop {
            made += 1;
            let reply = self.deliver(service, upstream.clone());
            if made == attempts || (1..500).contains(&reply.status) {
                break reply;
            }
        };
        let facts = EndFacts { attempts: made, ..EndFacts::default() }.after(self.since(start));
        let (reply, facts) = match reply.status {
            // What Envoy answers for a connection that broke: a local reply, which passes the filter.
            0 if grpc => (Reply::of(Answer::TrailersOnly(14)), EndFacts { flags: 1 << 6, ..facts }),
            0 => (Reply::of(Answer::Http(503)), EndFacts { flags: 1 << 6, ..facts }),
            _ => (reply, facts),
        };
        let (status, trailers) = (reply.status, reply.trailers.clone());
        Reply { status, headers: caller.outbound.respond(stream, reply, facts), trailers }
    }

    /// A request arrives at a sidecar, and its application answers.
    fn deliver(&self, service: &str, headers: HeaderMap) -> Reply {
        let start = self.step();
        let pod = &self.pods[service];
        let span = self.native_span(pod, &headers);
        let (stream, headers) = pod.inbound.request(Direction::Inbound, headers);
        let headers = self.routed(pod, &pod.inbound, stream, headers, span.as_ref());
        let reply = Reply::of((pod.app)(&Hop { mesh: self, pod, headers }));
        self.step();
        let (status, trailers) = (reply.status, reply.trailers.clone());
        let facts = if status == 0 { EndFacts::reset() } else { EndFacts::default() };
        let headers = pod.inbound.respond(stream, reply, facts.after(self.since(start)));
        Reply { status, headers, trailers }
    }

    /// The span that Envoy's own tracer starts before any filter.
    fn native_span(&self, pod: &Pod, headers: &HeaderMap) -> Option<NativeSpan> {
        self.native.as_ref().filter(|_| pod.native).map(|native| native.start(pod.name, headers))
    }

    /// The router sends a request, with the headers of the native tracer if there is one.
    fn routed(&self, pod: &Pod, worker: &Worker, stream: u32, sent: HeaderMap, span: Option<&NativeSpan>) -> HeaderMap {
        let (Some(native), Some(span)) = (&self.native, span) else { return sent };
        let first = native.provider.inject(&sent, span);
        let sent = match native.spawn_upstream_span && pod.name == "gateway" {
            true => native.provider.inject(&sent, &native.start(pod.name, &first)),
            false => first,
        };
        let headers = sent.clone();
        worker.run(move |_| Stream::from_id(stream).router_sends(headers));
        sent
    }

    fn step(&self) -> u64 {
        let now = self.clock.now_ns();
        self.clock.set_ns(now + MILLISECOND);
        now
    }

    fn since(&self, start: u64) -> Duration {
        Duration::from_nanos(self.clock.now_ns() - start)
    }

    /// Lets all sidecars flush, to a collector that takes everything, and answers what it has: service and span.
    pub fn spans(&self) -> Vec<(&'static str, ExportedSpan)> {
        for _ in 0..4 {
            self.clock.set_ns(self.clock.now_ns() + 2_000 * MILLISECOND);
            for worker in self.pods.values().flat_map(|pod| [&pod.inbound, &pod.outbound]) {
                worker.run(|world| {
                    world.fire_due();
                    world.respond_all(200);
                });
            }
        }
        let mut out = Vec::new();
        for (name, pod) in &self.pods {
            for worker in [&pod.inbound, &pod.outbound] {
                out.extend(worker.run(|world| world.exported()).into_iter().map(|span| (*name, span)));
            }
        }
        out
    }

    /// The sum of a counter over all sidecars.
    pub fn metric(&self, name: &'static str) -> u64 {
        self.pods.values().map(|pod| pod.inbound.run(move |world| world.metric(name))).sum()
    }
}

// === impl Native ===

impl Native {
    fn start(&self, service: &'static str, headers: &HeaderMap) -> NativeSpan {
        let mut spans = self.spans.borrow_mut();
        let number = u64::try_from(spans.len()).expect("few") + 1;
        let span = self.provider.start(headers, number, false);
        let asked = (!span.parent_id.is_empty()).then_some(span.sampled);
        let span = NativeSpan { sampled: (self.samples)(service, asked), ..span };
        spans.push((service, span.clone()));
        span
    }
}

// === impl Hop ===

impl Hop<'_> {
    /// Calls another service with the trace headers of this request; answers its status.
    pub fn call(&self, service: &str) -> u16 {
        self.call_with(service, self.copied()).status
    }

    /// The same, where the sidecar tries this often.
    pub fn call_retrying(&self, service: &str, attempts: u64) -> u16 {
        self.mesh.exchange(self.pod, service, self.copied(), attempts).status
    }

    /// The same by gRPC; answers the gRPC status.
    pub fn call_grpc(&self, service: &str) -> u32 {
        let reply = self.call_with(service, self.copied().with("content-type", "application/grpc"));
        let status = reply.headers.text("grpc-status").or_else(|| reply.trailers.text("grpc-status"));
        status.map_or(2, |status| status.parse().expect("a number"))
    }

    /// Calls another service with these headers.
    pub fn call_with(&self, service: &str, headers: HeaderMap) -> Reply {
        self.mesh.exchange(self.pod, service, headers, 1)
    }

    /// A new request with the trace headers of this one.
    pub fn copied(&self) -> HeaderMap {
        let fresh = HeaderMap::from(&[(":method", "GET"), (":path", "/work"), (":authority", "next")]);
        let kept = self.headers.iter().filter(|(name, _)| COPIED.iter().any(|copied| copied.as_bytes() == *name));
        kept.fold(fresh, |map, (name, value)| map.with(name, value))
    }
}

// === impl Answer, Reply ===

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::Http(status)
    }
}

impl Reply {
    fn of(answer: Answer) -> Self {
        let none = HeaderMap::default();
        let grpc = HeaderMap::from(&[(":status", "200"), ("content-type", "application/grpc")]);
        let status = |code: u32| HeaderMap::from(&[("grpc-status", code.to_string().as_str())]);
        let (code, headers, trailers) = match answer {
            Answer::Http(code) => {
                (code, HeaderMap::from(&[(":status", code.to_string().as_str()), ("content-length", "0")]), none)
            }
            Answer::Grpc(code) => (200, grpc, status(code)),
            Answer::TrailersOnly(code) => (200, grpc.with("grpc-status", code.to_string()), none),
        };
        Self { status: code, headers, trailers }
    }
}
