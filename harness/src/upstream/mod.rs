//! Upstream servers: a handler answers, every request is recorded as it came.

mod behaviour;

pub use self::behaviour::{
    break_mid_body, chunked, close, delayed, echo_headers, grpc, grpc_stream, grpc_trailers_only, header, never, reset,
    status, websocket_echo,
};
pub(crate) use self::behaviour::{respond, streamed};
pub use crate::server::{Abort, Answer, Body, BoxError, empty, full};
pub use http::{Request, Response};

use crate::Result;
use crate::server::Server;
use crate::support::{Patience, lock};
use anyhow::anyhow;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server of HTTP/1.1 and HTTP/2 on a free port of 127.0.0.1; it ends when dropped.
pub struct Upstream {
    server: Server,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

/// The head of a request as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `:authority` or `host`.
    pub host: String,
    /// Protocol version, such as `HTTP/2.0`.
    pub version: String,
    /// Headers. Names are lower-case, values are bytes; lines of the same name keep their order and stand together.
    pub headers: Vec<(String, Bytes)>,
}

// === impl Upstream ===

impl Upstream {
    /// Starts with a handler, which is called when the whole request body has come.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start<F, R>(handler: F) -> Result<Self>
    where
        F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (record, handler) = (requests.clone(), Arc::new(handler));
        let server = Server::start(move |request| {
            lock(&record).push(Recorded::from_request(&request));
            let handler = handler.clone();
            async move { handler(whole(request).await?).await }
        })
        .await?;
        Ok(Self { server, requests })
    }

    /// Answers everything with 200 and a short body.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn ok() -> Result<Self> {
        Self::start(|_| status(200, "ok")).await
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.requests).clone()
    }

    /// What came since the last call.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *lock(&self.requests))
    }

    /// Waits until at least `n` requests have come, and returns them all.
    ///
    /// # Errors
    /// If they do not within `timeout`.
    pub async fn wait_for(&self, n: usize, timeout: Duration) -> Result<Vec<Recorded>> {
        let patience = Patience::new(format!("{n} requests upstream"), timeout);
        loop {
            let requests = self.requests();
            if requests.len() >= n {
                return Ok(requests);
            }
            patience.pause(anyhow!("{} came", requests.len())).await?;
        }
    }

    /// Ends all connections and refuses new ones until [`Upstream::resume`]. The port stays reserved.
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
}

// === impl Recorded ===

impl Recorded {
    /// The head of a request.
    pub fn from_request<B>(request: &Request<B>) -> Self {
        let host_header = || Some(String::from_utf8_lossy(request.headers().get("host")?.as_bytes()).into_owned());
        let authority = request.uri().authority().map(ToString::to_string);
        Self {
            method: request.method().to_string(),
            path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            host: authority.or_else(host_header).unwrap_or_default(),
            version: format!("{:?}", request.version()),
            headers: header_list(request.headers()),
        }
    }

    /// All values of a header, as bytes, in order.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let matching = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_ref()).collect()
    }

    /// The only value of a header as text; `None` if it is absent, repeated or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.values(name).as_slice() {
            [value] => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }
}

/// A request with all of its body. (A server that answers without reading it resets the stream, which no test is about.)
pub(crate) async fn whole(request: Request<Incoming>) -> Result<Request<Bytes>, Abort> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Abort::Close)?.to_bytes();
    Ok(Request::from_parts(head, body))
}

/// Names and values of a header map.
pub(crate) fn header_list(headers: &HeaderMap) -> Vec<(String, Bytes)> {
    let copy = |value: &http::HeaderValue| Bytes::copy_from_slice(value.as_bytes());
    headers.iter().map(|(name, value)| (name.to_string(), copy(value))).collect()
}
