//! Whole spans, every attribute with its type and value, for each protocol and each way in which a request can end; under the
//! stable conventions, the old ones, and both.

use crate::request::{How, send};
use crate::shape::{assert_all_same, shape};
use crate::stage::{Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Route};
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

/// `inbound<suffix>` and `outbound<suffix>` with the same routes and filter.
fn listeners(suffix: &str, patch: &Value) -> Result<[Listener; 2]> {
    let inbound = listener(&format!("inbound{suffix}"), Direction::Inbound, patch)?;
    Ok([inbound, listener(&format!("outbound{suffix}"), Direction::Outbound, patch)?])
}

fn listener(name: &str, direction: Direction, patch: &Value) -> Result<Listener> {
    let routes = [
        Route::direct_response("/direct", 429, "slow down").named("limit"),
        Route::cluster("/never", "app").timeout("0.3s"),
        Route::cluster("/retry", "app").retry("5xx", 2),
        Route::cluster("/chat", "app").websocket(),
        Route::cluster("/shop.Cart/", "app2"),
        Route::cluster("/http2/", "app2"),
        Route::cluster("/", "app"),
    ];
    let listener =
        Listener::new(name, direction).filter(filter(&config(patch.clone()))?.environment("POD", "backend-0"));
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
        "rpc.request.header.content-type": ["application/grpc"],
        "rpc.request.header.grpc-timeout": ["500m"],
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

/// A sidecar with a pair of listeners for each configuration.
async fn start(app: Upstream, configs: &[(&str, Value)]) -> Result<Stage> {
    let pairs = configs.iter().map(|(suffix, patch)| listeners(suffix, patch)).collect::<Result<Vec<_>>>()?;
    let cluster = Cluster::new("app2", app.port()).http2();
    Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        pairs.into_iter().flatten().fold(bootstrap.cluster(cluster), Bootstrap::listener)
    })
    .await
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
    let mut stage = start(app, &[("", json!({}))]).await?;
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

/// Stable names and their predecessors; the last column says of which kind, where that matters.
const RENAMED: [(&str, &str, &str); 20] = [
    ("http.request.method", "http.method", ""),
    ("http.response.status_code", "http.status_code", ""),
    ("http.request.body.size", "http.request_content_length", ""),
    ("http.response.body.size", "http.response_content_length", ""),
    ("url.scheme", "http.scheme", ""),
    ("url.path", "http.target", ""),
    ("url.full", "http.url", ""),
    ("server.address", "net.host.name", "Server"),
    ("server.port", "net.host.port", "Server"),
    ("server.address", "net.peer.name", "Client"),
    ("server.port", "net.peer.port", "Client"),
    ("client.address", "http.client_ip", ""),
    ("network.peer.address", "net.sock.peer.addr", ""),
    ("network.peer.port", "net.sock.peer.port", ""),
    ("network.protocol.name", "net.protocol.name", ""),
    ("network.protocol.version", "net.protocol.version", ""),
    ("rpc.system.name", "rpc.system", ""),
    ("rpc.request.header.content-type", "rpc.grpc.request.metadata.content_type", ""),
    ("rpc.request.header.grpc-timeout", "rpc.grpc.request.metadata.grpc_timeout", ""),
    ("http.request.header.x-tenant-id", "http.request.header.x_tenant_id", ""),
];

/// Stable names without a predecessor.
const NEW: [&str; 4] = ["url.template", "error.type", "rpc.method", "rpc.status_code"];

/// The same span under the old conventions; with `keep` under both. `code` is the number of the gRPC status.
fn older(mut stable: Value, keep: bool, code: Option<i64>) -> Value {
    let (kind, attributes) = (stable["kind"].clone(), stable["attributes"].take());
    let mut old = json!({});
    for (key, value) in attributes.as_object().into_iter().flatten() {
        let renamed = RENAMED.iter().find(|(new, _, of)| new == key && (of.is_empty() || kind == *of));
        match renamed {
            Some((_, name, _)) => old[name] = value.clone(),
            None if NEW.contains(&key.as_str()) => {}
            None => old[key] = value.clone(),
        }
    }
    if let (Some(method), Some(code)) = (attributes["rpc.method"].as_str(), code) {
        let (service, method) = method.split_once('/').unwrap_or_default();
        join(&mut old, json!({"rpc.service": service, "rpc.method": method, "rpc.grpc.status_code": code}));
    }
    if keep {
        join(&mut old, attributes);
    }
    stable["attributes"] = old;
    stable
}

#[tokio::test]
async fn the_old_conventions_have_the_old_names_only_and_dup_has_both() -> Result<()> {
    let app = application().await?;
    let port = app.port();
    let of = |which: &str| json!({"spans": {"semanticConventions": which, "requestHeaders": ["x-tenant-id"]}});
    let mut stage = start(app, &[("-old", of("old")), ("-dup", of("dup"))]).await?;
    for (suffix, keep) in [("-old", false), ("-dup", true)] {
        let headers = json!({"http.request.header.x-tenant-id": ["acme"]});
        let denied = [json!("unset"), json!({"error": "not yours"})];
        let mut web = http("/api/users/42", "/api/users/{id}", 200, unset(), headers, port);
        let mut call = rpc("shop.Cart/Refuse", "PERMISSION_DENIED", denied, 0, json!({}), port);
        for (expected, code) in [(&mut web, None), (&mut call, Some(7))] {
            expected.server = older(expected.server.take(), keep, code);
            expected.client = older(expected.client.take(), keep, code);
        }
        let how = How::GetWith("/api/users/42", &[("x-tenant-id", b"acme")]);
        let rows = vec![(suffix, how, web), (suffix, How::Grpc("/shop.Cart/Refuse"), call)];
        check(&stage, suffix, rows).await?;
    }
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn what_the_operator_asked_for_is_there_and_no_secret_is() -> Result<()> {
    let app = application().await?;
    let port = app.port();
    let asked = json!({
        // The customTags block of a Telemetry resource, as it is.
        "customTags": {
            "environment": {"literal": {"value": "production"}},
            "cluster": {"environment": {"name": "CLUSTER_NAME", "defaultValue": "k8s-prod"}},
            "pod": {"environment": {"name": "POD"}},
            "absent": {"environment": {"name": "NOT_SET"}},
            "tenant": {"header": {"name": "x-tenant-id", "defaultValue": "none"}},
            "nobody": {"header": {"name": "x-nobody", "defaultValue": "none"}},
            "protocol": {"formatter": {"value": "%PROTOCOL%"}},
            "line": {"formatter": {"value": "%REQ(:METHOD)% %RESPONSE_CODE% to %UPSTREAM_CLUSTER% 100%%"}},
            // And what goes beyond it.
            "answer": {"responseHeader": {"name": "x-answer"}},
            "sum": {"responseTrailer": {"name": "grpc-status", "defaultValue": "-"}},
            "upstream": {"property": {"path": "upstream.address"}},
            "size": {"property": {"path": "response.size"}},
            "mtls": {"property": {"path": "connection.mtls"}},
            "listener": {"property": {"path": "xds.listener_direction"}},
            "route": {"property": {"path": "xds.no_such_thing", "defaultValue": "unknown"}},
        },
        "spans": {
            "pathTemplates": ["/orders/{order}/items/{item}", "/files/{name}"],
            "maxPathTagLength": 20,
            "requestHeaders": ["X-Tenant-Id", "x-raw", "referer"],
            "responseHeaders": ["x-answer"],
            "redactQuery": ["token"],
            "baggage": ["tenant", "team"],
        },
    });
    let few = json!({"spans": {"maxAttributes": 10, "maxAttributeLength": 8}});
    let mut stage = start(app, &[("", asked), ("-few", few), ("-all", json!({}))]).await?;
    let tags = |direction: i64| json!({
        "environment": "production", "cluster": "k8s-prod", "pod": "backend-0", "tenant": "none", "nobody": "none",
        "protocol": "HTTP/1.1", "line": "GET 200 to app 100%", "answer": "42", "sum": "-",
        "upstream": format!("127.0.0.1:{port}"), "size": 5, "mtls": false, "listener": direction, "route": "unknown",
        "http.response.header.x-answer": ["42"],
    });
    let with = |path: &str, target: &str, server: Value, client: Value| {
        let mut expected = http(path, target, 200, unset(), json!({}), port);
        for (side, direction, patch) in [(&mut expected.server, 1, server), (&mut expected.client, 2, client)] {
            merge(&mut side["attributes"], tags(direction));
            merge(&mut side["attributes"], patch);
        }
        expected
    };
    let headers = json!({
        "tenant": "acme",
        "http.request.header.x-tenant-id": ["acme", "second"],
        "http.request.header.x-raw": ["a\u{fffd}b"],
        "http.request.header.referer": ["https://shop/x?sig=REDACTED"],
        "baggage.tenant": "ac me",
        "baggage.team": "caf\u{fffd}",
        "user_agent.original": "curl/8",
    });
    let query = "q=shoes&token=REDACTED&sig=REDACTED&next=https://REDACTED:REDACTED@host/x";
    let routed = |path: &str, cut: &str, route: &str| with(
        path, route,
        json!({"http.route": route, "url.path": cut}), json!({"url.full": format!("http://backend{cut}")}),
    );
    check(&stage, "", vec![
        ("headers", How::GetWith("/a", &[
            ("x-tenant-id", b"acme"), ("x-tenant-id", b"second"), ("x-raw", b"a\xffb"), ("user-agent", b"curl/8"),
            ("referer", b"https://shop/x?sig=secret"),
            ("baggage", b"tenant=ac%20me;p=1,other=x"), ("baggage", b"team=caf%e9"),
            ("authorization", b"Bearer secret"), ("cookie", b"session=secret"), ("x-api-key", b"secret"),
        ]), with("/a", "/a", headers.clone(), headers)),
        ("secrets", How::Get("/search?q=shoes&token=secret&sig=secret&next=https://user:secret@host/x"), with(
            "/search", "/search",
            json!({"url.query": query}), json!({"url.full": format!("http://backend/search?{query}")}),
        )),
        ("template", How::Get("/orders/7/items/8"),
            routed("/orders/7/items/8", "/orders/7/items/8", "/orders/{order}/items/{item}")),
        ("shape", How::Get("/u/7f3a9c2e11d04b5"), with("/u/7f3a9c2e11d04b5", "/u/{id}", json!({}), json!({}))),
        // Only ASCII: a path with other bytes is refused by Envoy itself.
        ("long path", How::Get("/files/0123456789abcdefghij"), routed("", "/files/0123456789abc", "/files/{name}")),
    ]).await?;

    stage.receiver.clear();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for suffix in ["-few", "-all"] {
        send(How::Get("/api/users/42"), stage.envoy.port(&format!("inbound{suffix}"))?, &stage.app, traceparent).await?;
    }
    let spans = stage.spans(2).await?;
    let few = only(&spans, |span| span.dropped_attributes > 0)?;
    let all = only(&spans, |span| span.dropped_attributes == 0)?;
    assert_eq!(few.attributes.len(), 10);
    assert_eq!(few.dropped_attributes as usize, all.attributes.len() - 10);
    assert_eq!(few.attribute("url.path"), &json!("/api/use"), "cut to eight characters");
    stage.envoy.assert_no_trap();
    Ok(())
}
