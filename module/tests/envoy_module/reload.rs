//! Configurations come and go under load: no request notices, and every span is exported or counted.

use crate::ledger::Ledger;
use crate::stage::{Stage, config, filter, newest};
use anyhow::ensure;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::Listener;
use sidespan_harness::client::Client;
use sidespan_harness::receiver::Reply;
use sidespan_harness::{Envoy, Result, Upstream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Updates while requests run.
const RELOADS: usize = 20;

/// A filter that is discovered from a file, so that it can be replaced.
fn discovered() -> Value {
    let source = json!({"path_config_source": {"path": "./ecds-sidespan.json"}, "resource_api_version": "V3"});
    let kind = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
    json!({"name": "sidespan", "config_discovery": {"config_source": source, "type_urls": [kind]}})
}

/// The discovery response with a configuration.
fn response(config: &Value) -> Result<Value> {
    let sidespan_harness::bootstrap::Filter::Raw(mut resource) = filter(config) else { anyhow::bail!("not raw") };
    resource["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    Ok(json!({"resources": [resource]}))
}

/// Moves a new file into place, and waits until Envoy has taken it.
async fn update(envoy: &Envoy, config: &Value) -> Result<()> {
    let taken = async || {
        let stats = envoy.stats().await?;
        let sum = |suffix: &str| -> u64 {
            let ours = |name: &str| name.starts_with("extension_config_discovery.") && name.ends_with(suffix);
            stats.iter().filter(|(name, _)| ours(name)).map(|(_, value)| value).sum()
        };
        Ok::<_, anyhow::Error>((sum(".update_success"), sum(".update_rejected") + sum(".update_failure")))
    };
    let before = taken().await?;
    let staged = envoy.directory().join("staged.json");
    std::fs::write(&staged, response(config)?.to_string())?;
    std::fs::rename(&staged, envoy.directory().join("ecds-sidespan.json"))?;
    sidespan_harness::eventually("Envoy takes the filter", Duration::from_secs(10), async || {
        let after = taken().await?;
        ensure!(after.1 == before.1, "refused");
        ensure!(after.0 > before.0, "not yet");
        Ok(())
    })
    .await
}

async fn load(client: Client, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Result<()> {
    while !stop.load(Relaxed) {
        let reply = client.get("backend", "/", &[]).await?;
        ensure!(reply.status == 200, "{}", reply.status);
        sent.fetch_add(1, Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_twenty_new_configurations_lose_no_span_uncounted() -> Result<()> {
    let with = |number: usize| config(json!({"customTags": {"n": {"literal": {"value": number.to_string()}}}}));
    // The answers are slow, so that calls are under way when their configuration ends.
    let slow = Reply::Accept.after(Duration::from_millis(150));
    let mut stage = Stage::with_files(
        &newest()?,
        Upstream::ok().await?,
        |bootstrap| bootstrap.concurrency(2).listener(Listener::inbound("app").filter(discovered())),
        &[("ecds-sidespan.json", response(&with(0))?)],
    )
    .await?;
    stage.receiver.answer_with(slow);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| Ok(tokio::spawn(load(stage.client("inbound")?, Arc::clone(&stop), Arc::clone(&sent)))))
        .collect::<Result<_>>()?;
    for number in 1..=RELOADS {
        update(&stage.envoy, &with(number)).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    stop.store(true, Relaxed);
    for client in clients {
        client.await??;
    }
    let sent = sent.load(Relaxed);
    let ledger = Ledger::settled(&stage.envoy, sent, Duration::from_secs(30)).await?;
    println!(
        "{sent} requests: {} exported, {} sent again, {} dropped",
        ledger.get("spans_exported"),
        ledger.get("spans_retried"),
        ledger.dropped()
    );
    assert_eq!(ledger.get("spans_exported"), sent, "nothing had to be dropped");
    assert!(ledger.get("spans_retried") > 0, "calls under way were cancelled, and their spans sent again");
    // Every configuration was in force for a while.
    let spans = stage.receiver.spans();
    for number in 0..=RELOADS {
        let tag = number.to_string();
        assert!(spans.iter().any(|span| span.text("n") == Some(&tag)), "no span of configuration {number}");
    }
    stage.envoy.assert_no_trap();
    let (status, _) = stage.envoy.quit().await?;
    assert!(status.success());
    Ok(())
}
