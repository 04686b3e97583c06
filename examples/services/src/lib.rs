//! What the two services share: which headers an application forwards, and how a service runs.
//!
//! A proxy cannot know which request an application serves while it makes a call. So each application in a traced mesh copies the
//! trace headers of the request that it serves to every call that it makes for it. That is all it has to do.

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use std::io;
use tokio::net::TcpListener;

/// Headers to forward: W3C Trace Context and Baggage, B3 in both forms, and the request id of Envoy.
pub const FORWARDED: &[&str] = &[
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

/// The headers of a call that is made for a request with `received`.
pub fn forwarded(received: &HeaderMap) -> HeaderMap {
    let values = |name: &'static str| received.get_all(name).iter().map(move |value| (name, value));
    let pairs = FORWARDED.iter().flat_map(|name| values(name));
    pairs.map(|(name, value): (_, &HeaderValue)| (HeaderName::from_static(name), value.clone())).collect()
}

/// Serves until SIGTERM or SIGINT, at the address in `LISTEN` (`0.0.0.0:8080` without it).
///
/// # Errors
/// If the address is none, or cannot be bound.
pub async fn serve(service: Router) -> io::Result<()> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(&address).await?;
    eprintln!("listening at {}", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(end()).await
}

/// A process with the number 1, as in a container, has to ask for SIGTERM to be ended by it.
async fn end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_header_is_forwarded_with_all_its_values_and_nothing_else_is() {
        let given = [
            ("traceparent", "00-a"),
            ("tracestate", "x=1"),
            ("tracestate", "y=2"),
            ("b3", "0"),
            ("cookie", "secret"),
            ("host", "frontend"),
        ];
        let pair = |(name, value): (&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let sent = forwarded(&given.into_iter().map(pair).collect());
        let mut sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        sent.sort();
        let expected: [(&str, &[u8]); 4] =
            [("b3", b"0"), ("traceparent", b"00-a"), ("tracestate", b"x=1"), ("tracestate", b"y=2")];
        assert_eq!(sent, expected);
    }
}
