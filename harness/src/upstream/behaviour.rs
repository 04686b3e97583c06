//! Ready-made answers, good and bad.

use crate::grpc as wire;
use crate::server::{Abort, Answer, Body, BoxError, empty, full};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A status and a text.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn status(code: u16, body: &'static str) -> Answer {
    respond(code, full(body))
}

/// 200 with the request's headers as the body, one `name: value` a line, in bytes.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn echo_headers(request: Request<Bytes>) -> Answer {
    let mut body = Vec::new();
    for (name, value) in request.headers() {
        body.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
    }
    respond(200, full(body))
}

/// What `then` answers, after a delay.
///
/// # Errors
/// Those of `then`.
pub async fn delayed(delay: Duration, then: impl Future<Output = Answer>) -> Answer {
    tokio::time::sleep(delay).await;
    then.await
}

/// No answer: the connection is closed in order (HTTP/1.1), or the stream reset (HTTP/2).
///
/// # Errors
/// Always; that is what it does.
pub async fn close() -> Answer {
    Err(Abort::Close)
}

/// No answer: the connection (HTTP/1.1) or the stream (HTTP/2) is reset.
///
/// # Errors
/// Always; that is what it does.
pub async fn reset() -> Answer {
    Err(Abort::Reset)
}

/// No answer and no end.
///
/// # Errors
/// Never; it never returns.
pub async fn never() -> Answer {
    std::future::pending().await
}

/// 200 and a part of the body, then `how` it breaks.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn break_mid_body(how: Abort) -> Answer {
    let body = streamed(move |mut sender| async move {
        let _ = sender.send_data(Bytes::from_static(b"a part")).await;
        // Lets the head and the part leave before the connection breaks.
        tokio::time::sleep(Duration::from_millis(50)).await;
        sender.abort(Box::new(how));
    });
    respond(200, body)
}

/// 200 with `chunks` parts of a body, each after a pause.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn chunked(chunks: usize, pause: Duration) -> Answer {
    let body = streamed(move |mut sender| async move {
        for _ in 0..chunks {
            tokio::time::sleep(pause).await;
            let _ = sender.send_data(Bytes::from_static(b"chunk\n")).await;
        }
    });
    respond(200, body)
}

/// Upgrades to a websocket that sends every message back until the client closes; 400 if no upgrade was asked for.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn websocket_echo(mut request: Request<Bytes>) -> Answer {
    let Some(key) = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes())) else {
        return respond(400, full("not a websocket"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &key)] {
        set(response.headers_mut(), name, value);
    }
    Ok(response)
}

/// gRPC unary: one message, then `code` in the trailers.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn grpc(code: u32, message: &'static str) -> Answer {
    grpc_stream(1, Duration::ZERO, code, message).await
}

/// gRPC server streaming: `messages` messages, each after a pause, then `code` in the trailers.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn grpc_stream(messages: usize, pause: Duration, code: u32, message: &'static str) -> Answer {
    let body = streamed(move |mut sender| async move {
        for _ in 0..messages {
            tokio::time::sleep(pause).await;
            let _ = sender.send_data(wire::frame(b"hello")).await;
        }
        let _ = sender.send_trailers(wire::status_headers(code, message)).await;
    });
    header(respond(200, body), "content-type", "application/grpc")
}

/// gRPC trailers-only: the status stands in the headers, and there is nothing else.
///
/// # Errors
/// Never; the type is a handler's.
pub async fn grpc_trailers_only(code: u32, message: &'static str) -> Answer {
    let mut answer = header(respond(200, empty()), "content-type", "application/grpc")?;
    answer.headers_mut().extend(wire::status_headers(code, message));
    Ok(answer)
}

/// Sets a header of an answer; one that is not valid HTTP is left out.
///
/// # Errors
/// That of `answer`.
pub fn header(answer: Answer, name: &str, value: &str) -> Answer {
    let mut response = answer?;
    set(response.headers_mut(), name, value);
    Ok(response)
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.append(name, value);
    }
}

pub(crate) fn respond(code: u16, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).map_err(|_| Abort::Close)?;
    Ok(response)
}

/// A body written by a task of its own.
pub(crate) fn streamed<F, R>(write: F) -> Body
where
    F: FnOnce(Sender<Bytes, BoxError>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (sender, body) = Channel::new(1);
    tokio::spawn(write(sender));
    body.boxed_unsync()
}
