//! `TrafficExtension`, which Istio has from 1.30 on, in place of `WasmPlugin`.

use crate::whole_path::assert_whole_paths;
use crate::world::World;
use serde_json::{Value, json};
use sidespan_harness::{Result, envoy_binary};

/// The same plugin: what is about the module goes into `wasm`, the rest stays.
fn converted(mut plugin: Value) -> Value {
    let mut wasm = json!({});
    for field in ["url", "sha256", "imagePullPolicy", "pluginName", "pluginConfig", "failStrategy", "vmConfig"] {
        if let Some(value) = plugin["spec"].as_object_mut().and_then(|spec| spec.remove(field)) {
            wasm[field] = value;
        }
    }
    plugin["kind"] = json!("TrafficExtension");
    plugin["spec"]["wasm"] = wasm;
    plugin
}

pub async fn it_does_what_the_wasm_plugin_does(world: &mut World) -> Result<()> {
    // Connections stay with the listeners of before, which had a tracer of their own, until they are drained.
    world.start_mesh(&envoy_binary()?).await?;
    let plugin = world.shipped(json!({})).await?;
    world.install(vec![converted(plugin)]).await?;
    let dump = world.mesh().agent("frontend")?.extensions().await?;
    assert!(dump.contains("extensions.istio.io/trafficextension/istio-system.sidespan"), "{dump}");
    assert_whole_paths(world, 100).await
}
