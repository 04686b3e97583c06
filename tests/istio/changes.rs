//! The configuration changes, badly or well, or goes, while requests are under way.

use crate::world::{SOON, World};
use serde_json::{Value, json};
use sidespan_harness::mesh::Plan;
use sidespan_harness::{Result, eventually};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn rate(percentage: f64) -> Value {
    json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": percentage}}}})
}

pub async fn a_change_under_traffic_loses_no_request_and_no_span(world: &mut World) -> Result<()> {
    world.install(vec![world.shipped(rate(50.0)).await?]).await?;
    let before = world.mesh().metrics().await?;
    let changed = world.shipped(rate(100.0)).await?;
    let telemetry = world.shipped_telemetry().await?;
    let requests = under_traffic(world, async |world: &World| {
        world.kubectl().apply_all(vec![changed.clone(), telemetry.clone()]).await?;
        for (_, agent) in world.mesh().agents() {
            agent.wait_for_extension(r#"randomSamplingPercentage\":100"#).await?;
        }
        Ok(())
    })
    .await?;
    world.balanced(&before).await?;
    // From now on everything is kept.
    world.receiver.clear();
    world.send(20, |_| Plan::new()).await?;
    assert_eq!(world.receiver.wait_for(120, SOON).await?.len(), 120);
    println!("{requests} requests during the change");
    world.assert_no_trap();
    Ok(())
}

pub async fn a_bad_change_is_refused_and_the_old_configuration_stays_in_force(world: &mut World) -> Result<()> {
    world.install(vec![world.shipped(rate(100.0)).await?]).await?;
    let bad = json!({"spec": {"pluginConfig": {"sampling": {"randomSamplingPercentage": 1000}}}});
    world.apply(world.shipped(bad).await?).await?;
    for (name, agent) in world.mesh().agents() {
        eventually(&format!("{name} refuses"), SOON, async || {
            let log = agent.log();
            let refused = log.lines().find(|line| line.contains("pluginConfig is not usable"));
            refused.map(drop).ok_or_else(|| tail(&log))
        })
        .await?;
    }
    let frontend = world.mesh().agent("frontend")?.log();
    frontend
        .lines()
        .filter(|line| line.contains("pluginConfig is not usable"))
        .take(1)
        .for_each(|line| println!("{line}"));
    world.receiver.clear();
    assert_eq!(world.send(20, |_| Plan::new()).await?, [200; 20]);
    assert_eq!(world.receiver.wait_for(120, SOON).await?.len(), 120, "still at 100 %");
    Ok(())
}

pub async fn deletion_under_traffic_touches_no_request(world: &mut World) -> Result<()> {
    world.install(vec![world.shipped(rate(100.0)).await?]).await?;
    let plugin = world.shipped(json!({})).await?;
    let requests = under_traffic(world, async |world: &World| {
        world.kubectl().delete(&plugin.to_string()).await?;
        for (_, agent) in world.mesh().agents() {
            agent.wait_for_no_extension().await?;
        }
        Ok(())
    })
    .await?;
    println!("{requests} requests during the deletion");
    world.uninstall().await?;
    world.assert_untraced().await
}

/// Sends requests, four at a time, from before `change` until a second after it; all must be answered with 200.
async fn under_traffic(world: &World, change: impl AsyncFnOnce(&World) -> Result<()>) -> Result<usize> {
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = async || -> Result<()> {
        let client = world.mesh().client();
        while !over.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let reply = client.get(world.mesh().host(), &format!("/checkout/{number}"), &[]).await?;
            assert_eq!(reply.status, 200, "request {number}: {}", reply.text());
        }
        Ok(())
    };
    let changed = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let outcome = change(world).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        over.store(true, Ordering::Relaxed);
        outcome
    };
    let (one, two, three, four, changed) = tokio::join!(client(), client(), client(), client(), changed);
    changed?;
    [one, two, three, four].into_iter().collect::<Result<()>>()?;
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 50, "{sent}");
    Ok(sent)
}

fn tail(log: &str) -> anyhow::Error {
    let lines: Vec<_> = log.lines().rev().take(10).collect();
    anyhow::anyhow!("the log ends with {lines:#?}")
}
