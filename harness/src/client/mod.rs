//! Clients: HTTP/1.1 and HTTP/2 through hyper, raw HTTP/1.1 bytes, gRPC, websocket, and a small load helper.

mod connect;
mod load;
mod raw;
mod websocket;

pub use self::load::fire;
pub use self::raw::{RawConnection, RawRequest, RawResponse};
pub use self::websocket::WebSocket;

use self::connect::{connect, localhost};
use crate::grpc;
use crate::server::{Body, full};
use crate::support::lock;
use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A client of one loopback address that keeps its connections. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    connections: Arc<Connections>,
}

enum Connections {
    /// Idle connections; each is used by one request at a time.
    Http1(Mutex<Vec<http1::SendRequest<Body>>>),
    /// One connection for all requests.
    Http2(tokio::sync::Mutex<Option<http2::SendRequest<Body>>>),
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers; names are lower-case.
    pub headers: HeaderMap,
    /// Body, as it was on the wire, without transfer coding.
    pub body: Bytes,
    /// Trailers, if there were any.
    pub trailers: Option<HeaderMap>,
    /// Whether the body ended as it should.
    pub complete: bool,
}

/// The outcome of a gRPC call.
#[derive(Clone, Debug)]
pub struct GrpcReply {
    /// `grpc-status`, from the trailers or, in a trailers-only answer, from the headers.
    pub status: Option<u32>,
    /// `grpc-message`, decoded.
    pub message: Option<String>,
    /// The messages.
    pub messages: Vec<Bytes>,
    /// The HTTP response.
    pub http: Reply,
}

const TIMEOUT: Duration = Duration::from_secs(30);

// === impl Client ===

impl Client {
    /// HTTP/1.1, one connection for each request under way, kept alive.
    pub fn http1(port: u16) -> Self {
        Self::http1_at(localhost(port))
    }

    /// As [`Client::http1`], of another address than 127.0.0.1.
    pub fn http1_at(address: SocketAddr) -> Self {
        Self { address, connections: Arc::new(Connections::Http1(Mutex::default())) }
    }

    /// HTTP/2 with prior knowledge, one connection.
    pub fn http2(port: u16) -> Self {
        Self { address: localhost(port), connections: Arc::new(Connections::Http2(tokio::sync::Mutex::default())) }
    }

    /// The port it talks to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `GET <path>` from `host` with the given headers.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.send(self.request("GET", host, path, headers, Bytes::new())?).await
    }

    /// A request that this client can send: absolute URI for HTTP/2, `host` header for HTTP/1.1.
    ///
    /// # Errors
    /// If a part is not valid HTTP.
    pub fn request(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Request<Body>> {
        let mut builder = Request::builder().method(method);
        builder = match &*self.connections {
            Connections::Http1(_) => builder.uri(path).header("host", host),
            Connections::Http2(_) => builder.uri(format!("http://{host}{path}")),
        };
        let mut request = builder.body(full(body)).with_context(|| format!("{method} {host}{path}"))?;
        for (name, value) in headers {
            request
                .headers_mut()
                .append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value.as_bytes())?);
        }
        Ok(request)
    }

    /// Sends and reads the whole response.
    ///
    /// # Errors
    /// If there is no response within 30 seconds, or none at all. A body that breaks off is no error: see [`Reply::complete`].
    pub async fn send(&self, request: Request<Body>) -> Result<Reply> {
        let line = format!("{} {} to port {}", request.method(), request.uri(), self.port());
        let exchange = async {
            match &*self.connections {
                Connections::Http1(idle) => self.send_http1(idle, request).await,
                Connections::Http2(shared) => self.send_http2(shared, request).await,
            }
        };
        let timed = tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("{line}: no answer"))?;
        timed.context(line)
    }

    /// A gRPC call (the client must speak HTTP/2): sends the messages, reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`], and if the answer's frames are broken although it is complete.
    pub async fn grpc(
        &self,
        host: &str,
        path: &str,
        messages: &[&[u8]],
        headers: &[(&str, &str)],
    ) -> Result<GrpcReply> {
        ensure!(matches!(&*self.connections, Connections::Http2(_)), "gRPC needs HTTP/2");
        let mut body = BytesMut::new();
        messages.iter().for_each(|message| body.extend_from_slice(&grpc::frame(message)));
        let fixed = [("content-type", "application/grpc"), ("te", "trailers")];
        let headers: Vec<_> = fixed.iter().chain(headers).copied().collect();
        let http = self.send(self.request("POST", host, path, &headers, body.freeze())?).await?;
        let source =
            http.trailers.as_ref().filter(|trailers| grpc::status(trailers).is_some()).unwrap_or(&http.headers);
        let (status, message) = (grpc::status(source), grpc::message(source));
        let messages = match grpc::unframe(http.body.clone()) {
            Ok(messages) => messages.into_iter().map(|message| message.payload).collect(),
            // Without a status an answer is not complete: Envoy 1.36 ends a broken one as HTTP/2 ends a whole one (`NO_ERROR`).
            Err(error) if http.complete && status.is_some() => return Err(error),
            Err(_) => Vec::new(),
        };
        Ok(GrpcReply { status, message, messages, http })
    }

    async fn send_http1(&self, idle: &Mutex<Vec<http1::SendRequest<Body>>>, request: Request<Body>) -> Result<Reply> {
        let mut connection = loop {
            let kept = lock(idle).pop();
            match kept {
                Some(connection) if connection.is_closed() => {}
                Some(mut connection) => {
                    if connection.ready().await.is_ok() {
                        break connection;
                    }
                }
                None => break self.connect_http1().await?,
            }
        };
        let reply = read(connection.send_request(request).await?).await;
        if reply.complete && !connection.is_closed() {
            lock(idle).push(connection);
        }
        Ok(reply)
    }

    async fn send_http2(
        &self,
        shared: &tokio::sync::Mutex<Option<http2::SendRequest<Body>>>,
        request: Request<Body>,
    ) -> Result<Reply> {
        let mut connection = {
            let mut shared = shared.lock().await;
            match shared.as_ref().filter(|connection| !connection.is_closed()) {
                Some(connection) => connection.clone(),
                None => shared.insert(self.connect_http2().await?).clone(),
            }
        };
        connection.ready().await?;
        Ok(read(connection.send_request(request).await?).await)
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Body>> {
        let stream = connect(self.address).await?;
        let mut builder = http1::Builder::new();
        builder.max_headers(2048).max_buf_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<http2::SendRequest<Body>> {
        let stream = connect(self.address).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_header_list_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

// === impl Reply ===

impl Reply {
    /// A header's first value as text; `None` if it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads as much of the body as comes.
async fn read(response: Response<Incoming>) -> Reply {
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    let mut trailers = None;
    let mut complete = true;
    while let Some(frame) = incoming.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(other)) => trailers = other.into_trailers().ok(),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Reply { status: head.status, headers: head.headers, body: body.freeze(), trailers, complete }
}
