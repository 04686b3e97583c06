//! Envoy's own OpenTelemetry tracer beside sidespan, in the same Envoy and on the same requests: every tag of the one has the
//! counterpart in the other that docs/tags.md names.

use crate::request::{How, send};
use crate::shape::undocumented;
use crate::stage::{SOON, Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Filter, Listener, Node, Route, Tracer};
use sidespan_harness::client::fire;
use sidespan_harness::span::Status;
use sidespan_harness::upstream::{Abort, break_mid_body, grpc, grpc_trailers_only, never, status};
use sidespan_harness::{ReceivedSpan, Result, Upstream};
use std::collections::BTreeSet;

/// A row of the two tables: the native tag, where it is in our spans, and whether its text is the same.
struct Row {
    tag: String,
    ours: Vec<String>,
    same: bool,
}

/// Rows of the tables under "Envoy's native tracer" and "Istio's tags".
fn table() -> Vec<Row> {
    let document = include_str!("../../docs/tags.md");
    let sections = document
        .split("\n## ")
        .filter(|section| section.starts_with("Envoy's native tracer\n") || section.starts_with("Istio's tags\n"));
    let rows = sections.flat_map(str::lines).filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
        let [tag, ours, value] = cells.as_slice() else { return None };
        let ours = ours.split(", ").map(|place| place.replace('`', "")).collect();
        Some(Row { tag: tag.trim_end_matches('`').to_owned(), ours, same: value.starts_with("same") })
    });
    rows.collect()
}

/// The value of one of our places, as text; `None` if this span does not have it.
fn value(span: &ReceivedSpan, place: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match place.split_once(' ') {
        Some(("resource", key)) => span.resource.get(key).map(text),
        Some(("scope", name)) => (span.scope.name == name).then(|| name.to_owned()),
        _ if place == "status" => (span.status == Status::Error).then(|| "true".to_owned()),
        _ => span.attributes.get(place).map(text),
    }
}

/// What Istio adds to a native tracer.
fn istio_tags() -> Value {
    let literal = |name: &str, value: &str| json!({"tag": name, "literal": {"value": value}});
    let metadata = |name: &str, key: &str| {
        let path = json!({"key": "envoy.filters.http.rbac", "path": [{"key": key}]});
        json!({"tag": name, "metadata": {"kind": {"request": {}}, "metadata_key": path}})
    };
    let mut tags = vec![
        literal("istio.canonical_service", "backend"),
        literal("istio.canonical_revision", "v1"),
        literal("istio.mesh_id", "cluster.local"),
        literal("istio.namespace", "shop"),
        literal("istio.cluster_id", "Kubernetes"),
    ];
    for which in ["allow", "deny"] {
        for (tag, key) in [("name", "shadow_effective_policy_id"), ("result", "shadow_engine_result")] {
            let name = format!("istio.authorization.dry_run.{which}_policy.{tag}");
            tags.push(metadata(&name, &format!("istio_dry_run_{which}_{key}")));
        }
    }
    json!(tags)
}

/// A policy in dry run, as Istio writes it.
fn dry_run(which: &str) -> Filter {
    let any = json!([{"any": true}]);
    let rules = json!({
        "action": which.to_uppercase(),
        "policies": {"ns[shop]-policy[trial]-rule[0]": {"permissions": any, "principals": any}},
    });
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "shadow_rules": rules,
        "shadow_rules_stat_prefix": format!("istio_dry_run_{which}_"),
    });
    Filter::Raw(json!({"name": format!("rbac-{which}"), "typed_config": config}))
}

fn listener(name: &str, direction: Direction) -> Result<Listener> {
    let routes = [
        Route::cluster("/refused", "refused"),
        Route::cluster("/never", "app").timeout("0s"),
        Route::cluster("/retry", "app").retry("5xx", 1),
        Route::cluster("/shop.Cart/", "app2"),
        Route::cluster("/", "app"),
    ];
    let listener = routes.into_iter().fold(Listener::new(name, direction), Listener::route);
    let listener = listener.filter(dry_run("allow")).filter(dry_run("deny"));
    if !name.starts_with("native") {
        return Ok(listener.filter(filter(&config(json!({})))?));
    }
    let tracer = Tracer::OpenTelemetry { cluster: "collector".to_owned(), service: "native".to_owned() };
    let tracing = json!({"spawn_upstream_span": true, "custom_tags": istio_tags()});
    Ok(listener.tracer(&tracer, 100.0).manager(json!({ "tracing": tracing })))
}

const REQUESTS: [How; 8] = [
    How::GetWith(
        "/ok?a=1",
        &[
            ("user-agent", b"curl/8"),
            ("x-client-trace-id", b"client-1"),
            ("x-request-id", b"6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
            ("x-envoy-downstream-service-cluster", b"frontend"),
        ],
    ),
    How::Get("/retry"),
    How::Get("/refused"),
    How::Get("/broken"),
    How::LeaveBefore("/never"),
    How::Grpc("/shop.Cart/Get"),
    How::Grpc("/shop.Cart/Fail"),
    How::Grpc("/shop.Cart/Refuse"),
];

async fn start() -> Result<Stage> {
    let app = Upstream::start(|request| async move {
        match request.uri().path() {
            "/retry" => status(503, "busy").await,
            "/broken" => break_mid_body(Abort::Close).await,
            "/never" => never().await,
            "/shop.Cart/Get" => grpc(0, "").await,
            "/shop.Cart/Fail" => grpc(13, "it broke").await,
            "/shop.Cart/Refuse" => grpc_trailers_only(7, "not yours").await,
            _ => status(200, "hello").await,
        }
    })
    .await?;
    let (port, refused) = (app.port(), Upstream::ok().await?);
    refused.refuse().await?;
    let listeners = [
        listener("native-inbound", Direction::Inbound)?,
        listener("native-outbound", Direction::Outbound)?,
        listener("inbound", Direction::Inbound)?,
        listener("outbound", Direction::Outbound)?,
    ];
    Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        let bootstrap = bootstrap
            .cluster(Cluster::new("app2", port).http2())
            .cluster(Cluster::new("refused", refused.port()))
            .runtime("tracing.opentelemetry.min_flush_spans", 1);
        listeners.into_iter().fold(bootstrap, Bootstrap::listener)
    })
    .await
}

#[tokio::test]
async fn every_tag_of_the_native_tracer_has_the_counterpart_that_the_table_names() -> Result<()> {
    let mut stage = start().await?;
    let id = |request: usize| format!("4bf92f3577b34da6a3ce929d{request:08x}");
    let names = ["native-inbound", "native-outbound", "inbound", "outbound"];
    let sent = fire(REQUESTS.len() * names.len(), usize::MAX, |number| {
        let (request, name, stage) = (number / names.len(), names[number % names.len()], &stage);
        async move {
            let traceparent = format!("00-{}-00f067aa0ba902b7-01", id(request));
            send(REQUESTS[request], stage.envoy.port(name)?, &stage.app, &traceparent).await
        }
    })
    .await;
    sent.into_iter().collect::<Result<()>>()?;
    let is_ours = |span: &&ReceivedSpan| span.scope.name == "sidespan";
    // The native tracer has two spans a request here, or more after a retry; the last to come ends the wait.
    let enough = |spans: &[ReceivedSpan]| {
        let ours = spans.iter().filter(is_ours).count();
        ours == REQUESTS.len() * 2 && spans.len() - ours >= REQUESTS.len() * 4 + 2
    };
    let spans = stage.receiver.wait_until(SOON, enough).await?;
    let (ours, native): (Vec<_>, Vec<_>) = spans.iter().partition(is_ours);

    let table = table();
    let (mut wrong, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (span, tag, text) in native.iter().flat_map(|span| {
        span.attributes.iter().map(move |(tag, text)| (span, tag, text.as_str().unwrap_or_default().to_owned()))
    }) {
        // Envoy's words for what is not there.
        if matches!(text.as_str(), "" | "-") || (tag == "http.status_code" && text == "0") {
            continue;
        }
        let Some(row) = table.iter().find(|row| row.tag == *tag) else {
            wrong.insert(format!("{tag}={text} is not in the table"));
            continue;
        };
        seen.insert(&row.tag);
        let same_trace = || ours.iter().filter(|own| own.trace_id == span.trace_id);
        let found: Vec<_> =
            same_trace().flat_map(|own| row.ours.iter().filter_map(|place| value(own, place))).collect();
        if found.is_empty() || (row.same && !found.contains(&text)) {
            wrong.insert(format!("{} {tag}={text}: {:?} is {found:?}", span.name, row.ours));
        }
    }
    for row in &table {
        if !seen.contains(&row.tag) {
            wrong.insert(format!("{} never came", row.tag));
        }
    }
    wrong.extend(ours.iter().flat_map(|span| undocumented(span)));
    assert!(wrong.is_empty(), "{wrong:#?}");
    stage.envoy.assert_no_trap();
    Ok(())
}
