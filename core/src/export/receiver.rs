//! Where export calls go: Envoy cluster, headers, timeout.

use super::telemetry::USER_AGENT;
use crate::config::{self, Compression, Protocol};
use crate::otlp::Encoding;
use crate::random::SplitMix64;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gRPC method of OTLP traces.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A receiver of spans, as Envoy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    /// Name of the Envoy cluster.
    pub(super) cluster: Arc<str>,
    pub(super) encoding: Encoding,
    pub(super) grpc: bool,
    pub(super) compression: Compression,
    /// Never zero, which Envoy takes as no timeout.
    pub(super) timeout_ms: u32,
    /// Those that do not change from call to call.
    headers: Vec<(String, String)>,
}

/// A receiver with its port: that of the configuration, or the usual one.
struct Address<'a> {
    receiver: &'a config::Receiver,
    port: u16,
}

// === impl Receiver ===

impl Receiver {
    /// `None` if the configuration names no receiver.
    pub(super) fn new(config: &config::Exporter) -> Option<Self> {
        match (&config.otlp, &config.zipkin) {
            (Some(otlp), _) => Self::otlp(otlp),
            (None, Some(zipkin)) => Self::zipkin(zipkin),
            (None, None) => None,
        }
    }

    fn otlp(otlp: &config::Otlp) -> Option<Self> {
        let grpc = otlp.protocol == Protocol::Grpc;
        let receiver = &otlp.receiver;
        let address = Address { receiver, port: receiver.port.unwrap_or(if grpc { 4317 } else { 4318 }) };
        let encoding = if otlp.protocol == Protocol::HttpJson { Encoding::Json } else { Encoding::Protobuf };
        let timeout_ms = milliseconds(receiver.timeout);
        let mut headers = address.headers(if grpc { GRPC_PATH } else { &receiver.path });
        if grpc {
            push(&mut headers, "content-type", "application/grpc");
            push(&mut headers, "te", "trailers");
            push(&mut headers, "grpc-timeout", &grpc_timeout(timeout_ms));
        } else {
            push(&mut headers, "content-type", encoding.content_type());
        }
        add_configured(&mut headers, &receiver.headers.text);
        let cluster = address.cluster()?.into();
        Some(Self { cluster, encoding, grpc, compression: otlp.compression, timeout_ms, headers })
    }

    fn zipkin(zipkin: &config::Zipkin) -> Option<Self> {
        let receiver = &zipkin.receiver;
        let address = Address { receiver, port: receiver.port.unwrap_or(9411) };
        let encoding = Encoding::Zipkin;
        let mut headers = address.headers(&receiver.path);
        push(&mut headers, "content-type", encoding.content_type());
        add_configured(&mut headers, &receiver.headers.text);
        let (cluster, timeout_ms) = (address.cluster()?.into(), milliseconds(receiver.timeout));
        Some(Self { cluster, encoding, grpc: false, compression: Compression::None, timeout_ms, headers })
    }

    /// The headers of one call. Its trace context is new and unsampled in both dialects, so that nobody on the way records it.
    pub(super) fn headers(&self, random: &mut SplitMix64, compression: Option<&str>) -> Vec<(String, String)> {
        let mut headers = Vec::with_capacity(self.headers.len().saturating_add(3));
        headers.extend_from_slice(&self.headers);
        if let Some(name) = compression {
            push(&mut headers, if self.grpc { "grpc-encoding" } else { "content-encoding" }, name);
        }
        // Neither id may be zero.
        let (high, low, span) = (random.next_u64(), random.next_u64() | 1, random.next_u64() | 1);
        headers.push(("traceparent".to_owned(), format!("00-{high:016x}{low:016x}-{span:016x}-00")));
        push(&mut headers, "b3", "0");
        headers
    }
}

// === impl Address ===

impl Address<'_> {
    /// Istio's name of a service's cluster (`BuildSubsetKey`), or the name that was given.
    fn cluster(&self) -> Option<String> {
        match (&self.receiver.cluster, &self.receiver.service) {
            (Some(cluster), _) if !cluster.is_empty() => Some(cluster.clone()),
            (_, Some(service)) if !service.is_empty() => Some(format!("outbound|{}||{service}", self.port)),
            _ => None,
        }
    }

    /// A cluster's name may hold characters that HTTP/2 peers refuse in an authority, as `|` in Istio's.
    fn authority(&self) -> String {
        let given = self.receiver.authority.clone().filter(|authority| !authority.is_empty());
        given
            .or_else(|| self.receiver.service.as_ref().map(|service| format!("{service}:{}", self.port)))
            .unwrap_or_else(|| {
                let cluster = self.receiver.cluster.as_deref().unwrap_or_default();
                let (start, host) = cluster.rsplit_once("||").unwrap_or(("", cluster));
                let port = start.split('|').nth(1).map_or(String::new(), |port| format!(":{port}"));
                let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if !host.is_empty() && host.bytes().all(valid) {
                    format!("{host}{port}")
                } else {
                    "collector".to_owned()
                }
            })
    }

    fn headers(&self, path: &str) -> Vec<(String, String)> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut headers = Vec::new();
        push(&mut headers, ":method", "POST");
        push(&mut headers, ":path", &path);
        push(&mut headers, ":authority", &self.authority());
        push(&mut headers, "user-agent", USER_AGENT);
        headers
    }
}

fn push(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.push((name.to_owned(), value.to_owned()));
}

/// The operator's headers. The configuration was checked: the names are lower-case tokens that nobody else writes here, and the
/// values are one line of text. White space around a value is no part of it (RFC 9110 section 5.5).
fn add_configured(headers: &mut Vec<(String, String)>, configured: &BTreeMap<String, String>) {
    configured.iter().for_each(|(name, value)| push(headers, name, value.trim()));
}

fn milliseconds(timeout: config::Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// gRPC allows eight digits (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(timeout_ms: u32) -> String {
    if timeout_ms < 100_000_000 { format!("{timeout_ms}m") } else { format!("{}S", timeout_ms / 1000) }
}
