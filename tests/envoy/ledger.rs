//! The account of all spans, read from Envoy's statistics: kept = exported + dropped by reason + queued.

use anyhow::ensure;
use sidespan_harness::{Envoy, Result, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

/// The filter's counters and gauges, all workers and roots together, without their common prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<String, u64>);

// === impl Ledger ===

impl Ledger {
    /// As Envoy shows it now. Roots report on their ticks, so that the last events may be missing.
    pub async fn read(envoy: &Envoy) -> Result<Self> {
        let stats = envoy.stats().await?;
        let ours = stats.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("wasmcustom.sidespan_")?;
            Some((name.strip_suffix("_total").unwrap_or(name).to_owned(), value))
        });
        Ok(Self(ours.collect()))
    }

    /// As [`Self::read`], and an error if anything moved meanwhile: a worker hands its counters over one by one, and Envoy shows
    /// them one by one.
    async fn read_twice(envoy: &Envoy) -> Result<Self> {
        let first = Self::read(envoy).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let second = Self::read(envoy).await?;
        ensure!(first == second, "counters are being handed over");
        Ok(second)
    }

    /// Waits until `kept` spans were handed to exporters since `before` and every one of them has left the queue; what happened
    /// since.
    pub async fn settled(envoy: &Envoy, before: &Self, kept: u64, timeout: Duration) -> Result<Self> {
        let probe = async || {
            let since = Self::read_twice(envoy).await?.since(before);
            let settled = since.get("spans_kept") == kept && since.queued() == 0 && since.get("calls_under_way") == 0;
            ensure!(settled && since.balances(), "{kept} spans should be kept and settled: {:?}", since.0);
            Ok(since)
        };
        eventually("every span is accounted for", timeout, probe).await
    }

    /// A counter or gauge, such as `spans_kept`; 0 if it was never touched.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.starts_with("dropped_")).map(|(_, count)| count).sum()
    }

    /// Waiting or under way.
    pub fn queued(&self) -> u64 {
        self.get("queue_spans")
    }

    /// Whether the sum holds.
    pub fn balances(&self) -> bool {
        self.get("spans_kept") == self.get("spans_exported") + self.dropped() + self.queued()
    }

    /// What was counted since `before`; gauges as they are.
    pub fn since(&self, before: &Self) -> Self {
        let gauges = ["queue_bytes", "queue_spans", "calls_under_way"];
        let change =
            |name: &String, value: u64| if gauges.contains(&&**name) { value } else { value - before.get(name) };
        Self(self.0.iter().map(|(name, value)| (name.clone(), change(name, *value))).collect())
    }
}

/// Waits until `kept` spans were handed to exporters in all and the sum holds, whatever is queued.
pub async fn balanced(envoy: &Envoy, kept: u64, timeout: Duration) -> Result<Ledger> {
    let probe = async || {
        let ledger = Ledger::read_twice(envoy).await?;
        ensure!(ledger.balances() && ledger.get("spans_kept") == kept, "{kept} spans should be kept: {ledger:?}");
        Ok(ledger)
    };
    eventually("the account balances", timeout, probe).await
}

/// Lines of Envoy's log that the exporter wrote, without time and place.
pub fn exporter_lines(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| line.split_once("exporter, cluster ")).map(|(_, text)| text.to_owned()).collect()
}
