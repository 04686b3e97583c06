//! Envoy's own tracer beside the filter: off with the Telemetry that is shipped, in the way without it.

use crate::world::{NATIVE, SOON, World};
use serde_json::json;
use sidespan_harness::mesh::Plan;
use sidespan_harness::{ReceivedSpan, Result, eventually};

fn is_native(span: &&ReceivedSpan) -> bool {
    span.scope.name != "sidespan"
}

pub async fn envoys_own_tracer_is_off_with_the_shipped_telemetry_and_overwrites_headers_without_it(
    world: &mut World,
) -> Result<()> {
    let all = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}});
    let mut telemetry = world.shipped_telemetry().await?;
    telemetry["spec"] = json!({"tracing": [{"providers": [{"name": NATIVE}], "randomSamplingPercentage": 100}]});
    world.install_with(telemetry, vec![world.shipped(all.clone()).await?]).await?;
    let overwritten = "sidespan_propagation_overwritten_total";
    let seen = eventually("both tracers export, and the filter notices", SOON, async || {
        world.send(5, |_| Plan::new()).await?;
        let native = world.receiver.spans().iter().filter(is_native).count();
        let count = world.mesh().metrics().await?.get(overwritten).copied().unwrap_or_default();
        anyhow::ensure!(native > 0 && count > 0, "{native} native spans, {overwritten} {count}");
        Ok(count)
    })
    .await?;
    println!("with a native tracer on: {overwritten} {seen}");
    // The shipped Telemetry again: listeners change, so requests are sent until the native spans have stopped.
    world.install(vec![world.shipped(all).await?]).await?;
    eventually("no native span any more", SOON, async || {
        world.receiver.clear();
        world.send(10, |_| Plan::new()).await?;
        // Envoy's tracer sends every five seconds.
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        let spans = world.receiver.spans();
        let native = spans.iter().filter(is_native).count();
        anyhow::ensure!(native == 0 && spans.len() == 60, "{native} native spans of {}", spans.len());
        Ok(())
    })
    .await
}
