//! Every protocol, encoding and compression, from one Envoy to one receiver: the same requests give the same spans.

use crate::ledger::Ledger;
use crate::stage::{SOON, config};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Plugin, Route};
use sidespan_harness::client::Client;
use sidespan_harness::provide;
use sidespan_harness::receiver::{Export, Payload, Protocol, Reply, ZipkinSpan};
use sidespan_harness::span::{Kind, spans_of};
use sidespan_harness::upstream::status;
use sidespan_harness::{Envoy, ReceivedSpan, Receiver, Result, Upstream, envoy_binary, eventually};

/// How spans are sent, and how the receiver must see them arrive.
struct Case {
    name: &'static str,
    exporter: Value,
    protocol: Protocol,
    compression: &'static str,
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e473";
const PARENT: &str = "00f067aa0ba902b7";

/// Requests of each case: path, extra header.
pub const REQUESTS: [(&str, (&str, &[u8])); 4] = [
    ("/api/users/42?token=secret&page=2", ("x-tenant", b"acme")),
    ("/fail", ("x-tenant", "größer \u{1f600} \"quoted\" \\".as_bytes())),
    ("/bytes", ("x-tenant", b"\xff\xfe not UTF-8")),
    ("/long", ("x-tenant", &[b'a'; 3000])),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (word, protocol) in
        [("http/protobuf", Protocol::HttpProtobuf), ("http/json", Protocol::HttpJson), ("grpc", Protocol::Grpc)]
    {
        let cluster = if protocol == Protocol::Grpc { "collector-h2" } else { "collector" };
        for compression in ["none", "deflate", "gzip"] {
            let name: &str = Box::leak(format!("{}-{compression}", word.replace('/', "-")).into_boxed_str());
            let exporter = json!({"otlp": {
                "cluster": cluster, "protocol": word, "compression": compression, "headers": {"x-case": name},
            }});
            let compression = if compression == "none" { "" } else { compression };
            cases.push(Case { name, exporter, protocol, compression });
        }
    }
    let zipkin = json!({"otlp": null, "zipkin": {"cluster": "collector", "headers": {"x-case": "zipkin"}}});
    cases.push(Case { name: "zipkin", exporter: zipkin, protocol: Protocol::Zipkin, compression: "" });
    cases
}

/// One sidecar with a listener for each case, each with a filter of its own configuration, all in one VM.
async fn start(cases: &[Case], app: &Upstream, receiver: &Receiver) -> Result<Envoy> {
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()))
        .cluster(Cluster::new("collector-h2", receiver.port()).http2());
    for case in cases {
        let config = config(json!({
            "exporter": case.exporter,
            "customTags": {"tenant": {"header": {"name": "x-tenant"}}, "stage": {"literal": {"value": "test"}}},
        }));
        let filter =
            Plugin::new(&provide::module()?).named(&format!("istio-system.{}", case.name)).configuration(&config);
        let listener = Listener::new(case.name, Direction::Inbound).route(Route::cluster("/", "app")).filter(filter);
        bootstrap = bootstrap.listener(listener);
    }
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

pub async fn app() -> Result<Upstream> {
    Upstream::start(|request| status(if request.uri().path() == "/fail" { 503 } else { 200 }, "done")).await
}

pub async fn send_requests(client: &Client) -> Result<()> {
    for (number, (path, (name, value))) in REQUESTS.iter().enumerate() {
        let traceparent = format!("00-{TRACE}{number}-{PARENT}-01");
        let headers = [("traceparent", &*traceparent), ("tracestate", "vendor=1"), ("x-request-id", "fixed")];
        let mut request = client.request("GET", "backend", path, &headers, "")?;
        request.headers_mut().append(*name, (*value).try_into()?);
        client.send(request).await?;
    }
    Ok(())
}

fn of_case(exports: &[Export], case: &str) -> Vec<Export> {
    exports.iter().filter(|export| export.header("x-case") == Some(case)).cloned().collect()
}

fn otlp_spans(exports: &[Export]) -> Vec<ReceivedSpan> {
    let of = |export: &Export| match &export.payload {
        Payload::Otlp(request) => spans_of(request),
        Payload::Zipkin(_) => Vec::new(),
    };
    let mut spans: Vec<_> = exports.iter().flat_map(of).collect();
    spans.sort_by(|one, other| one.trace_id.cmp(&other.trace_id));
    spans
}

/// Without what differs from request to request.
pub fn content(mut span: ReceivedSpan) -> ReceivedSpan {
    (span.start_ns, span.end_ns) = (1, 2);
    span.span_id.clear();
    span.attributes.remove("network.peer.port");
    span
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The Zipkin form of `span` says the same (OpenTelemetry specification, "OpenTelemetry to Zipkin Transformation").
fn assert_same(zipkin: &ZipkinSpan, span: &ReceivedSpan) {
    assert_eq!(zipkin.trace_id, span.trace_id);
    assert_eq!((zipkin.id.len(), zipkin.parent_id.as_deref()), (16, Some(PARENT)));
    assert_eq!(zipkin.name.as_deref(), Some(&*span.name));
    assert_eq!((zipkin.kind.as_deref(), span.kind), (Some("SERVER"), Kind::Server));
    assert_eq!(zipkin.local_endpoint.as_ref().and_then(|local| local.service_name.as_deref()), Some(span.service()));
    assert!(zipkin.timestamp.is_some_and(|micros| micros > 0) && zipkin.duration.is_some_and(|micros| micros > 0));
    for (key, value) in &span.attributes {
        assert_eq!(zipkin.tags.get(key), Some(&text(value)), "tag {key}");
    }
}

#[tokio::test]
async fn every_protocol_and_compression_delivers_the_same_spans() -> Result<()> {
    let (app, receiver, cases) = (app().await?, Receiver::start().await?, cases());
    let mut envoy = start(&cases, &app, &receiver).await?;
    for case in &cases {
        send_requests(&Client::http1(envoy.port(case.name)?)).await?;
    }
    let all = (cases.len() * REQUESTS.len()) as u64;
    let ledger = Ledger::settled(&envoy, &Ledger::default(), all, SOON).await?;
    assert_eq!(ledger.get("spans_exported"), all, "{ledger:?}");
    assert_eq!(ledger.get("calls"), ledger.get("calls_success"), "gRPC answers say so in trailers: {ledger:?}");
    assert_eq!(ledger.get("compression_failed"), 0);
    assert_eq!(receiver.errors(), Vec::<String>::new());
    let exports = receiver.exports();
    let expected: Vec<_> = otlp_spans(&of_case(&exports, "http-protobuf-none")).into_iter().map(content).collect();
    assert_eq!(expected.len(), REQUESTS.len());
    for case in &cases {
        let exports = of_case(&exports, case.name);
        for export in &exports {
            assert_eq!((export.protocol, &*export.encoding), (case.protocol, case.compression), "{}", case.name);
            assert_eq!(export.wire_bytes < export.decoded_bytes, !case.compression.is_empty(), "{}", case.name);
            assert_eq!(export.authority, if case.protocol == Protocol::Grpc { "collector-h2" } else { "collector" });
        }
        if case.protocol == Protocol::Zipkin {
            continue;
        }
        let spans: Vec<_> = otlp_spans(&exports).into_iter().map(content).collect();
        assert_eq!(spans, expected, "{}", case.name);
        assert!(spans.iter().all(|span| span.problems.is_empty()), "{spans:#?}");
    }
    check_content(&expected);
    let mut zipkin = receiver.zipkin_spans();
    zipkin.sort_by(|one, other| one.trace_id.cmp(&other.trace_id));
    assert_eq!(zipkin.len(), expected.len());
    zipkin.iter().zip(&expected).for_each(|(zipkin, span)| assert_same(zipkin, span));
    envoy.assert_no_trap();
    Ok(())
}

/// That all agree would also hold if all were empty.
fn check_content(spans: &[ReceivedSpan]) {
    let tenants: Vec<_> = spans.iter().map(|span| span.text("tenant").unwrap_or_default()).collect();
    assert_eq!(tenants[0], "acme");
    assert_eq!(tenants[1], "größer \u{1f600} \"quoted\" \\");
    assert!(tenants[2].contains("not UTF-8"), "{tenants:?}");
    let statuses: Vec<_> = spans.iter().map(|span| span.int("http.response.status_code")).collect();
    assert_eq!(statuses, [Some(200), Some(503), Some(200), Some(200)]);
    assert!(spans.iter().all(|span| span.trace_state.contains("vendor=1") && span.text("stage") == Some("test")));
}

#[tokio::test]
async fn grpc_answers_in_trailers_and_in_headers_are_understood() -> Result<()> {
    let (app, receiver) = (app().await?, Receiver::start().await?);
    let retry = json!({"initial": "100ms", "max": "200ms"});
    let otlp = json!({"cluster": "collector-h2", "protocol": "grpc", "headers": {"x-case": "grpc"}});
    let exporter = json!({"otlp": otlp, "retry": retry});
    let cases = [Case { name: "grpc", exporter, protocol: Protocol::Grpc, compression: "" }];
    let mut envoy = start(&cases, &app, &receiver).await?;
    let client = Client::http1(envoy.port("grpc")?);
    // (answer, statistic that counts it, spans of it that are lost, tried again)
    let table = [
        (Reply::grpc(14, "later"), "calls_unavailable", "", true),
        (Reply::Partial { rejected: 1, message: "too old".to_owned() }, "calls_partial", "dropped_rejected", false),
        (Reply::grpc(3, "no"), "calls_rejected", "dropped_not_retryable", false),
        (Reply::grpc(8, "full"), "calls_throttled", "dropped_not_retryable", false),
        (Reply::status(503), "calls_unavailable", "", true),
        (Reply::Reset, "calls_refused", "", true),
        (Reply::Accept, "calls_success", "", false),
    ];
    for (reply, outcome, lost, retried) in table {
        let before = Ledger::read(&envoy).await?;
        receiver.script([reply.clone()]);
        client.get("backend", "/", &[]).await?;
        let since = Ledger::settled(&envoy, &before, 1, SOON).await?;
        assert_eq!(since.get(outcome), 1, "{reply:?}: {since:?}");
        assert_eq!(since.get("spans_retried") > 0, retried, "{reply:?}: {since:?}");
        assert_eq!(since.dropped(), since.get(lost), "{reply:?}: {since:?}");
        assert_eq!(since.get("spans_exported"), u64::from(lost.is_empty()), "{reply:?}: {since:?}");
    }
    // What the receiver asks for is kept.
    let retry_delay = Some(std::time::Duration::from_millis(1500));
    receiver.clear();
    receiver.script([Reply::Grpc { code: 8, message: "slow down".to_owned(), retry_delay }]);
    client.get("backend", "/", &[]).await?;
    let exports = eventually("two calls", SOON, async || {
        let exports = receiver.exports();
        ensure!(exports.len() >= 2, "{}", exports.len());
        Ok(exports)
    })
    .await?;
    let waited = exports[1].at.duration_since(exports[0].at).context("the clock went back")?;
    assert!(retry_delay.is_some_and(|delay| waited >= delay), "{waited:?}");
    envoy.assert_no_trap();
    Ok(())
}
