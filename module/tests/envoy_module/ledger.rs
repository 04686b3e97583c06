//! The account of all spans, read from Envoy's statistics: kept = exported + dropped by reason + queued.

use anyhow::ensure;
use sidespan_harness::{Envoy, Result, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

/// The module's counters and gauges, without their common prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger(BTreeMap<String, u64>);

// === impl Ledger ===

impl Ledger {
    /// As Envoy shows it now. The main thread reports at its ticks, so that the last events may be missing.
    pub(crate) async fn read(envoy: &Envoy) -> Result<Self> {
        let ours = envoy.stats().await?.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("dynamicmodulescustom.sidespan_")?;
            Some((name.strip_suffix("_total").unwrap_or(name).to_owned(), value))
        });
        Ok(Self(ours.collect()))
    }

    /// Waits until `created` spans were made, and every one of them is exported or dropped.
    pub(crate) async fn settled(envoy: &Envoy, created: u64, timeout: Duration) -> Result<Self> {
        eventually("every span is accounted for", timeout, async || {
            let ledger = Self::read(envoy).await?;
            let open = ledger.get("queue_spans") + ledger.get("calls_under_way");
            let ended = ledger.get("spans_exported") + ledger.dropped();
            ensure!(
                ledger.get("spans_created") == created
                    && ledger.get("spans_kept") == created
                    && ended == created
                    && open == 0,
                "{created} spans should be created and settled: {:?}",
                ledger.0.iter().filter(|(_, value)| **value > 0).collect::<Vec<_>>()
            );
            Ok(ledger)
        })
        .await
    }

    /// A counter or gauge, such as `spans_kept`; 0 if it was never touched.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Dropped, for whatever reason.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.starts_with("dropped_")).map(|(_, count)| count).sum()
    }
}
