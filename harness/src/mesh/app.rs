//! An application behind a sidecar: forwards trace headers as Istio asks applications to, calls others, fails on demand.

use super::plan::{ANSWER, Action, PLAN, Plan};
use crate::client::Client;
use crate::server::{Abort, Answer, Server, full};
use crate::support::lock;
use crate::upstream::{self, Recorded, header_list, respond, whole};
use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Which headers an application copies from the request it serves to those it makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Everything that Istio's documentation lists.
    #[default]
    All,
    /// `traceparent`, `tracestate` and `baggage` only.
    W3c,
    /// `b3` and `x-b3-*` only.
    B3,
    /// Nothing: every call starts a new trace.
    Nothing,
    /// As [`Forwarding::W3c`], but the parent is a span of the application's own, as where an OpenTelemetry SDK runs in it.
    OwnSpan,
    /// As [`Forwarding::All`], but for `tracestate`.
    WithoutState,
}

/// What an application does.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) name: String,
    pub(crate) forwarding: Forwarding,
    pub(crate) masks: bool,
    pub(crate) work: Duration,
    /// Hosts to call and the path there (empty: that of the request), one after the other.
    pub(crate) calls: Vec<(String, String)>,
    /// The calls are made at the same time instead.
    pub(crate) parallel: bool,
}

/// One request as the application lived it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The application's name.
    pub application: String,
    /// The request, as the inbound listener handed it over.
    pub received: Recorded,
    /// The calls it made.
    pub calls: Vec<Call>,
}

/// A call to another service, through the outbound listener.
#[derive(Clone, Debug)]
pub struct Call {
    /// Host called.
    pub host: String,
    /// Headers sent, without the transport's own.
    pub sent: Vec<(String, String)>,
    /// Status; `None` if there was no answer.
    pub status: Option<u16>,
    /// gRPC status, if it was a gRPC call that got one.
    pub grpc_status: Option<u32>,
    /// Whether the answer was whole.
    pub complete: bool,
    /// Headers of the answer, as the outbound listener handed them over.
    pub answer: Vec<(String, Bytes)>,
}

/// A running application.
pub(crate) struct App {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    /// Known only once the sidecar runs, and that starts after the application.
    outbound: OnceLock<Client>,
    exchanges: Mutex<Vec<Exchange>>,
    /// Requests that have come, answered or not.
    arrivals: Mutex<Vec<Recorded>>,
    /// Requests whose first attempt has failed as planned.
    failed_once: Mutex<BTreeSet<String>>,
}

const W3C: &[&str] = &["traceparent", "tracestate", "baggage"];
const B3: &[&str] = &["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
const OTHERS: &[&str] = &[
    "x-request-id",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-datadog-origin",
];

// === impl App ===

impl App {
    pub(crate) async fn start(behaviour: Behaviour) -> Result<Self> {
        let shared = Arc::new(Shared {
            behaviour,
            outbound: OnceLock::new(),
            exchanges: Mutex::default(),
            arrivals: Mutex::default(),
            failed_once: Mutex::default(),
        });
        let handler = shared.clone();
        let server = Server::start(move |request| {
            let shared = handler.clone();
            async move { shared.serve(whole(request).await?).await }
        })
        .await?;
        Ok(Self { server, shared })
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn set_outbound(&self, client: Client) {
        // Set once, by the mesh that starts it.
        let _ = self.shared.outbound.set(client);
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).clone()
    }

    pub(crate) fn arrivals(&self) -> Vec<Recorded> {
        lock(&self.shared.arrivals).clone()
    }

    pub(crate) fn clear(&self) {
        lock(&self.shared.arrivals).clear();
        lock(&self.shared.exchanges).clear();
    }
}

// === impl Shared ===

impl Shared {
    async fn serve(self: Arc<Self>, request: Request<Bytes>) -> Answer {
        let plan = text(&request, PLAN).and_then(|plan| plan.parse::<Plan>().ok()).unwrap_or_default();
        let grpc = text(&request, "content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
        let mut exchange = Exchange {
            application: self.behaviour.name.clone(),
            received: Recorded::from_request(&request),
            calls: Vec::new(),
        };
        lock(&self.arrivals).push(exchange.received.clone());
        tokio::time::sleep(self.behaviour.work).await;
        let mut masks = self.behaviour.masks;
        let mut end = None;
        let at_this_path = format!("{}{}", self.behaviour.name, request.uri().path());
        for action in plan.actions(&self.behaviour.name).chain(plan.actions(&at_this_path)) {
            match action {
                Action::Delay(delay) => tokio::time::sleep(delay).await,
                Action::Mask => masks = true,
                Action::Once(_) if !self.is_first_attempt(&request) => {}
                other => end = Some(other),
            }
        }
        let answer = match end {
            Some(Action::Early) => return self.stream_early(exchange, request, grpc),
            Some(action) if action != Action::Hang => fail(action, grpc).await,
            hang => {
                exchange.calls = self.call_all(&request, grpc).await;
                if hang.is_some() {
                    lock(&self.exchanges).push(exchange);
                    return upstream::never().await;
                }
                let failed = exchange.calls.iter().find(|call| call.failed()).filter(|_| !masks);
                self.succeed_or_pass_on(failed, grpc).await
            }
        };
        lock(&self.exchanges).push(exchange);
        self.with_planned_headers(answer, &request)
    }

    /// The head and a part of the body leave before anybody is called.
    fn stream_early(self: Arc<Self>, mut exchange: Exchange, request: Request<Bytes>, grpc: bool) -> Answer {
        let body = upstream::streamed(move |mut sender| async move {
            let _ = sender.send_data(Bytes::from_static(b"a part\n")).await;
            // Lets the head and the part arrive before the calls can fail.
            tokio::time::sleep(Duration::from_millis(50)).await;
            exchange.calls = self.call_all(&request, grpc).await;
            lock(&self.exchanges).push(exchange);
            let _ = sender.send_data(Bytes::from_static(b"the rest\n")).await;
        });
        respond(200, body)
    }

    fn is_first_attempt(&self, request: &Request<Bytes>) -> bool {
        text(request, "x-request-id").is_none_or(|id| lock(&self.failed_once).insert(id.to_owned()))
    }

    fn with_planned_headers(&self, answer: Answer, request: &Request<Bytes>) -> Answer {
        let planned = request.headers().get_all(ANSWER).iter().filter_map(|value| value.to_str().ok());
        let own = planned.filter_map(|value| value.strip_prefix(&self.behaviour.name)?.strip_prefix(' '));
        own.filter_map(|header| header.split_once(": "))
            .fold(answer, |answer, (name, value)| upstream::header(answer, name, value))
    }

    async fn call_all(&self, request: &Request<Bytes>, grpc: bool) -> Vec<Call> {
        let headers = self.behaviour.forwarding.forwarded(request);
        let own = request.uri().path();
        let call = |(host, path): &(String, String)| {
            let (host, path) = (host.clone(), if path.is_empty() { own.to_owned() } else { path.clone() });
            let headers = headers.clone();
            async move { self.call(&host, &path, headers, grpc).await }
        };
        let at_once = if self.behaviour.parallel { self.behaviour.calls.len() } else { 1 };
        let calls = futures_util::stream::iter(&self.behaviour.calls).map(call);
        calls.buffered(at_once.max(1)).collect().await
    }

    async fn call(&self, host: &str, path: &str, sent: Vec<(String, String)>, grpc: bool) -> Call {
        let mut call =
            Call { host: host.to_owned(), sent, status: None, grpc_status: None, complete: false, answer: Vec::new() };
        let Some(client) = self.outbound.get() else { return call };
        let headers: Vec<(&str, &str)> =
            call.sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = if grpc {
            client.grpc(host, path, &[b"call"], &headers).await.map(|reply| (reply.status, reply.http))
        } else {
            client.get(host, path, &headers).await.map(|reply| (None, reply))
        };
        if let Ok((grpc_status, reply)) = reply {
            call.status = Some(reply.status.as_u16());
            call.grpc_status = grpc_status;
            call.complete = reply.complete && (!grpc || grpc_status.is_some());
            call.answer = header_list(&reply.headers);
        }
        call
    }

    async fn succeed_or_pass_on(&self, failed: Option<&Call>, grpc: bool) -> Answer {
        match (failed, grpc) {
            (None, false) => respond(200, full(format!("{} is fine\n", self.behaviour.name))),
            (None, true) => upstream::grpc(0, "").await,
            (Some(call), false) => respond(500, full(format!("{} failed\n", call.host))),
            (Some(call), true) => upstream::grpc(call.grpc_status.unwrap_or(14), "a call failed").await,
        }
    }
}

async fn fail(action: Action, grpc: bool) -> Answer {
    match action {
        Action::Status(code) | Action::Once(code) => respond(code, full("as planned\n")),
        Action::Grpc(code) if grpc => upstream::grpc(code, "as planned").await,
        Action::TrailersOnly(code) if grpc => upstream::grpc_trailers_only(code, "as planned").await,
        Action::Grpc(_) | Action::TrailersOnly(_) => {
            respond(500, full("a gRPC status was planned for an HTTP request\n"))
        }
        Action::Close => upstream::close().await,
        Action::Reset => upstream::reset().await,
        Action::Cut => upstream::break_mid_body(Abort::Reset).await,
        // These are no ends.
        Action::Mask | Action::Delay(_) | Action::Hang | Action::Early => respond(200, full("")),
    }
}

fn text<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The same `traceparent` with a span id that nobody else has. (The spans of an application are not exported.)
fn child_of(traceparent: &str) -> String {
    static LAST: AtomicU64 = AtomicU64::new(0x5d_0000_0000_0000);
    let fields: Vec<&str> = traceparent.split('-').collect();
    match fields.as_slice() {
        [version, trace, _, flags] => {
            format!("{version}-{trace}-{:016x}-{flags}", LAST.fetch_add(1, Ordering::Relaxed))
        }
        _ => traceparent.to_owned(),
    }
}

// === impl Forwarding, Call ===

impl Forwarding {
    /// Plans are forwarded whatever the application does with trace headers.
    fn forwarded(self, request: &Request<Bytes>) -> Vec<(String, String)> {
        let lists: &[&[&str]] = match self {
            Self::All | Self::WithoutState => &[W3C, B3, OTHERS],
            Self::W3c | Self::OwnSpan => &[W3C],
            Self::B3 => &[B3],
            Self::Nothing => &[],
        };
        let dropped = |name: &str| self == Self::WithoutState && name == "tracestate";
        let wanted = |name: &str| {
            [PLAN, ANSWER].contains(&name) || lists.iter().any(|list| list.contains(&name)) && !dropped(name)
        };
        let copied = request.headers().iter().filter(|(name, _)| wanted(name.as_str()));
        let own_span = |name: &str, value: &str| match (self, name) {
            (Self::OwnSpan, "traceparent") => child_of(value),
            _ => value.to_owned(),
        };
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.to_string(), own_span(name.as_str(), value.to_str().ok()?)))
        };
        copied.filter_map(text).collect()
    }
}

impl Call {
    /// No whole answer, a status of 500 or more, or a gRPC status other than OK.
    pub fn failed(&self) -> bool {
        !self.complete
            || self.status.is_none_or(|status| status >= 500)
            || self.grpc_status.is_some_and(|code| code != 0)
    }
}
