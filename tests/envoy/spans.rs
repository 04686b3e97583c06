//! Whole spans, every attribute with its type and value, for each protocol and each way in which a request can end; under the
//! stable conventions, the old ones, and both.

use crate::request::{How, send};
use crate::shape::{assert_all_same, shape};
use crate::stage::{Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Cluster, Direction, Listener, Node, Route};
use sidespan_harness::client::fire;
use sidespan_harness::span::only;
use sidespan_harness::upstream::{
    Abort, Answer, break_mid_body, grpc, grpc_stream, grpc_trailers_only, header, never, status, websocket_echo,
};
use sidespan_harness::{Result, Upstream, merge};
use std::time::Duration;

const ISTIO_TAGS: [(&str, &str); 5] = [
    ("istio.canonical_service", "backend"),
    ("istio.canonical_revision", "v1"),
    ("istio.mesh_id", "cluster.local"),
    ("istio.namespace", "shop"),
    ("istio.cluster_id", "Kubernetes"),
];

/// What one request gives: two shapes.
struct Expected {
    server: Value,
    client: Value,
}

async fn answer(path: &str) -> Answer {
    match path {
        "/broken" => break_mid_body(Abort::Close).await,
        "/never" => never().await,
        "/retry" => status(503, "busy").await,
        "/shop.Cart/Get" => grpc(0, "").await,
        "/shop.Cart/List" => grpc_stream(3, Duration::from_millis(5), 0, "").await,
        "/shop.Cart/Fail" => grpc_stream(2, Duration::ZERO, 13, "it broke").await,
        "/shop.Cart/Refuse" => grpc_trailers_only(7, "not yours").await,
        _ => header(status(200, "hello").await, "x-answer", "42"),
    }
}

async fn application() -> Result<Upstream> {
    Upstream::start(|request| async move {
        match request.uri().path() {
            "/chat" => websocket_echo(request).await,
            path => answer(path).await,
        }
    })
    .await
}

fn listener(name: &str, direction: Direction, spans: Value) -> Result<Listener> {
    let routes = [
        Route::direct_response("/direct", 429, "slow down").named("limit"),
        Route::cluster("/never", "app").timeout("0.3s"),
        Route::cluster("/retry", "app").retry("5xx", 2),
        Route::cluster("/chat", "app").websocket(),
        Route::cluster("/shop.Cart/", "app2"),
        Route::cluster("/http2/", "app2"),
        Route::cluster("/", "app"),
    ];
    let listener = Listener::new(name, direction).filter(filter(&config(json!({ "spans": spans })))?);
    Ok(routes.into_iter().fold(listener, Listener::route))
}

/// A span of either side with what is always there.
fn span(kind: &str, name: &str, status: Value, patch: Value, app: u16) -> Value {
    let mut attributes = json!({
        "sidespan.sampling.reason": "parent",
        "server.address": "backend",
        "server.port": 80,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": if kind == "Server" { json!("<port>") } else { json!(app) },
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "http.request.body.size": 0,
        "http.response.body.size": 5,
        "envoy.request_id": "<uuid>",
        "envoy.response_code_details": "via_upstream",
        "envoy.upstream_cluster": "app",
        "envoy.upstream_address": format!("127.0.0.1:{app}"),
    });
    for (key, value) in ISTIO_TAGS {
        attributes[key] = json!(value);
    }
    if kind == "Server" {
        attributes["client.address"] = json!("127.0.0.1");
    }
    merge(&mut attributes, patch);
    // An error by the default list is kept as one.
    if attributes
        .get("error.type")
        .is_some_and(|error| !["429", "PERMISSION_DENIED"].iter().any(|other| error == other))
    {
        attributes["sidespan.sampling.reason"] = json!("error");
    }
    json!({
        "name": name, "kind": kind, "status": status, "attributes": attributes,
        "dropped": 0, "events": 0, "links": [], "problems": [],
    })
}

/// HTTP, `GET`: `patch` is for both sides.
fn http(path: &str, target: &str, code: u16, statuses: [Value; 2], patch: Value, app: u16) -> Expected {
    let both = |own: Value| {
        let mut all = json!({"http.request.method": "GET", "http.response.status_code": code});
        join(&mut all, own);
        join(&mut all, patch.clone());
        all
    };
    let [server, client] = statuses;
    let name = format!("GET {target}");
    let own = json!({"url.scheme": "http", "url.path": path});
    let server = span("Server", &name, server, both(own), app);
    let own = json!({"url.full": format!("http://backend{path}"), "url.template": target});
    Expected { server, client: span("Client", &name, client, both(own), app) }
}

/// gRPC: `patch` is for both sides.
fn rpc(method: &str, code: &str, statuses: [Value; 2], size: u16, patch: Value, app: u16) -> Expected {
    let mut all = json!({
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.status_code": code,
        "rpc.request.metadata.content-type": ["application/grpc"],
        "rpc.request.metadata.grpc-timeout": ["500m"],
        "network.protocol.version": "2",
        "http.request.body.size": 7,
        "http.response.body.size": size,
        "envoy.upstream_cluster": "app2",
    });
    join(&mut all, patch);
    let [server, client] = statuses;
    let (own_server, own_client) = (error_type(&server, code), error_type(&client, code));
    let side = |kind: &str, status: Value, own: Value| {
        let mut all = all.clone();
        merge(&mut all, own);
        span(kind, method, status, all, app)
    };
    Expected { server: side("Server", server, own_server), client: side("Client", client, own_client) }
}

/// Unlike `merge` it keeps a `null`, which removes what `span` put there.
fn join(all: &mut Value, more: Value) {
    if let (Value::Object(all), Value::Object(more)) = (all, more) {
        all.extend(more);
    }
}

fn error_type(status: &Value, code: &str) -> Value {
    if status.is_object() { json!({ "error.type": code }) } else { json!({}) }
}

fn unset() -> [Value; 2] {
    [json!("unset"), json!("unset")]
}

fn errors(message: &str) -> [Value; 2] {
    [json!({ "error": message }), json!({ "error": message })]
}

/// What a request is called, how it is made, and what is expected of it.
type Row = (&'static str, How, Expected);

/// Makes all requests at once on listeners `inbound<suffix>` and `outbound<suffix>`, and compares all spans.
async fn check(stage: &Stage, suffix: &str, rows: Vec<Row>) -> Result<()> {
    let id = |number: usize| format!("4bf92f3577b34da6a3ce929d{number:08x}");
    stage.receiver.clear();
    let sent = fire(rows.len() * 2, usize::MAX, |number| {
        let (how, listener) = (rows[number / 2].1, ["inbound", "outbound"][number % 2]);
        async move {
            let traceparent = format!("00-{}-00f067aa0ba902b7-01", id(number));
            send(how, stage.envoy.port(&format!("{listener}{suffix}"))?, &stage.app, &traceparent).await
        }
    })
    .await;
    sent.into_iter().collect::<Result<()>>()?;
    let spans = stage.spans(rows.len() * 2).await?;
    let mut all = Vec::new();
    for (at, (what, _, expected)) in rows.into_iter().enumerate() {
        for (side, expected) in [expected.server, expected.client].into_iter().enumerate() {
            let span = only(&spans, |span| span.trace_id == id(at * 2 + side))?;
            all.push((what, shape(span), expected));
        }
    }
    assert_all_same(all);
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn each_protocol_and_each_end_gives_the_whole_span_of_the_stable_conventions() -> Result<()> {
    let app = application().await?;
    let port = app.port();
    let inbound = listener("inbound", Direction::Inbound, json!({}))?;
    let outbound = listener("outbound", Direction::Outbound, json!({}))?;
    let mut stage = Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        bootstrap.listener(inbound).listener(outbound).cluster(Cluster::new("app2", port).http2())
    })
    .await?;
    let mut retried = http("/retry", "/retry", 503, errors("UpstreamRetryLimitExceeded"), json!({
        "error.type": "503", "http.response.body.size": 4, "envoy.response_flags": "URX",
    }), port);
    retried.server["attributes"]["envoy.upstream_request_attempt_count"] = json!(3);
    retried.client["attributes"]["http.request.resend_count"] = json!(2);
    let mut local = http("/direct", "/direct", 429, [json!("unset"), json!({"error": "direct_response"})], json!({
        "http.response.body.size": 9, "envoy.response_code_details": "direct_response", "envoy.route_name": "limit",
        "envoy.upstream_cluster": null, "envoy.upstream_address": null,
    }), port);
    let no_peer = json!({"error.type": "429", "network.peer.address": null, "network.peer.port": null});
    merge(&mut local.client["attributes"], no_peer);
    let reset = "upstream_reset_after_response_started{protocol_error}";
    let denied = [json!("unset"), json!({"error": "not yours"})];
    check(&stage, "", vec![
        ("HTTP/1.1", How::Get("/api/users/42"), http("/api/users/42", "/api/users/{id}", 200, unset(), json!({}), port)),
        ("HTTP/2", How::Http2("/http2/x"), http("/http2/x", "/http2/x", 200, unset(), json!({
            "network.protocol.version": "2", "envoy.upstream_cluster": "app2",
        }), port)),
        ("gRPC unary", How::Grpc("/shop.Cart/Get"), rpc("shop.Cart/Get", "OK", unset(), 10, json!({}), port)),
        ("gRPC streaming", How::Grpc("/shop.Cart/List"), rpc("shop.Cart/List", "OK", unset(), 30, json!({}), port)),
        ("gRPC error in trailers", How::Grpc("/shop.Cart/Fail"), rpc("shop.Cart/Fail", "INTERNAL", errors("it broke"), 20, json!({}), port)),
        ("gRPC trailers-only", How::Grpc("/shop.Cart/Refuse"), rpc("shop.Cart/Refuse", "PERMISSION_DENIED", denied, 0, json!({}), port)),
        ("local reply", How::Get("/direct"), local),
        ("timeout", How::Get("/never"), http("/never", "/never", 504, errors("response_timeout"), json!({
            "error.type": "504", "http.response.body.size": 24, "envoy.response_flags": "UT",
            "envoy.response_code_details": "response_timeout",
        }), port)),
        ("retry", How::Get("/retry"), retried),
        ("reset", How::Get("/broken"), http("/broken", "/broken", 200, errors(reset), json!({
            "error.type": "UpstreamProtocolError", "http.response.body.size": 6, "envoy.response_flags": "UPE",
            "envoy.response_code_details": reset,
        }), port)),
        ("websocket", How::Socket("/chat"), http("/chat", "/chat", 101, unset(), json!({
            "http.request.body.size": 17, "http.response.body.size": 9, "envoy.response_flags": "UC",
            "envoy.response_code_details": "upstream_reset_after_response_started{connection_termination}",
        }), port)),
    ]).await?;
    stage.envoy.assert_no_trap();
    Ok(())
}
