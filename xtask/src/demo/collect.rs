//! Waits until all effects of the traffic have arrived, and collects the observations.

use super::account::{Observations, SpanBalance};
use super::source::Source;
use anyhow::{Result, anyhow};
use sidespan_harness::eventually;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait. Batches normally leave within two seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two reads of the metrics, since each read is work for four Envoys.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Collects the observations of `requests` requests as soon as access logs, metrics and receiver agree. After 30 seconds it
/// returns what there is, with the first pair of counts that differ.
///
/// # Errors
/// If metrics or access logs cannot be read.
pub(super) async fn when_complete(source: &impl Source, requests: usize) -> Result<(Observations, Option<String>)> {
    let settled = eventually("no request or span is pending", TIMEOUT, async || {
        tokio::time::sleep(POLL_INTERVAL).await;
        let observations = collect(source, requests).await?;
        pending(&observations).map_or(Ok(observations), |what| Err(anyhow!(what)))
    })
    .await;
    match settled {
        Ok(observations) => Ok((observations, None)),
        Err(error) => Ok((collect(source, requests).await?, Some(format!("{error:#}")))),
    }
}

async fn collect(source: &impl Source, requests: usize) -> Result<Observations> {
    // Metrics are read first: what they count is in the logs and at the receiver already.
    let metrics = source.metrics().await?;
    let entries = source.entries()?;
    let exports = source.receiver().exports();
    Ok(Observations {
        requests,
        entries,
        spans: source.receiver().spans(),
        calls: exports.len(),
        bytes: exports.iter().map(|export| export.wire_bytes).sum(),
        metrics,
    })
}

/// The first pair of counts that differ, so something is still pending; `None` if all sources agree.
fn pending(observations: &Observations) -> Option<String> {
    let get = |name: &str| observations.metrics.get(name).copied().unwrap_or_default();
    let at_gateway = observations.entries.iter().filter(|entry| entry.hop.is_first()).count();
    let ignored = get("sidespan_requests_ignored_total");
    let seen = sum(&observations.metrics, "sidespan_requests_", "_total").saturating_sub(ignored);
    let balance = SpanBalance::of(&observations.metrics);
    let pairs = [
        ("requests at the gateway", observations.requests as u64, at_gateway as u64),
        ("requests in access logs and counted by the filter", observations.entries.len() as u64, seen),
        ("spans created and kept", get("sidespan_spans_created_total"), balance.kept),
        ("spans waiting in a queue", 0, balance.queued),
        ("spans exported and received", balance.exported, observations.spans.len() as u64),
    ];
    pairs.iter().find(|(_, one, other)| one != other).map(|(what, one, other)| format!("{what}: {one} and {other}"))
}

fn sum(metrics: &BTreeMap<String, u64>, prefix: &str, suffix: &str) -> u64 {
    let matching = |name: &str| name.starts_with(prefix) && name.ends_with(suffix);
    metrics.iter().filter(|(name, _)| matching(name)).map(|(_, value)| value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::entries_of;

    #[test]
    fn everything_has_arrived_when_all_sources_agree() {
        let metrics = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let mut observations = Observations {
            requests: 1,
            entries: entries_of("a", &[200; 6], false),
            spans: Vec::new(),
            calls: 0,
            bytes: 0,
            metrics: metrics(&[("sidespan_requests_gateway_total", 1), ("sidespan_requests_inbound_total", 3)]),
        };
        assert!(
            pending(&observations).is_some_and(|what| what.contains("6 and 4")),
            "the metrics do not count all requests yet"
        );
        observations.metrics.insert("sidespan_requests_outbound_total".to_owned(), 2);
        assert_eq!(pending(&observations), None);
        observations.metrics.insert("sidespan_requests_ignored_total".to_owned(), 2);
        assert_eq!(pending(&observations), None, "ignored requests are also counted as seen");
        observations.metrics.insert("sidespan_spans_created_total".to_owned(), 1);
        assert!(pending(&observations).is_some_and(|what| what.contains("created")));
        observations.metrics.insert("sidespan_spans_kept_total".to_owned(), 1);
        observations.metrics.insert("sidespan_queue_spans".to_owned(), 1);
        assert!(pending(&observations).is_some_and(|what| what.contains("queue")));
    }
}
