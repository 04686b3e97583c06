//! Nobody takes the spans: the cluster is missing, has no endpoint, or refuses. Traffic must not notice.

use crate::hostile::resident_kib;
use crate::stage::{SOON, Stage, config, filter};
use anyhow::ensure;
use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener};
use sidespan_harness::client::fire;
use sidespan_harness::{Envoy, Result, Upstream, eventually};
use std::collections::BTreeMap;

const QUEUE: u64 = 256 * 1024;
const LISTENERS: &[(&str, &str)] = &[
    ("missing", "sidespan_calls_unknown_cluster_total"),
    ("empty", "sidespan_calls_no_host_total"),
    ("refusing", "sidespan_calls_refused_total"),
];

async fn counters(envoy: &Envoy) -> Result<BTreeMap<String, u64>> {
    let ours = |(name, value): (String, u64)| Some((name.strip_prefix("wasmcustom.")?.to_owned(), value));
    Ok(envoy.stats().await?.into_iter().filter_map(ours).collect())
}

#[tokio::test]
async fn without_a_collector_traffic_is_untouched_and_nothing_grows() -> Result<()> {
    let mut filters = Vec::new();
    for (name, _) in LISTENERS {
        let exporter = json!({"otlp": {"cluster": name}, "queue": {"maxBytes": "256KiB"}, "retry": {"initial": "100ms", "max": "200ms"}});
        filters.push((*name, filter(&config(json!({ "exporter": exporter })))?.named(&format!("test.{name}"))));
    }
    let gone = sidespan_harness::Receiver::start().await?;
    gone.refuse().await?;
    let port = gone.port();
    let add = |bootstrap: Bootstrap| {
        let bootstrap = bootstrap.cluster(Cluster::without_endpoints("empty")).cluster(Cluster::new("refusing", port));
        filters.iter().fold(bootstrap, |bootstrap, (name, filter)| {
            bootstrap.listener(Listener::inbound("app").named(name).filter(filter.clone()))
        })
    };
    let mut stage = Stage::with(Upstream::ok().await?, &config(json!({})), add).await?;
    let load = async |n: usize| {
        for (name, _) in LISTENERS {
            let client = stage.client(name)?;
            let path = format!("/{}", "p".repeat(200));
            let replies = fire(n, 4, |_| client.get("backend", &path, &[])).await;
            for reply in replies {
                let reply = reply?;
                ensure!((reply.status.as_u16(), reply.text().as_str()) == (200, "ok"), "{name}: {reply:?}");
            }
            let received = stage.app.take();
            ensure!(received.len() == n && received.iter().all(|request| request.header("traceparent").is_some()));
        }
        resident_kib(&stage.envoy)
    };
    // The queues are full after the first round.
    let first = load(800).await?;
    let (second, third) = (load(800).await?, load(800).await?);
    println!("resident KiB after each round: {first} {second} {third}");
    assert!(third < second + 3 * 1024, "it grows: {first} {second} {third}");
    let total = 3 * 800 * LISTENERS.len() as u64;
    let account = eventually("every span is accounted for", SOON, async || {
        let found = counters(&stage.envoy).await?;
        let get = |name: &str| found.get(name).copied().unwrap_or_default();
        let dropped: u64 = found.iter().filter(|(name, _)| name.starts_with("sidespan_dropped_")).map(|(_, n)| n).sum();
        ensure!(get("sidespan_spans_kept_total") == total, "{found:?}");
        ensure!(dropped + get("sidespan_queue_spans") == total && dropped > 0, "{dropped} dropped: {found:?}");
        ensure!(get("sidespan_queue_bytes") <= QUEUE * LISTENERS.len() as u64, "{found:?}");
        for (name, reason) in LISTENERS {
            ensure!(get(reason) > 0, "{name} is not told by {reason}: {found:?}");
        }
        Ok(found)
    })
    .await?;
    assert_eq!(account.get("sidespan_spans_exported_total").copied().unwrap_or_default(), 0);
    // What still waits is delivered when the collector comes.
    gone.resume().await?;
    gone.wait_until(SOON, |spans| !spans.is_empty()).await?;
    stage.envoy.assert_no_trap();
    Ok(())
}
