//! Who the spans say they are from: Istio's node metadata, the environment, the configuration, in that rising order.

use crate::stage::{Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Listener, Node};
use sidespan_harness::span::Attributes;
use sidespan_harness::{ReceivedSpan, Result, Upstream, merge};

fn node() -> Node {
    Node::sidecar("reviews", "shop")
        .metadata(json!({
            "NAME": "reviews-7d9-x2x",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/statefulsets/reviews",
            "CLUSTER_ID": "east",
            "MESH_ID": "mesh1",
            "NODE_NAME": "node-7",
            "APP_CONTAINERS": "main,helper",
            "LABELS": {
                "app.kubernetes.io/name": "reviews-app",
                "app.kubernetes.io/version": "2.3.1",
                "service.istio.io/canonical-name": "reviews",
                "service.istio.io/canonical-revision": "v2",
            },
            "ANNOTATIONS": {"resource.opentelemetry.io/deployment.environment.name": "staging"},
            "PLATFORM_METADATA": {"aws_account_id": "123456789012"},
        }))
        .locality("us-west-2", "us-west-2a")
}

/// A filter with `pluginConfig` and variables of the VM.
fn listener(name: &str, patch: Value, variables: &[(&str, &str)]) -> Result<Listener> {
    let wasm = filter(&config(patch))?;
    let wasm = variables.iter().fold(wasm, |wasm, (name, value)| wasm.environment(name, value));
    Ok(Listener::inbound("app").named(name).filter(wasm))
}

async fn span(stage: &Stage, listener: &str) -> Result<ReceivedSpan> {
    stage.receiver.clear();
    stage.client(listener)?.get("reviews", "/", &[]).await?;
    Ok(stage.spans(1).await?.remove(0))
}

fn detected(patch: Value) -> Attributes {
    let mut all = json!({
        "service.name": "reviews-app",
        "service.namespace": "shop",
        "service.version": "2.3.1",
        "service.instance.id": "shop.reviews-7d9-x2x.main",
        "deployment.environment.name": "staging",
        "envoy.node_id": "sidecar~10.0.0.1~reviews-0.shop~shop.svc.cluster.local",
        "k8s.cluster.name": "east",
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "reviews-7d9-x2x",
        "k8s.statefulset.name": "reviews",
        "k8s.node.name": "node-7",
        "cloud.provider": "aws",
        "cloud.account.id": "123456789012",
        "cloud.region": "us-west-2",
        "cloud.availability_zone": "us-west-2a",
        "telemetry.sdk.name": "sidespan",
        "telemetry.sdk.language": "rust",
        "telemetry.sdk.version": env!("CARGO_PKG_VERSION"),
        "telemetry.distro.name": "sidespan",
        "telemetry.distro.version": env!("CARGO_PKG_VERSION"),
    });
    merge(&mut all, patch);
    all.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[tokio::test]
async fn the_resource_comes_from_the_node_and_the_configuration_wins() -> Result<()> {
    let configured = json!({"resource": {
        "service.name": "configured", "deployment.environment.name": "production",
        "team.size": 7, "team.share": 0.5, "team.on_call": true,
    }});
    let listeners = [
        listener("plain", json!({}), &[])?,
        listener("configured", configured, &[])?,
        listener("without", json!({"spans": {"istioTags": false}}), &[])?,
    ];
    let mut stage = Stage::bare(node(), Upstream::ok().await?, |bootstrap| {
        listeners.into_iter().fold(bootstrap, |b, l| b.listener(l))
    })
    .await?;
    let plain = span(&stage, "plain").await?;
    assert_eq!(plain.resource, detected(json!({})));
    assert_eq!((plain.scope.name.as_str(), plain.scope.version.as_str()), ("sidespan", env!("CARGO_PKG_VERSION")));
    assert!(plain.scope.schema_url.starts_with("https://opentelemetry.io/schemas/"), "{}", plain.scope.schema_url);
    for (tag, value) in [
        ("istio.canonical_service", "reviews"),
        ("istio.canonical_revision", "v2"),
        ("istio.mesh_id", "mesh1"),
        ("istio.namespace", "shop"),
        ("istio.cluster_id", "east"),
    ] {
        assert_eq!(plain.text(tag), Some(value), "{tag}");
    }
    let expected = json!({
        "service.name": "configured", "deployment.environment.name": "production",
        "team.size": 7, "team.share": 0.5, "team.on_call": true,
    });
    assert_eq!(span(&stage, "configured").await?.resource, detected(expected));
    let without = span(&stage, "without").await?;
    let tags: Vec<_> = without.attributes.keys().filter(|key| key.starts_with("istio.")).collect();
    assert!(tags.is_empty(), "{tags:?}");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn the_environment_of_the_vm_wins_over_the_node_and_an_envoy_outside_a_mesh_has_a_name_too() -> Result<()> {
    let variables =
        [("OTEL_SERVICE_NAME", "variable"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=shop%20floor")];
    let listener = listener("inbound", json!({"resource": {"team": "configured"}}), &variables)?;
    let stage = Stage::bare(node(), Upstream::ok().await?, |bootstrap| bootstrap.listener(listener)).await?;
    let expected = detected(json!({"service.name": "variable", "team": "configured"}));
    assert_eq!(span(&stage, "inbound").await?.resource, expected);

    let plain = Listener::inbound("app").filter(filter(&config(json!({})))?);
    let stage =
        Stage::bare(Node::plain("edge-1", "edge"), Upstream::ok().await?, |bootstrap| bootstrap.listener(plain))
            .await?;
    let found = span(&stage, "inbound").await?;
    for (key, value) in [("service.name", "edge"), ("service.instance.id", "edge-1"), ("envoy.node_id", "edge-1")] {
        assert_eq!(found.resource.get(key), Some(&json!(value)), "{key}");
    }
    let foreign: Vec<_> = found.attributes.keys().filter(|key| key.starts_with("istio.")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    Ok(())
}
