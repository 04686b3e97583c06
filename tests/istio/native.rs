//! Envoy's own tracer beside the filter: off with the Telemetry that is shipped, in the way without it, and adopted by the plugin
//! of examples/istio/beside.yaml.

use crate::whole_path::plan;
use crate::world::{NATIVE, NATIVE_ZIPKIN, SOON, World};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::mesh::{Action, Exchange, Plan};
use sidespan_harness::span::hops;
use sidespan_harness::{ReceivedSpan, Result, eventually, merge};
use std::collections::BTreeMap;
use std::time::Duration;

fn is_native(span: &&ReceivedSpan) -> bool {
    span.scope.name != "sidespan"
}

pub async fn envoys_own_tracer_is_off_with_the_shipped_telemetry_and_overwrites_headers_without_it(
    world: &mut World,
) -> Result<()> {
    let all = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 100}}}});
    let telemetry = world.native_telemetry(NATIVE, 100).await?;
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

/// Envoy's tracers send every five seconds.
const FLUSH: Duration = Duration::from_secs(6);
/// The gateway, then both listeners of each proxy, by the name of the service in both exporters.
const SERVICES: [&str; 6] = [
    "istio-ingressgateway.istio-system",
    "frontend.shop",
    "frontend.shop",
    "backend.shop",
    "backend.shop",
    "database.data",
];

pub async fn beside_native_opentelemetry_failing_requests_are_whole_and_deletion_takes_nothing_away(
    world: &mut World,
) -> Result<()> {
    beside(world, NATIVE).await
}

pub async fn beside_native_zipkin_failing_requests_are_whole_and_deletion_takes_nothing_away(
    world: &mut World,
) -> Result<()> {
    beside(world, NATIVE_ZIPKIN).await
}

async fn beside(world: &mut World, provider: &str) -> Result<()> {
    let plugin = example(world).await?;
    // At 100 % nothing is left to add.
    let everything = world.native_telemetry(provider, 100).await?;
    world.install_with(everything, vec![plugin.clone()]).await?;
    eventually("the native tracer samples everything, and the filter exports nothing", 2 * SOON, async || {
        world.receiver.clear();
        world.mesh().clear();
        world.send(2, |_| Plan::new().with("database", Action::Status(503))).await?;
        tokio::time::sleep(FLUSH).await;
        let spans = traces(world).into_values().map(|spans| whole(&spans, 2)).collect::<Result<Vec<usize>>>()?;
        ensure!(spans == [0, 0], "spans of the filter in each trace: {spans:?}");
        Ok(())
    })
    .await?;
    // At 1 % it adds those that fail.
    let telemetry = world.native_telemetry(provider, 1).await?;
    world.install_with(telemetry.clone(), vec![plugin]).await?;
    eventually("every proxy samples 1 %", 2 * SOON, async || {
        world.receiver.clear();
        world.mesh().clear();
        world.send(2, |_| Plan::new().with("database", Action::Status(503))).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let spans = traces(world).into_values().map(|spans| whole(&spans, 2)).collect::<Result<Vec<usize>>>()?;
        ensure!(spans == [6, 6], "spans of the filter in each trace: {spans:?}");
        Ok(())
    })
    .await?;
    assert_each_failing_path_is_whole(world, provider, 300).await?;
    assert_deletion_takes_nothing_away(world, telemetry).await
}

/// The plugin of the example, but for its cap: many requests fail within a second here, and a cap leaves gaps in this mode.
async fn example(world: &World) -> Result<Value> {
    let objects = world.manifest("examples/istio/beside.yaml").await?;
    let plugin = objects.into_iter().find(|object| object["kind"] == "WasmPlugin");
    let mut plugin = plugin.context("the example has a WasmPlugin")?;
    merge(&mut plugin, json!({"spec": {"pluginConfig": {"sampling": {"errors": {"maxPerSecond": 0}}}}}));
    Ok(plugin)
}

/// The spans of both exporters by trace.
fn traces(world: &World) -> BTreeMap<String, Vec<ReceivedSpan>> {
    let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
    for span in world.receiver.spans_of_all_protocols() {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    traces
}

/// How many spans of a whole path are the filter's. The gateway has two native spans, since Istio sets `spawn_upstream_span` there.
fn whole(spans: &[ReceivedSpan], of_gateway: usize) -> Result<usize> {
    let path = hops(spans, &SERVICES, 1)?;
    let native = path.iter().flatten().filter(|span| is_native(span)).count();
    let gateway = path.first().context("six hops")?;
    ensure!(gateway.iter().all(is_native) == (gateway.len() == of_gateway), "{} spans of the gateway", gateway.len());
    Ok(spans.len() - native)
}

fn trace_of(exchange: &Exchange) -> Result<&str> {
    let (w3c, b3) = (exchange.received.header("traceparent"), exchange.received.header("x-b3-traceid"));
    w3c.and_then(|value| value.get(3..35)).or(b3).context("no trace header")
}

async fn assert_each_failing_path_is_whole(world: &mut World, provider: &str, requests: usize) -> Result<()> {
    world.receiver.clear();
    world.mesh().clear();
    let statuses = world.send(requests, plan).await?;
    let expected: Vec<u16> = (0..requests).map(|number| if number % 10 == 3 { 500 } else { 200 }).collect();
    assert_eq!(statuses, expected);
    tokio::time::sleep(FLUSH).await;
    let traces = traces(world);
    let (mut failing, mut native) = (0, 0);
    for exchange in world.mesh().exchanges("frontend")? {
        let number: usize = exchange.received.path.rsplit('/').next().context("a path")?.parse()?;
        let spans = traces.get(trace_of(&exchange)?).map(Vec::as_slice).unwrap_or_default();
        let sampled = spans.iter().any(|span| is_native(&span));
        native += usize::from(sampled);
        let fails = plan(number).actions("database").next().is_some();
        failing += usize::from(fails);
        match (fails, sampled) {
            (false, false) => assert!(spans.is_empty(), "request {number}: {spans:#?}"),
            (_, true) => assert_eq!(whole(spans, 2)?, 0, "request {number}: exported once"),
            (true, false) => assert_eq!(whole(spans, 2)?, 6, "request {number}: exported once"),
        }
    }
    assert_eq!(failing, requests / 5);
    println!(
        "{provider}: {failing} of {failing} failing requests whole; the native tracer sampled {native} of {requests}"
    );
    world.assert_no_trap();
    Ok(())
}

/// The native tracer goes on as if nothing had happened.
async fn assert_deletion_takes_nothing_away(world: &mut World, telemetry: Value) -> Result<()> {
    world.uninstall_beside(telemetry).await?;
    let statuses = world.send(50, plan).await?;
    assert!(statuses.iter().all(|status| [200, 500].contains(status)));
    for service in ["frontend", "backend", "database"] {
        let exchanges = world.mesh().exchanges(service)?;
        assert_eq!(exchanges.len(), 50);
        assert!(exchanges.iter().all(|exchange| trace_of(exchange).is_ok()), "contexts are propagated as before");
    }
    eventually("the native tracer exports as before", 2 * SOON, async || {
        world.send(200, |_| Plan::new()).await?;
        tokio::time::sleep(FLUSH).await;
        let traces = traces(world);
        ensure!(!traces.is_empty(), "none of the requests so far was sampled");
        for spans in traces.values() {
            ensure!(whole(spans, 2)? == 0);
        }
        Ok(())
    })
    .await
}
