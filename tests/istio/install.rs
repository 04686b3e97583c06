//! Installing, trying in one namespace and removing, as `docs/install.md` says, in a mesh whose team has a Telemetry of its own.

use crate::world::{NATIVE, NATIVE_TRACING_OFF, SOON, World};
use serde_json::{Value, json};
use sidespan_harness::mesh::Plan;
use sidespan_harness::provide::workspace_root;
use sidespan_harness::{ReceivedSpan, Result, eventually, merge};
use std::collections::BTreeMap;
use std::time::Duration;

/// The name that Istio's documentation uses.
const MESH_DEFAULT: [&str; 4] = ["telemetry", "mesh-default", "-n", "istio-system"];

/// The patch of `docs/install.md`, and its reverse.
const OFF: &str = r#"[{"op": "add", "path": "/spec/tracing/0/disableSpanReporting", "value": true}]"#;
const ON: &str = r#"[{"op": "remove", "path": "/spec/tracing/0/disableSpanReporting"}]"#;

/// Envoy's own tracer sends every five seconds.
const NATIVE_DELAY: Duration = Duration::from_secs(6);

/// What a team may have before anybody thinks of sidespan.
fn of_the_team() -> Value {
    let tags = json!({"team": {"literal": {"value": "checkout"}}});
    json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
        "metadata": {"name": "mesh-default", "namespace": "istio-system", "labels": {"owner": "observability"}},
        "spec": {"tracing": [{"providers": [{"name": NATIVE}], "randomSamplingPercentage": 100, "customTags": tags}]},
    })
}

fn everything() -> Value {
    json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}})
}

fn list(objects: Vec<Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

async fn team(world: &World, output: &str) -> Result<String> {
    let arguments = [&["get"][..], &MESH_DEFAULT, &["-o", output]].concat();
    world.kubectl().run(&arguments, "").await
}

async fn spec(world: &World) -> Result<Value> {
    Ok(serde_json::from_str(&team(world, "jsonpath={.spec}").await?)?)
}

pub async fn the_commands_touch_nothing_that_a_team_has(world: &mut World) -> Result<()> {
    world.put_in_force(vec![of_the_team()]).await?;
    let before = team(world, "json").await?;
    let mut objects = world.manifest("wasmplugin.yaml").await?;
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.extend(world.manifest(NATIVE_TRACING_OFF).await?);
    let manifests = list(objects);
    // `kubectl diff` ends with 1 if there are differences, and changes nothing.
    let shown = world.kubectl().attempt(&["diff", "-f", "-"], &manifests).await?;
    assert!(!shown.success && shown.text.contains("+kind: WasmPlugin"), "{}", shown.text);
    assert!(!shown.text.contains("mesh-default"), "{}", shown.text);
    let got = world.kubectl().run(&["get", "wasmplugin", "-A", "-o", "name"], "").await?;
    assert!(!got.contains("sidespan"), "{got}");
    world.kubectl().apply(&manifests).await?;
    let same = world.kubectl().attempt(&["diff", "-f", "-"], &manifests).await?;
    assert!(same.success, "{}", same.text);
    world.kubectl().run(&["delete", "-f", "-"], &manifests).await?;
    assert_eq!(team(world, "json").await?, before, "the same version of the same resource");
    let left = world.kubectl().run(&["get", "wasmplugin,telemetry", "-A", "-o", "name"], "").await?;
    assert_eq!(left.trim(), "telemetry.telemetry.istio.io/mesh-default");
    a_telemetry_without_tracing_is_patched_and_restored(world).await
}

async fn a_telemetry_without_tracing_is_patched_and_restored(world: &World) -> Result<()> {
    let metadata = json!({"name": "other", "namespace": "default"});
    let other = json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": metadata, "spec": {}});
    world.kubectl().apply(&other.to_string()).await?;
    let add = r#"[{"op": "add", "path": "/spec/tracing", "value": [{"disableSpanReporting": true}]}]"#;
    for (patch, expected) in [
        (add, r#"{"tracing":[{"disableSpanReporting":true}]}"#),
        (r#"[{"op": "remove", "path": "/spec/tracing"}]"#, "{}"),
    ] {
        let patch = ["patch", "telemetry", "other", "--type", "json", "-p", patch, "-o", "jsonpath={.spec}"];
        assert_eq!(world.kubectl().run(&patch, "").await?, expected);
    }
    world.kubectl().delete(&other.to_string()).await
}

pub async fn the_patch_for_an_existing_telemetry_keeps_its_fields_and_its_reverse_restores_it(
    world: &mut World,
) -> Result<()> {
    let plugin = world.shipped(everything()).await?;
    world.install_with(of_the_team(), vec![plugin]).await?;
    let before = spec(world).await?;
    wait_for_native(world).await?;
    // A second Telemetry without a selector has no effect: istiod takes the oldest of a namespace, to the second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = workspace_root().join(NATIVE_TRACING_OFF);
    world.kubectl().run(&["apply", "-f", &second.to_string_lossy()], "").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    wait_for_native(world).await?;
    world.kubectl().run(&["delete", "-f", &second.to_string_lossy()], "").await?;

    a_rate_of_zero_is_not_off(world).await?;
    assert_eq!(spec(world).await?, before);
    patch(world, OFF).await?;
    let mut expected = before.clone();
    expected["tracing"][0]["disableSpanReporting"] = json!(true);
    assert_eq!(spec(world).await?, expected);
    eventually("no native span any more, and all of the filter", SOON, async || {
        let scopes = scopes(world).await?;
        anyhow::ensure!(scopes.values().all(|scopes| scopes == "sidespan"), "{scopes:?}");
        Ok(())
    })
    .await?;
    patch(world, ON).await?;
    assert_eq!(spec(world).await?, before);
    wait_for_native(world).await
}

/// Native spans stop, but Envoy's tracer goes on to overwrite the headers.
async fn a_rate_of_zero_is_not_off(world: &World) -> Result<()> {
    let rate = |percentage: u32| {
        let path = "/spec/tracing/0/randomSamplingPercentage";
        json!([{"op": "replace", "path": path, "value": percentage}]).to_string()
    };
    patch(world, &rate(0)).await?;
    let overwritten = async |world: &World| -> Result<u64> {
        let metrics = world.mesh().metrics().await?;
        Ok(metrics.get("sidespan_propagation_overwritten_total").copied().unwrap_or_default())
    };
    eventually("no native span, and headers that are overwritten", SOON, async || {
        let before = overwritten(world).await?;
        let scopes = scopes(world).await?;
        let more = overwritten(world).await?.saturating_sub(before);
        anyhow::ensure!(scopes.values().all(|scopes| scopes == "sidespan") && more > 0, "{more} {scopes:?}");
        println!("at a rate of 0 the headers of {more} spans are overwritten");
        Ok(())
    })
    .await?;
    patch(world, &rate(100)).await.map(drop)
}

async fn patch(world: &World, patch: &str) -> Result<String> {
    let arguments = [&["patch"][..], &MESH_DEFAULT, &["--type", "json", "-p", patch]].concat();
    world.kubectl().run(&arguments, "").await
}

pub async fn a_plugin_in_one_namespace_changes_the_tracing_of_that_namespace_alone(world: &mut World) -> Result<()> {
    let mut objects = world.manifest("deploy/overlays/one-namespace").await?;
    for object in &mut objects {
        assert_eq!(object["metadata"]["namespace"], "shop", "{object}");
        if object["kind"] == "WasmPlugin" {
            merge(object, everything());
        }
    }
    objects.push(of_the_team());
    world.install_for(objects, |workload| ["frontend", "backend"].contains(&workload)).await?;
    eventually("the filter traces shop, Envoy's own tracer the rest", SOON, async || {
        let scopes = scopes(world).await?;
        let expected =
            [("backend", "sidespan"), ("database", "native"), ("frontend", "sidespan"), ("gateway", "native")];
        let expected = expected.map(|(workload, scope)| (workload.to_owned(), scope.to_owned()));
        anyhow::ensure!(scopes == BTreeMap::from(expected), "{scopes:?}");
        Ok(())
    })
    .await?;
    // Removed again, Envoy's own tracer has its namespace back.
    world.put_in_force(vec![of_the_team()]).await?;
    eventually("native spans alone", SOON, async || {
        let scopes = scopes(world).await?;
        anyhow::ensure!(scopes.len() == 4 && scopes.values().all(|scopes| scopes == "native"), "{scopes:?}");
        Ok(())
    })
    .await
}

fn is_native(span: &ReceivedSpan) -> bool {
    span.scope.name != "sidespan"
}

async fn wait_for_native(world: &World) -> Result<()> {
    eventually("native spans", SOON, async || {
        let scopes = scopes(world).await?;
        anyhow::ensure!(scopes.values().any(|scopes| scopes.contains("native")), "{scopes:?}");
        Ok(())
    })
    .await
}

/// Which tracers have sent spans of new requests, by workload: `native`, `sidespan`, or both.
async fn scopes(world: &World) -> Result<BTreeMap<String, String>> {
    world.receiver.clear();
    world.send(10, |_| Plan::new()).await?;
    tokio::time::sleep(NATIVE_DELAY).await;
    let mut scopes = BTreeMap::<String, Vec<&str>>::new();
    for span in &world.receiver.spans() {
        // The native tracer adds the namespace to the name of the service.
        let workload = span.service().split('.').next().unwrap_or_default().replace("istio-ingressgateway", "gateway");
        let scope = if is_native(span) { "native" } else { "sidespan" };
        let scopes = scopes.entry(workload).or_default();
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes.into_iter().map(|(workload, scopes)| (workload, scopes.join("+"))).collect())
}
