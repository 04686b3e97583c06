//! Who the spans are from, by the node metadata of a real `pilot-agent`, and who their peers are, by their certificates.

use crate::world::{SOON, World, traces};
use serde_json::{Value, json};
use sidespan_harness::client::Client;
use sidespan_harness::istio::GATEWAY;
use sidespan_harness::mesh::Plan;
use sidespan_harness::span::Kind;
use sidespan_harness::{ReceivedSpan, Result};

async fn one_trace(world: &mut World) -> Result<Vec<ReceivedSpan>> {
    let all = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}});
    world.install(vec![world.shipped(all).await?]).await?;
    world.send(1, |_| Plan::new()).await?;
    let spans = world.receiver.wait_for(6, SOON).await?;
    assert_eq!((spans.len(), traces(&spans).len()), (6, 1));
    Ok(spans)
}

pub async fn the_resource_is_that_of_the_node_as_pilot_agent_sends_it(world: &mut World) -> Result<()> {
    let spans = one_trace(world).await?;
    let workloads =
        [(GATEWAY, "istio-system", "router"), ("frontend", "shop", "sidecar"), ("database", "data", "sidecar")];
    for (name, namespace, role) in workloads {
        let span = spans.iter().find(|span| span.service() == name).unwrap_or_else(|| panic!("no span of {name}"));
        let pod = format!("{name}-6b9f7c5d8-x2x7k");
        let mut found = span.resource.clone();
        // The address differs from run to run.
        let node = found.remove("envoy.node_id").unwrap_or_default().to_string();
        assert!(node.contains(&format!("{role}~127.")) && node.contains(&format!("~{pod}.{namespace}~")), "{node}");
        found.remove("test.step");
        let expected = json!({
            "service.name": name, "service.namespace": namespace, "service.instance.id": format!("{namespace}.{pod}.app"),
            "service.version": "latest",
            "deployment.environment.name": "production", "team": "checkout",
            "k8s.cluster.name": "Kubernetes", "k8s.namespace.name": namespace, "k8s.pod.name": pod,
            "k8s.deployment.name": name, "k8s.node.name": "node-1",
            "telemetry.sdk.name": "sidespan", "telemetry.sdk.language": "rust",
            "telemetry.sdk.version": env!("CARGO_PKG_VERSION"),
            "telemetry.distro.name": "sidespan", "telemetry.distro.version": env!("CARGO_PKG_VERSION"),
        });
        assert_eq!(json!(found), expected, "{name}");
        for (tag, value) in [
            ("istio.canonical_service", name),
            ("istio.canonical_revision", "latest"),
            ("istio.mesh_id", "cluster.local"),
            ("istio.namespace", namespace),
            ("istio.cluster_id", "Kubernetes"),
            ("cluster", "east"),
        ] {
            assert_eq!(span.text(tag), Some(value), "{name}: {tag}");
        }
    }
    Ok(())
}

pub async fn peers_have_the_principals_of_their_certificates_and_plain_text_is_refused(
    world: &mut World,
) -> Result<()> {
    let spans = one_trace(world).await?;
    let find = |name: &str, kind: Kind| {
        spans
            .iter()
            .find(|span| span.service() == name && span.kind == kind)
            .unwrap_or_else(|| panic!("{name} {kind:?}"))
    };
    let (source, destination) = ("istio.source_principal", "istio.destination_principal");
    for (name, kind, attribute, principal) in [
        ("frontend", Kind::Server, source, "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway"),
        ("frontend", Kind::Client, destination, "spiffe://cluster.local/ns/shop/sa/backend"),
        ("backend", Kind::Server, source, "spiffe://cluster.local/ns/shop/sa/frontend"),
        ("backend", Kind::Client, destination, "spiffe://cluster.local/ns/data/sa/database"),
        ("database", Kind::Server, source, "spiffe://cluster.local/ns/shop/sa/backend"),
    ] {
        assert_eq!(find(name, kind).text(attribute), Some(principal), "{name} {kind:?}");
    }
    // STRICT: a client without a certificate is not let in.
    let plain = Client::http1_at(world.mesh().inbound("database")?);
    let refused = plain.get("database.data.svc.cluster.local:8080", "/", &[]).await;
    assert!(refused.is_err(), "{refused:?}");
    let listener: Value = serde_json::from_str(&world.mesh().agent("database")?.admin_get("/certs").await?)?;
    assert!(listener["certificates"].to_string().contains("spiffe://cluster.local/ns/data/sa/database"), "{listener}");
    Ok(())
}
