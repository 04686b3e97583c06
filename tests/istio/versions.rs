//! One module, one istiod, every supported Envoy.

use crate::whole_path::assert_whole_paths;
use crate::world::World;
use anyhow::Context as _;
use serde_json::json;
use sidespan_harness::{Result, envoy_binary, provide};

/// One of each minor version before the one that the other tests use.
const VERSIONS: [&str; 4] = ["1.36.4", "1.37.0", "1.38.2", "1.39.3"];

pub async fn the_same_module_works_in_every_supported_envoy_under_the_same_istiod(world: &mut World) -> Result<()> {
    world.install(vec![world.shipped(json!({})).await?]).await?;
    for version in VERSIONS {
        // ENVOY_BIN names the version of the other tests, and would win.
        let envoy = tokio::task::spawn_blocking(|| provide::envoy_version_binary(version, |_| {})).await??;
        world.start_mesh(&envoy).await.with_context(|| version.to_owned())?;
        world.receiver.clear();
        assert_whole_paths(world, 100).await.with_context(|| version.to_owned())?;
        println!("Envoy {version}: 20 of 20 failing requests with their whole path");
    }
    world.start_mesh(&envoy_binary()?).await
}
