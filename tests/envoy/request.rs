//! Requests of every kind, each with its own trace id, so that they can run at the same time.

use crate::stage::SOON;
use anyhow::ensure;
use sidespan_harness::client::{Client, RawConnection, RawRequest, WebSocket};
use sidespan_harness::upstream::Recorded;
use sidespan_harness::{Result, Upstream, eventually};
use std::time::Duration;

/// How a request is made, and what the client does then.
#[derive(Clone, Copy)]
pub enum How {
    /// `GET` over HTTP/1.1 from host `backend`.
    Get(&'static str),
    /// The same with headers of any bytes.
    GetWith(&'static str, &'static [(&'static str, &'static [u8])]),
    /// `GET` over HTTP/2.
    Http2(&'static str),
    /// Any other method over HTTP/1.1.
    Method(&'static str, &'static str),
    /// `GET /ok` with a header whose value is `1`.
    With(&'static str),
    /// `GET /ok` from another host.
    Host(&'static str),
    /// A `POST` that waits for `100 Continue` before it sends its body.
    Continue(&'static str),
    /// A unary call with one message.
    Grpc(&'static str),
    /// The client goes away once the upstream has the request.
    LeaveBefore(&'static str),
    /// The same over HTTP/2: the stream is reset.
    LeaveHttp2(&'static str),
    /// The client goes away once the response has begun.
    LeaveDuring(&'static str),
    /// A websocket with one message each way, closed properly.
    Socket(&'static str),
    /// An upgrade to something that nobody allowed.
    Upgrade(&'static str),
}

/// Makes the request and waits for its end, as far as its client can see it.
pub async fn send(how: How, port: u16, app: &Upstream, traceparent: &str) -> Result<()> {
    let headers = [("traceparent", traceparent)];
    let raw = |method: &str, path: &str| {
        RawRequest::new(method, path).header("host", "backend").header("traceparent", traceparent)
    };
    match how {
        How::Get(path) => {
            Client::http1(port).get("backend", path, &headers).await?;
        }
        How::GetWith(path, more) => {
            let request = more.iter().fold(raw("GET", path), |request, (name, value)| request.header(name, value));
            RawConnection::connect(port).await?.exchange(&request).await?;
        }
        How::Http2(path) => {
            Client::http2(port).get("backend", path, &headers).await?;
        }
        How::Method(method, path) => {
            let client = Client::http1(port);
            client.send(client.request(method, "backend", path, &headers, "")?).await?;
        }
        How::With(name) => {
            Client::http1(port).get("backend", "/ok", &[headers[0], (name, "1")]).await?;
        }
        How::Host(host) => {
            Client::http1(port).get(host, "/ok", &headers).await?;
        }
        How::Continue(path) => {
            let mut connection = RawConnection::connect(port).await?;
            let head = raw("POST", path).header("expect", "100-continue").header("content-length", "5");
            connection.send(&head.to_bytes()).await?;
            connection.send(b"hello").await?;
            assert_eq!(connection.read_response(false).await?.status, 200);
        }
        How::Grpc(path) => {
            Client::http2(port).grpc("backend", path, &[b"hi"], &[headers[0], ("grpc-timeout", "500m")]).await?;
        }
        How::LeaveBefore(path) => {
            let mut connection = RawConnection::connect(port).await?;
            connection.send(&raw("GET", path).to_bytes()).await?;
            has_come(app, traceparent).await?;
        }
        How::LeaveHttp2(path) => {
            let client = Client::http2(port);
            tokio::select! {
                reply = client.get("backend", path, &headers) => { reply?; }
                came = has_come(app, traceparent) => came?,
            }
        }
        How::LeaveDuring(path) => {
            let mut connection = RawConnection::connect(port).await?;
            connection.send(&raw("GET", path).to_bytes()).await?;
            has_come(app, traceparent).await?;
            let _ = tokio::time::timeout(Duration::from_millis(200), connection.read_response(false)).await;
        }
        How::Socket(path) => {
            let mut socket = WebSocket::connect(port, "backend", path, &headers).await?;
            assert_eq!(socket.exchange("hello").await?, "hello");
            socket.close().await?;
        }
        How::Upgrade(path) => {
            let upgrade = raw("GET", path).header("connection", "upgrade").header("upgrade", "websocket");
            RawConnection::connect(port).await?.exchange(&upgrade).await?;
        }
    }
    Ok(())
}

/// Waits until the upstream has the request.
async fn has_come(app: &Upstream, traceparent: &str) -> Result<()> {
    eventually("the request upstream", SOON, async || {
        ensure!(app.requests().iter().any(|request| has_trace(request, traceparent)), "not there");
        Ok(())
    })
    .await
}

/// Whether a request belongs to the same trace as `traceparent`.
pub fn has_trace(request: &Recorded, traceparent: &str) -> bool {
    request.header("traceparent").is_some_and(|sent| sent[3..35] == traceparent[3..35])
}
