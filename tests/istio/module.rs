//! The filter as a dynamic module, by the `EnvoyFilter` of examples/module/istio.yaml.

use crate::whole_path::assert_whole_paths;
use crate::world::World;
use serde_json::{Value, json};
use sidespan_harness::Result;

const CREATED: &str = "sidespan_spans_created_total";

pub async fn the_example_keeps_whole_paths_and_its_metrics_pass_istios_matcher(world: &mut World) -> Result<()> {
    world.uninstall().await?;
    let before = world.mesh().metrics().await?;
    world.install_module(json!({})).await?;
    assert_whole_paths(world, 100).await?;
    let created = world.since(&before).await?.get(CREATED).copied().unwrap_or_default();
    assert!(created >= 6 * 20, "20 requests failed, which are six spans each: {created}");
    // The proxies of Istio count only what certain prefixes have, and Envoy's own prefix for dynamic modules is none of them.
    world.install_module(json!({"metrics_namespace": Value::Null})).await?;
    assert_eq!(world.send(10, |_| sidespan_harness::mesh::Plan::new()).await?, [200; 10]);
    let stats = world.mesh().agent("frontend")?.admin_get("/stats").await?;
    assert!(stats.contains("cluster_manager.") && !stats.contains("dynamicmodulescustom"), "{stats}");
    Ok(())
}
