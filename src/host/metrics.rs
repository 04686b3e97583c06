//! Counters and gauges of the table in `export/stats.rs`, handed to Envoy on ticks.

use super::abi::{self, MetricKind};
use crate::export::stats::Stats;

/// Metric ids by their place in the table, defined when first used.
#[derive(Default)]
pub struct Metrics {
    ids: Vec<Option<u32>>,
}

impl Metrics {
    /// Hands over what has changed since the last time. Never called from `on_configure`, which Envoy also runs in a canary.
    pub fn flush(&mut self, stats: &mut Stats) {
        stats.drain(|index, metric, value| {
            if let Some(id) = self.id(index, metric) {
                let _ = match metric.kind {
                    crate::export::stats::Kind::Counter => abi::increment_metric(id, value),
                    crate::export::stats::Kind::Gauge => abi::increment_metric(id, value),
                };
            }
        });
    }
}
