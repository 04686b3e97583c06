//! The table of `export/stats.rs`, handed to Envoy on ticks.

use crate::abi::{self, MetricKind};
use sidespan_core::export::{Counter, Gauge, Histogram, Stats};

/// Metric ids by their place in the table; each is defined when first used.
#[derive(Default)]
pub struct Metrics {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
    histograms: Vec<Option<u32>>,
}

impl Metrics {
    /// Hands over what has changed. Never from `on_configure`, which Envoy runs in a canary too (trap 17).
    pub fn flush(&mut self, stats: &mut Stats) {
        for (counter, delta) in stats.take_counters() {
            if let Some(id) = id(&mut self.counters, counter as usize, MetricKind::Counter, counter) {
                report(abi::increment_metric(id, i64::try_from(delta).unwrap_or(i64::MAX)));
            }
        }
        for (gauge, delta) in stats.take_gauges() {
            if let Some(id) = id(&mut self.gauges, gauge as usize, MetricKind::Gauge, gauge) {
                report(abi::increment_metric(id, delta));
            }
        }
        for (histogram, value) in stats.take_samples() {
            if let Some(id) = id(&mut self.histograms, histogram as usize, MetricKind::Histogram, histogram) {
                report(abi::record_metric(id, value));
            }
        }
    }
}

trait Named: Copy {
    fn name(self) -> &'static str;
}

impl Named for Counter {
    fn name(self) -> &'static str {
        Counter::name(self)
    }
}

impl Named for Gauge {
    fn name(self) -> &'static str {
        Gauge::name(self)
    }
}

impl Named for Histogram {
    fn name(self) -> &'static str {
        Histogram::name(self)
    }
}

fn id(ids: &mut Vec<Option<u32>>, index: usize, kind: MetricKind, metric: impl Named) -> Option<u32> {
    if ids.len() <= index {
        ids.resize(index.saturating_add(1), None);
    }
    let slot = ids.get_mut(index)?;
    if slot.is_none() {
        *slot = abi::define_metric(kind, metric.name()).ok();
    }
    *slot
}

fn report(answer: abi::Answer<()>) {
    if let Err(failed) = answer {
        log::debug!("a metric was refused with status {}", failed.0);
    }
}
