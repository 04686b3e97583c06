//! The receiver, against exports made by hand and by Envoy's own tracers.

use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node, Tracer};
use sidespan_harness::client::Client;
use sidespan_harness::receiver::{Export, Protocol, Receiver, Reply};
use sidespan_harness::span::{Kind, Status as Outcome, only};
use sidespan_harness::{Envoy, Result, Upstream, envoy_binary};
use std::io::Read as _;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn number(key: &str, value: i64) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::IntValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// A request with as many spans as asked for.
fn request(spans: u8) -> ExportTraceServiceRequest {
    let span = |n: u8| Span {
        trace_id: vec![0xab; 16],
        span_id: vec![n + 1; 8],
        parent_span_id: vec![0xcd; 8],
        trace_state: "ot=th:0".to_owned(),
        flags: 0x301,
        name: format!("GET /{n}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_500_001,
        attributes: vec![text("http.request.method", "GET"), number("http.response.status_code", 503)],
        links: vec![span::Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..span::Link::default() }],
        status: Some(Status { code: 2, message: "overflow".to_owned() }),
        ..Span::default()
    };
    let scope = InstrumentationScope { name: "sidespan".to_owned(), version: "1".to_owned(), ..Default::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: (0..spans).map(span).collect(), ..Default::default() };
    let resource = Resource { attributes: vec![text("service.name", "backend")], ..Resource::default() };
    let group = ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn compressed(encoding: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match encoding {
        "gzip" => GzEncoder::new(body, Compression::default()).read_to_end(&mut out),
        "deflate" => ZlibEncoder::new(body, Compression::default()).read_to_end(&mut out),
        _ => return Ok(body.to_vec()),
    }?;
    Ok(out)
}

async fn post(
    receiver: &Receiver,
    content_type: &str,
    encoding: &str,
    body: Vec<u8>,
) -> Result<sidespan_harness::client::Reply> {
    let client = Client::http1(receiver.port());
    let mut headers = vec![("content-type", content_type), ("x-scope-orgid", "a")];
    if !encoding.is_empty() {
        headers.push(("content-encoding", encoding));
    }
    client.send(client.request("POST", "collector", "/v1/traces", &headers, compressed(encoding, &body)?)?).await
}

async fn post_one(receiver: &Receiver) -> Result<sidespan_harness::client::Reply> {
    post(receiver, "application/x-protobuf", "", request(1).encode_to_vec()).await
}

#[tokio::test]
async fn every_encoding_of_otlp_over_http_decodes_to_the_same_span() -> Result<()> {
    let receiver = Receiver::start().await?;
    let binary = request(1).encode_to_vec();
    let json = serde_json::to_vec(&request(1))?;
    for (content_type, protocol, body) in
        [("application/x-protobuf", Protocol::HttpProtobuf, &binary), ("application/json", Protocol::HttpJson, &json)]
    {
        for encoding in ["", "gzip", "deflate"] {
            let reply = post(&receiver, content_type, encoding, body.clone()).await?;
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some(content_type)));
            let spans = receiver.take();
            let span = only(&spans, |_| true)?;
            assert_eq!((span.trace_id.as_str(), span.span_id.as_str()), ("ab".repeat(16).as_str(), "0101010101010101"));
            assert_eq!((span.parent_span_id.as_str(), span.trace_state.as_str()), ("cdcdcdcdcdcdcdcd", "ot=th:0"));
            assert_eq!((span.name.as_str(), span.kind, span.flags), ("GET /0", Kind::Server, 0x301));
            assert_eq!((span.status, span.status_message.as_str()), (Outcome::Error, "overflow"));
            assert_eq!((span.start_ns, span.duration()), (1_700_000_000_000_000_001, Duration::from_micros(500)));
            assert_eq!((span.service(), span.scope.name.as_str()), ("backend", "sidespan"));
            assert_eq!(
                (span.text("http.request.method"), span.int("http.response.status_code")),
                (Some("GET"), Some(503))
            );
            assert_eq!((span.links[0].trace_id.as_str(), span.problems.len()), ("01".repeat(16).as_str(), 0));
            let export = receiver.exports().pop().expect("one");
            assert_eq!(
                (export.protocol, export.encoding.as_str(), export.decoded_bytes),
                (protocol, encoding, body.len())
            );
            assert_eq!((export.path.as_str(), export.header("x-scope-orgid")), ("/v1/traces", Some("a")));
        }
    }
    assert_eq!(receiver.errors(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn grpc_answers_in_trailers_and_scripted_statuses_in_headers() -> Result<()> {
    let receiver = Receiver::start().await?;
    let client = Client::http2(receiver.port());
    let message = request(2).encode_to_vec();
    let reply = client.grpc("collector:4317", GRPC, &[&message], &[]).await?;
    assert_eq!((reply.status, reply.messages.len(), reply.http.trailers.is_some()), (Some(0), 1, true));
    assert_eq!(receiver.take().len(), 2);
    assert_eq!(receiver.exports()[0].authority, "collector:4317");

    let delay = Some(Duration::from_millis(1500));
    receiver.script([Reply::Grpc { code: 14, message: "later".to_owned(), retry_delay: delay }]);
    let reply = client.grpc("collector:4317", GRPC, &[&message], &[]).await?;
    assert_eq!((reply.status, reply.message.as_deref()), (Some(14), Some("later")));
    // google.rpc.Status { 14, "later", [RetryInfo { 1.5 s }] }, written out byte by byte from the wire format.
    let details = "CA4SBWxhdGVyGjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gE";
    assert_eq!(reply.http.header("grpc-status-details-bin"), Some(details));
    assert!(receiver.spans().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_does_not_decode_is_refused_and_named() -> Result<()> {
    let receiver = Receiver::start().await?;
    let good = request(1).encode_to_vec();
    let table = [
        ("application/x-protobuf", "", vec![0xff; 10], "protobuf"),
        ("application/json", "", b"{".to_vec(), "OTLP/JSON"),
        ("text/plain", "", good.clone(), "content type"),
        ("application/x-protobuf", "zstd", good, "content encoding"),
    ];
    for (content_type, encoding, body, expected) in table {
        assert_eq!(post(&receiver, content_type, encoding, body).await?.status, 400);
        let error = receiver.errors().pop().expect("named");
        assert!(error.contains(expected), "{error}");
    }
    assert!(receiver.wait_for(0, SOON).await.is_err(), "a wait must not hide what could not be read");
    Ok(())
}

#[tokio::test]
async fn the_script_is_followed_and_then_everything_is_accepted() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script([
        Reply::Status { code: 429, retry_after: Some("7".to_owned()) },
        Reply::Partial { rejected: 1, message: "too old".to_owned() },
        Reply::Accept.after(Duration::from_millis(80)),
        Reply::Reset,
        Reply::ReceiveThenReset,
    ]);
    let reply = post_one(&receiver).await?;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, Some("7")));
    let reply = post(&receiver, "application/json", "", serde_json::to_vec(&request(3))?).await?;
    let answer: Value = serde_json::from_slice(&reply.body)?;
    assert_eq!(answer, json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old"}}));
    assert_eq!(receiver.take().len(), 2);
    let begin = Instant::now();
    assert_eq!(post_one(&receiver).await?.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(80));
    assert_eq!(receiver.take().len(), 1);
    assert!(post_one(&receiver).await.is_err());
    assert_eq!(receiver.take().len(), 0);
    assert!(post_one(&receiver).await.is_err());
    assert_eq!(receiver.take().len(), 1);
    assert_eq!(post_one(&receiver).await?.status, 200);
    assert_eq!(receiver.exports().iter().map(Export::span_count).sum::<usize>(), 8);
    receiver.answer_with(Reply::status(503));
    assert_eq!([post_one(&receiver).await?.status, post_one(&receiver).await?.status], [503, 503]);
    Ok(())
}

#[tokio::test]
async fn it_refuses_and_comes_back_on_the_same_port() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.refuse().await?;
    assert!(post_one(&receiver).await.is_err());
    receiver.resume().await?;
    assert_eq!(post_one(&receiver).await?.status, 200);
    assert_eq!(receiver.wait_for(1, SOON).await?.len(), 1);
    assert!(receiver.wait_until(Duration::from_millis(30), |spans| spans.len() > 1).await.is_err());
    Ok(())
}

#[tokio::test]
async fn spans_of_envoys_own_tracers_arrive_by_each_protocol() -> Result<()> {
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    let cluster = "collector".to_owned();
    let http = Tracer::OpenTelemetry { cluster: cluster.clone(), service: "by-http".to_owned() };
    let service = json!({"envoy_grpc": {"cluster_name": "collector-h2"}, "timeout": "1s"});
    let config = json!({"http_service": null, "grpc_service": service, "service_name": "by-grpc"});
    let by_grpc = json!({"tracing": {"provider": {"typed_config": config}}});
    let bootstrap = Bootstrap::new(Node::sidecar("a", "b"))
        .runtime("tracing.opentelemetry.min_flush_spans", 1)
        .runtime("tracing.zipkin.min_flush_spans", 1)
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new(&cluster, receiver.port()))
        .cluster(Cluster::new("collector-h2", receiver.port()).http2())
        .listener(Listener::inbound("app").named("http").tracer(&http, 100.0))
        .listener(Listener::outbound("app").named("grpc").tracer(&http, 100.0).manager(by_grpc))
        .listener(Listener::inbound("app").named("zipkin").tracer(&Tracer::Zipkin { cluster }, 100.0));
    let envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    for listener in ["http", "grpc", "zipkin"] {
        assert_eq!(Client::http1(envoy.port(listener)?).get("a", "/x", &[]).await?.status, 200);
    }
    let spans = receiver.wait_for(2, SOON).await?;
    for (service, kind) in [("by-http", Kind::Server), ("by-grpc", Kind::Client)] {
        let span = only(&spans, |span| span.service() == service)?;
        assert_eq!((span.kind, span.text("http.status_code")), (kind, Some("200")));
        assert_eq!(span.problems, Vec::<String>::new());
    }
    let zipkin = receiver.wait_for_zipkin(1, SOON).await?;
    assert_eq!(zipkin[0].tags.get("http.status_code").map(String::as_str), Some("200"));
    let protocols: Vec<Protocol> = receiver.exports().iter().map(|export| export.protocol).collect();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc, Protocol::Zipkin] {
        assert!(protocols.contains(&protocol), "{protocols:?}");
    }
    Ok(())
}
