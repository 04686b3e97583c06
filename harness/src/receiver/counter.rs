//! A receiver that accepts everything and only counts: for loads of which nobody could keep every span.

use super::decode;
use super::export::Payload;
use super::reply::Reply;
use crate::server::{Answer, Server, full};
use crate::support::lock;
use crate::upstream::{respond, whole};
use anyhow::{Result, ensure};
use http::Request;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A running receiver, of the same protocols as [`super::Receiver`]; it ends when dropped.
pub struct Counter {
    server: Server,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// Spans by `service.name`, Zipkin's by that of their local endpoint.
    spans: BTreeMap<String, u64>,
    /// Spans with the status ERROR (OTLP only).
    failed: u64,
    errors: Vec<String>,
}

// === impl Counter ===

impl Counter {
    /// Starts on a free port.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> Result<Self> {
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shared = counts.clone();
        let server = Server::start(move |request| handle(shared.clone(), request)).await?;
        Ok(Self { server, counts })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Spans so far, by service.
    ///
    /// # Errors
    /// If anything came that does not decode.
    pub fn spans(&self) -> Result<BTreeMap<String, u64>> {
        let counts = lock(&self.counts);
        ensure!(counts.errors.is_empty(), "the receiver got what it cannot read: {:?}", counts.errors);
        Ok(counts.spans.clone())
    }

    /// Spans so far whose status is ERROR, of any service; Zipkin's are not looked at.
    pub fn failed_spans(&self) -> u64 {
        lock(&self.counts).failed
    }

    /// Ends all connections and refuses new ones.
    ///
    /// # Errors
    /// If the port cannot be kept.
    pub async fn refuse(&self) -> Result<()> {
        self.server.refuse().await
    }
}

async fn handle(counts: Arc<Mutex<Counts>>, request: Request<Incoming>) -> Answer {
    let request = whole(request).await?;
    let read = decode::protocol(&request).and_then(|protocol| {
        decode::payload(protocol, request.headers(), request.body().clone()).map(|(payload, _)| (protocol, payload))
    });
    match read {
        Ok((protocol, payload)) => {
            lock(&counts).add(&payload);
            Reply::Accept.answer(protocol).await
        }
        Err(error) => {
            let line = format!("{} {}: {error:#}", request.method(), request.uri());
            lock(&counts).errors.push(line.clone());
            respond(400, full(line))
        }
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, payload: &Payload) {
        match payload {
            Payload::Otlp(request) => {
                for resource in &request.resource_spans {
                    let spans = || resource.scope_spans.iter().flat_map(|scope| &scope.spans);
                    let failed = |span: &&Span| span.status.as_ref().is_some_and(|s| s.code() == StatusCode::Error);
                    *self.spans.entry(service(resource)).or_default() += spans().count() as u64;
                    self.failed += spans().filter(failed).count() as u64;
                }
            }
            Payload::Zipkin(spans) => {
                for span in spans {
                    let service = span.local_endpoint.as_ref().and_then(|endpoint| endpoint.service_name.clone());
                    *self.spans.entry(service.unwrap_or_default()).or_default() += 1;
                }
            }
        }
    }
}

fn service(resource: &ResourceSpans) -> String {
    let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
    let name = attributes.filter(|attribute| attribute.key == "service.name").find_map(|attribute| {
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            _ => None,
        }
    });
    name.unwrap_or_default()
}
