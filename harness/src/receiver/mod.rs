//! A receiver of spans on a free port: OTLP over HTTP (protobuf, JSON) and gRPC, Zipkin v2 JSON, all on the same port.
//!
//! It decodes with `opentelemetry-proto`, so with code that shares nothing with the filter's encoder; what does not decode is
//! refused with 400 and kept in [`Receiver::errors`]. [`Receiver::script`] makes it misbehave.

mod counter;
mod decode;
mod export;
mod protocol;
mod reply;
mod zipkin;

pub use self::counter::Counter;
pub use self::export::{Export, Payload};
pub use self::protocol::Protocol;
pub use self::reply::Reply;
pub use self::zipkin::{ZipkinAnnotation, ZipkinEndpoint, ZipkinSpan};
pub use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::server::{Answer, Server, full};
use crate::span::{ReceivedSpan, spans_of};
use crate::support::{Patience, lock};
use crate::upstream::{header_list, respond, whole};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A running receiver; it ends when dropped.
pub struct Receiver {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    exports: Vec<Export>,
    spans: Vec<ReceivedSpan>,
    zipkin: Vec<ZipkinSpan>,
    errors: Vec<String>,
    script: VecDeque<Reply>,
    otherwise: Option<Reply>,
}

// === impl Receiver ===

impl Receiver {
    /// Starts on a free port, accepting everything.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = Server::start(move |request| handle(shared.clone(), request)).await?;
        Ok(Self { server, state })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Answers for the next exports, one each; after them the standing answer holds again.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).script.extend(replies);
    }

    /// The standing answer, from now on.
    pub fn answer_with(&self, reply: Reply) {
        lock(&self.state).otherwise = Some(reply);
    }

    /// Ends all connections and refuses new ones until [`Receiver::resume`]. The port stays reserved.
    ///
    /// # Errors
    /// If the port cannot be kept.
    pub async fn refuse(&self) -> Result<()> {
        self.server.refuse().await
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// If the port cannot be listened on.
    pub async fn resume(&self) -> Result<()> {
        self.server.resume().await
    }

    /// OTLP spans received so far, in order.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        lock(&self.state).spans.clone()
    }

    /// OTLP spans received since the last call, in order.
    pub fn take(&self) -> Vec<ReceivedSpan> {
        std::mem::take(&mut lock(&self.state).spans)
    }

    /// Zipkin spans received so far.
    pub fn zipkin_spans(&self) -> Vec<ZipkinSpan> {
        lock(&self.state).zipkin.clone()
    }

    /// OTLP and Zipkin spans received so far, those of Zipkin with OpenTelemetry's names.
    pub fn spans_of_all_protocols(&self) -> Vec<ReceivedSpan> {
        let state = lock(&self.state);
        state.spans.iter().cloned().chain(state.zipkin.iter().map(ZipkinSpan::to_received)).collect()
    }

    /// Every export call so far, also those refused by the script.
    pub fn exports(&self) -> Vec<Export> {
        lock(&self.state).exports.clone()
    }

    /// What could not be decoded, or was no export at all.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.state).errors.clone()
    }

    /// Forgets everything but the script.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        let (script, otherwise) = (std::mem::take(&mut state.script), state.otherwise.take());
        *state = State { script, otherwise, ..State::default() };
    }

    /// Waits for at least `n` OTLP spans, and returns all.
    ///
    /// # Errors
    /// If they do not come within `timeout`, or anything came that does not decode.
    pub async fn wait_for(&self, n: usize, timeout: Duration) -> Result<Vec<ReceivedSpan>> {
        self.wait(&format!("{n} spans"), timeout, |state| state.spans.len() >= n, |state| state.spans.clone()).await
    }

    /// Waits until the OTLP spans received so far satisfy `enough`, and returns them.
    ///
    /// # Errors
    /// If they do not within `timeout`, or anything came that does not decode.
    pub async fn wait_until(
        &self,
        timeout: Duration,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>> {
        self.wait("the spans awaited", timeout, |state| enough(&state.spans), |state| state.spans.clone()).await
    }

    /// Waits for at least `n` export calls, and returns all.
    ///
    /// # Errors
    /// If they do not come within `timeout`, or anything came that does not decode.
    pub async fn wait_for_exports(&self, n: usize, timeout: Duration) -> Result<Vec<Export>> {
        self.wait(&format!("{n} exports"), timeout, |state| state.exports.len() >= n, |state| state.exports.clone())
            .await
    }

    /// Waits for at least `n` Zipkin spans, and returns all.
    ///
    /// # Errors
    /// If they do not come within `timeout`, or anything came that does not decode.
    pub async fn wait_for_zipkin(&self, n: usize, timeout: Duration) -> Result<Vec<ZipkinSpan>> {
        self.wait(&format!("{n} Zipkin spans"), timeout, |state| state.zipkin.len() >= n, |state| state.zipkin.clone())
            .await
    }

    async fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        enough: impl Fn(&State) -> bool,
        get: impl Fn(&State) -> T,
    ) -> Result<T> {
        let patience = Patience::new(what, timeout);
        loop {
            let missing = {
                let state = lock(&self.state);
                if let Some(error) = state.errors.first() {
                    return Err(anyhow!("waiting for {what}: the receiver got what it cannot read: {error}"));
                }
                if enough(&state) {
                    return Ok(get(&state));
                }
                state.account()
            };
            patience.pause(anyhow!(missing)).await?;
        }
    }
}

// === impl State ===

impl State {
    fn next_reply(&mut self) -> Reply {
        self.script.pop_front().or_else(|| self.otherwise.clone()).unwrap_or(Reply::Accept)
    }

    fn keep(&mut self, payload: &Payload, reply: &Reply) {
        match payload {
            Payload::Otlp(request) => {
                let mut spans = spans_of(request);
                spans.truncate(reply.received(spans.len()));
                self.spans.append(&mut spans);
            }
            Payload::Zipkin(spans) => self.zipkin.extend_from_slice(&spans[..reply.received(spans.len())]),
        }
    }

    fn account(&self) -> String {
        let names: Vec<String> =
            self.spans.iter().map(|span| format!("{} {:?} {}", span.service(), span.kind, span.name)).collect();
        format!("{} exports, {} Zipkin spans, {} spans: {names:?}", self.exports.len(), self.zipkin.len(), names.len())
    }
}

async fn handle(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let request = whole(request).await?;
    let mut export = match read(&request) {
        Ok(export) => export,
        Err(error) => {
            let line = format!("{} {}: {error:#}", request.method(), request.uri());
            lock(&state).errors.push(line.clone());
            return respond(400, full(line));
        }
    };
    {
        let mut state = lock(&state);
        export.reply = state.next_reply();
        state.exports.push(export.clone());
    }
    let (delay, reply) = export.reply.clone().undelayed();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    // What is answered late is received late: a sender that gave up meanwhile has ended this task.
    lock(&state).keep(&export.payload, &reply);
    reply.answer(export.protocol).await
}

fn read(request: &Request<Bytes>) -> Result<Export> {
    let protocol = decode::protocol(request)?;
    let (payload, decoded_bytes) = decode::payload(protocol, request.headers(), request.body().clone())?;
    let compressed = protocol != Protocol::Grpc || request.body().first() == Some(&1);
    let coding = if protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
    let host = decode::text(request.headers(), "host").to_owned();
    Ok(Export {
        at: SystemTime::now(),
        protocol,
        path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        authority: request.uri().authority().map_or(host, ToString::to_string),
        headers: header_list(request.headers()),
        encoding: if compressed { decode::text(request.headers(), coding).to_owned() } else { String::new() },
        wire_bytes: request.body().len(),
        decoded_bytes,
        payload,
        reply: Reply::Accept,
    })
}
