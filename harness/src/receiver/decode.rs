//! From a request's headers and body to spans, for each protocol and content coding.

use super::export::Payload;
use super::protocol::Protocol;
use super::zipkin::ZipkinSpan;
use crate::grpc;
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use std::io::Read as _;

/// Path of the gRPC method.
pub(super) const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Path of the Zipkin endpoint.
pub(super) const ZIPKIN_PATH: &str = "/api/v2/spans";

/// Which protocol a request speaks, by its path and content type.
pub(super) fn protocol<B>(request: &Request<B>) -> Result<Protocol> {
    ensure!(request.method() == "POST", "method {}", request.method());
    let content_type = text(request.headers(), "content-type").split(';').next().unwrap_or_default().trim();
    let path = request.uri().path();
    match content_type {
        "application/grpc" | "application/grpc+proto" => {
            ensure!(path == GRPC_PATH, "gRPC method {path}");
            ensure!(request.version() == http::Version::HTTP_2, "gRPC over {:?}", request.version());
            ensure!(text(request.headers(), "te") == "trailers", "gRPC without `te: trailers`");
            Ok(Protocol::Grpc)
        }
        "application/x-protobuf" => Ok(Protocol::HttpProtobuf),
        "application/json" if path == ZIPKIN_PATH => Ok(Protocol::Zipkin),
        "application/json" => Ok(Protocol::HttpJson),
        other => bail!("content type {other:?}"),
    }
}

/// The spans, and the size of the body once decompressed.
pub(super) fn payload(protocol: Protocol, headers: &HeaderMap, body: Bytes) -> Result<(Payload, usize)> {
    let bytes = if protocol == Protocol::Grpc {
        message(headers, body)?
    } else {
        decompress(text(headers, "content-encoding"), body)?
    };
    let size = bytes.len();
    let payload = match protocol {
        Protocol::Grpc | Protocol::HttpProtobuf => {
            Payload::Otlp(ExportTraceServiceRequest::decode(bytes).context("protobuf")?)
        }
        Protocol::HttpJson => Payload::Otlp(serde_json::from_slice(&bytes).context("OTLP/JSON")?),
        Protocol::Zipkin => {
            Payload::Zipkin(serde_json::from_slice::<Vec<ZipkinSpan>>(&bytes).context("Zipkin v2 JSON")?)
        }
    };
    Ok((payload, size))
}

/// The only message of a unary call.
fn message(headers: &HeaderMap, body: Bytes) -> Result<Bytes> {
    let mut messages = grpc::unframe(body)?;
    ensure!(messages.len() == 1, "{} messages in a unary call", messages.len());
    let Some(message) = messages.pop() else { bail!("no message") };
    if message.compressed {
        let encoding = text(headers, "grpc-encoding");
        ensure!(!encoding.is_empty(), "compressed flag without grpc-encoding");
        return decompress(encoding, message.payload);
    }
    Ok(message.payload)
}

/// `deflate` is the zlib format, as RFC 9110 section 8.4.1.2 says.
fn decompress(encoding: &str, body: Bytes) -> Result<Bytes> {
    let mut out = Vec::new();
    match encoding {
        "" | "identity" => return Ok(body),
        "gzip" => GzDecoder::new(&*body).read_to_end(&mut out),
        "deflate" => ZlibDecoder::new(&*body).read_to_end(&mut out),
        other => bail!("content encoding {other:?}"),
    }
    .with_context(|| format!("{encoding} body"))?;
    Ok(out.into())
}

/// A header's text, or nothing.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
