//! Waits until everything that the traffic caused has arrived, and collects it.

use super::account::{Books, Evidence};
use super::hop::{Hop, Passage};
use super::stage::Stage;
use anyhow::{Result, anyhow};
use sidespan_harness::eventually;
use std::collections::BTreeMap;
use std::time::Duration;

/// Batches leave within a second or two, unless the configuration or the machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asking four Envoys for all their metrics is work for them too.
const PAUSE: Duration = Duration::from_millis(100);

/// The evidence of `requests` requests, once access logs, metrics and receiver agree that nothing is under way any more; else
/// what there is after half a minute, and what does not agree.
pub async fn evidence(stage: &Stage, requests: usize) -> Result<(Evidence, Option<String>)> {
    let settled = eventually("nothing is under way", PATIENCE, async || {
        tokio::time::sleep(PAUSE).await;
        let evidence = collect(stage, requests).await?;
        under_way(&evidence).map_or(Ok(evidence), |what| Err(anyhow!(what)))
    })
    .await;
    match settled {
        Ok(evidence) => Ok((evidence, None)),
        Err(error) => Ok((collect(stage, requests).await?, Some(format!("{error:#}")))),
    }
}

async fn collect(stage: &Stage, requests: usize) -> Result<Evidence> {
    // Metrics first: what they count must be in the logs and at the receiver already.
    let metrics = stage.metrics().await?;
    let mut passages = Vec::new();
    for hop in Hop::all() {
        let log = stage.envoy(hop)?.file(&hop.access_log());
        // A last line without its end is still being written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            passages.push(Passage::read(hop, line)?);
        }
    }
    let exports = stage.receiver.exports();
    Ok(Evidence {
        requests,
        passages,
        spans: stage.receiver.spans(),
        calls: exports.len(),
        bytes: exports.iter().map(|export| export.wire_bytes).sum(),
        metrics,
    })
}

/// What is still to come.
fn under_way(evidence: &Evidence) -> Option<String> {
    let get = |name: &str| evidence.metrics.get(name).copied().unwrap_or_default();
    let at_gateway = evidence.passages.iter().filter(|passage| passage.hop.is_first()).count();
    let ignored = get("sidespan_requests_ignored_total");
    let seen = sum(&evidence.metrics, "sidespan_requests_", "_total").saturating_sub(ignored);
    let books = Books::of(&evidence.metrics);
    let pairs = [
        ("requests at the gateway", evidence.requests as u64, at_gateway as u64),
        ("requests in access logs and counted by the filter", evidence.passages.len() as u64, seen),
        ("spans created and kept", get("sidespan_spans_created_total"), books.kept),
        ("spans waiting in a queue", 0, books.queued),
        ("spans exported and received", books.exported, evidence.spans.len() as u64),
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
    use crate::demo::samples::journey;

    #[test]
    fn everything_has_arrived_when_all_sources_agree() {
        let metrics = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let mut evidence = Evidence {
            requests: 1,
            passages: journey("a", &[200; 6], false),
            spans: Vec::new(),
            calls: 0,
            bytes: 0,
            metrics: metrics(&[("sidespan_requests_gateway_total", 1), ("sidespan_requests_inbound_total", 3)]),
        };
        assert!(under_way(&evidence).is_some_and(|what| what.contains("6 and 4")), "the filter has not told all yet");
        evidence.metrics.insert("sidespan_requests_outbound_total".to_owned(), 2);
        assert_eq!(under_way(&evidence), None);
        evidence.metrics.insert("sidespan_requests_ignored_total".to_owned(), 2);
        assert_eq!(under_way(&evidence), None, "those ignored are among those seen");
        evidence.metrics.insert("sidespan_spans_created_total".to_owned(), 1);
        assert!(under_way(&evidence).is_some_and(|what| what.contains("created")));
        evidence.metrics.insert("sidespan_spans_kept_total".to_owned(), 1);
        evidence.metrics.insert("sidespan_queue_spans".to_owned(), 1);
        assert!(under_way(&evidence).is_some_and(|what| what.contains("queue")));
    }
}
