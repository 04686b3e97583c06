//! The tables of [`crate::export::stats`], reported to the host.

use super::host::TracerHost;
use crate::export::{Counter, Gauge, Histogram, MetricKind, Stats};

/// Numbers of the host for metrics, by their place in the table. Each metric is defined when it is first reported.
#[derive(Default)]
pub(super) struct Metrics {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
    histograms: Vec<Option<u32>>,
}

impl Metrics {
    /// Reports what has changed. Never while a configuration is read: Envoy also reads it in a VM that it throws away.
    pub(super) fn report(&mut self, stats: &mut Stats, host: &dyn TracerHost) {
        for (counter, by) in stats.take_counters() {
            let define = || host.define_metric(MetricKind::Counter, Counter::name(counter));
            if let Some(id) = id(&mut self.counters, counter as usize, define) {
                host.increment_metric(id, i64::try_from(by).unwrap_or(i64::MAX));
            }
        }
        for (gauge, by) in stats.take_gauges() {
            let define = || host.define_metric(MetricKind::Gauge, Gauge::name(gauge));
            if let Some(id) = id(&mut self.gauges, gauge as usize, define) {
                host.increment_metric(id, by);
            }
        }
        for (histogram, value) in stats.take_samples() {
            let define = || host.define_metric(MetricKind::Histogram, Histogram::name(histogram));
            if let Some(id) = id(&mut self.histograms, histogram as usize, define) {
                host.record_metric(id, value);
            }
        }
    }
}

fn id(ids: &mut Vec<Option<u32>>, index: usize, define: impl FnOnce() -> Option<u32>) -> Option<u32> {
    if ids.len() <= index {
        ids.resize(index.saturating_add(1), None);
    }
    let slot = ids.get_mut(index)?;
    if slot.is_none() {
        *slot = define();
    }
    *slot
}
