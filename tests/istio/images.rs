//! Where the module comes from: the registry, by digest. And what happens if it does not come.

use crate::world::{SOON, World};
use serde_json::json;
use sidespan_harness::mesh::Plan;
use sidespan_harness::{Result, eventually};

/// Counters of `pilot-agent` about modules.
const METRICS: &str = "istio_agent_wasm_";

pub async fn the_module_comes_from_the_registry_by_the_digest_of_its_manifest(world: &mut World) -> Result<()> {
    world.install(vec![world.shipped(json!({})).await?]).await?;
    for (name, agent) in world.mesh().agents() {
        let metrics = agent.agent_metrics(METRICS).await?.join("\n");
        assert!(metrics.contains("istio_agent_wasm_remote_fetch_count{result=\"success\"} 1"), "{name}: {metrics}");
        // The agent has replaced the image by the file that it stored.
        let dump = agent.extensions().await?;
        assert!(dump.contains("/var/lib/istio/data/") && !dump.contains("oci://"), "{name}: {dump}");
    }
    let shipped = world.shipped(json!({})).await?;
    assert_eq!(shipped["spec"]["sha256"], world.digest);
    world.send(20, |_| Plan::new()).await?;
    world.assert_no_trap();
    Ok(())
}

pub async fn with_a_wrong_digest_requests_pass_untraced(world: &mut World) -> Result<()> {
    let plugin = world.shipped(json!({"spec": {"sha256": "0".repeat(64)}})).await?;
    world.install_unloadable(plugin).await?;
    world.assert_untraced().await?;
    said(world, "checksum_mismatched", "does not match").await?;
    recovers(world).await
}

pub async fn with_fail_close_and_a_wrong_digest_every_request_is_refused(world: &mut World) -> Result<()> {
    let patch = json!({"spec": {"sha256": "0".repeat(64), "failStrategy": "FAIL_CLOSE"}});
    world.install_unloadable(world.shipped(patch).await?).await?;
    assert_eq!(world.send(10, |_| Plan::new()).await?, [403; 10]);
    recovers(world).await
}

pub async fn without_an_image_requests_pass_untraced(world: &mut World) -> Result<()> {
    let url = format!("oci://{}/no-such-image:1", world.control.registry.host());
    let plugin = world.shipped(json!({"spec": {"url": url, "sha256": null}})).await?;
    world.install_unloadable(plugin).await?;
    world.assert_untraced().await?;
    said(world, "manifest_failure", "could not fetch manifest").await?;
    recovers(world).await
}

pub async fn with_the_registry_down_requests_pass_untraced_and_a_module_in_store_works_on(
    world: &mut World,
) -> Result<()> {
    world.install(vec![world.shipped(json!({})).await?]).await?;
    world.control.registry.stop();
    // What is in the agents' stores is not asked for again.
    let all = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}});
    world.install(vec![world.shipped(all).await?]).await?;
    world.send(5, |_| Plan::new()).await?;
    world.receiver.wait_for(30, SOON).await?;
    // What is not is missing.
    let url = format!("oci://{}/sidespan:newer", world.control.registry.host());
    let plugin = world.shipped(json!({"spec": {"url": url, "sha256": null}})).await?;
    world.install_unloadable(plugin.clone()).await?;
    world.assert_untraced().await?;
    said(world, "manifest_failure", "connection refused").await?;
    // Nobody tries again by itself when it is back.
    world.control.registry.restart().await?;
    world.control.registry.push(&world.layout, "sidespan:newer")?;
    world.control.registry.push(&world.layout, "sidespan:test")?;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.receiver.clear();
    world.mesh().clear();
    world.assert_untraced().await?;
    // Any change of the resource makes the agents try.
    world.install(vec![plugin]).await?;
    recovers(world).await
}

/// How an agent counts and logs it.
async fn said(world: &World, result: &str, line: &str) -> Result<()> {
    for (name, agent) in world.mesh().agents() {
        let metrics = agent.agent_metrics(METRICS).await?.join("\n");
        assert!(metrics.contains(&format!("result=\"{result}\"")), "{name}: {metrics}");
        let log = agent.log();
        let found = log.lines().find(|text| text.contains(line) && text.contains("applying allow RBAC filter"));
        assert!(found.is_some(), "{name}: no line with {line:?} in\n{log}");
        if name == "frontend" {
            println!("{}", found.unwrap_or_default());
        }
    }
    Ok(())
}

/// The right image again: traced again.
async fn recovers(world: &mut World) -> Result<()> {
    let all = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}});
    world.install(vec![world.shipped(all).await?]).await?;
    eventually("requests are traced again", SOON, async || {
        world.send(1, |_| Plan::new()).await?;
        world.receiver.wait_for(6, SOON).await.map(drop)
    })
    .await
}
