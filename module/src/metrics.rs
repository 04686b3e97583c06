//! The metrics of the core, by one number each, and what is not reported yet.
//!
//! A configuration defines all of them when it is read; afterwards Envoy admits no new ones. Where Envoy can change a metric only
//! during a request (1.38), changes wait here until a request ends.

use crate::abi::optional::{self, ConfigMetrics};
use crate::abi::{Buffer, ConfigPtr, FilterPtr, METRIC_OK, imports};
use crossbeam_queue::ArrayQueue;
use sidespan_core::export::{Counter, Gauge, Histogram, MetricKind};
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// Histogram values that wait for a request; more are lost. There are two for each export call.
const MAX_SAMPLES: usize = 256;

/// Name and kind, by number.
static TABLE: LazyLock<Vec<(MetricKind, &str)>> = LazyLock::new(|| {
    let counters = Counter::ALL.iter().map(|counter| counter.name());
    let gauges = Gauge::ALL.iter().map(|gauge| gauge.name());
    let histograms = Histogram::ALL.iter().map(|histogram| histogram.name());
    counters
        .map(|name| (MetricKind::Counter, name))
        .chain(gauges.map(|name| (MetricKind::Gauge, name)))
        .chain(histograms.map(|name| (MetricKind::Histogram, name)))
        .collect()
});

/// Envoy's numbers of all metrics in one configuration; `None` where Envoy refused one.
pub(crate) struct Defined(Vec<Option<usize>>);

/// Changes that wait for a request, by number.
struct Waiting {
    any: AtomicBool,
    changes: Vec<AtomicI64>,
    samples: ArrayQueue<(usize, u64)>,
}

static WAITING: LazyLock<Waiting> = LazyLock::new(|| Waiting {
    any: AtomicBool::new(false),
    changes: TABLE.iter().map(|_| AtomicI64::new(0)).collect(),
    samples: ArrayQueue::new(MAX_SAMPLES),
});

/// The number of a metric.
pub(crate) fn number(kind: MetricKind, name: &str) -> Option<u32> {
    let place = TABLE.iter().position(|known| *known == (kind, name))?;
    u32::try_from(place).ok()
}

// === impl Defined ===

impl Defined {
    /// Defines all metrics, while `config` is read.
    pub(crate) fn new(config: ConfigPtr) -> Self {
        Self(TABLE.iter().map(|(kind, name)| define(config, *kind, name)).collect())
    }

    /// Changes a metric on the main thread. `config` is the configuration that defined it.
    pub(crate) fn change(&self, config: ConfigPtr, number: u32, by: i64) {
        let Some((place, kind)) = entry(number) else { return };
        match optional::config_metrics() {
            Some(functions) => self.change_now(config, functions, (place, kind), by),
            None => {
                if let Some(waiting) = WAITING.changes.get(place) {
                    waiting.fetch_add(by, Relaxed);
                    WAITING.any.store(true, Relaxed);
                }
            }
        }
    }

    /// Adds a value to a distribution, on the main thread.
    pub(crate) fn record(&self, config: ConfigPtr, number: u32, value: u64) {
        let Some((place, _)) = entry(number) else { return };
        match (optional::config_metrics(), self.id(place)) {
            (Some(functions), Some(id)) => {
                // SAFETY: `config` is alive on its main thread, has defined `id`, and there are no labels.
                check(unsafe { (functions.record_histogram)(config, id, ptr::null_mut(), 0, value) });
            }
            (None, _) => {
                if WAITING.samples.push((place, value)).is_ok() {
                    WAITING.any.store(true, Relaxed);
                }
            }
            (Some(_), None) => {}
        }
    }

    fn change_now(&self, config: ConfigPtr, functions: ConfigMetrics, (place, kind): (usize, MetricKind), by: i64) {
        let Some(id) = self.id(place) else { return };
        let change = match (kind, by < 0) {
            (MetricKind::Gauge, true) => functions.decrement_gauge,
            (MetricKind::Gauge, false) => functions.increment_gauge,
            _ => functions.increment_counter,
        };
        // SAFETY: `config` is alive on its main thread, has defined `id` as this kind, and there are no labels.
        check(unsafe { change(config, id, ptr::null_mut(), 0, by.unsigned_abs()) });
    }

    /// Reports what waits, in a hook of a request of the configuration that defined these metrics.
    pub(crate) fn report_waiting(&self, filter: FilterPtr) {
        if !WAITING.any.load(Relaxed) || !WAITING.any.swap(false, Relaxed) {
            return;
        }
        for (place, change) in WAITING.changes.iter().enumerate() {
            let by = change.swap(0, Relaxed);
            let (Some(id), Some((kind, _))) = (self.id(place).filter(|_| by != 0), TABLE.get(place)) else { continue };
            let (labels, value) = (ptr::null_mut(), by.unsigned_abs());
            // SAFETY: `filter` is that of the hook that runs, its configuration has defined `id` as this kind, and there are no
            // labels.
            check(unsafe {
                match (kind, by < 0) {
                    (MetricKind::Gauge, true) => imports::filter_decrement_gauge(filter, id, labels, 0, value),
                    (MetricKind::Gauge, false) => imports::filter_increment_gauge(filter, id, labels, 0, value),
                    _ => imports::filter_increment_counter(filter, id, labels, 0, value),
                }
            });
        }
        while let Some((place, value)) = WAITING.samples.pop() {
            if let Some(id) = self.id(place) {
                // SAFETY: as above.
                check(unsafe { imports::filter_record_histogram(filter, id, ptr::null_mut(), 0, value) });
            }
        }
    }

    fn id(&self, place: usize) -> Option<usize> {
        self.0.get(place).copied().flatten()
    }
}

fn entry(number: u32) -> Option<(usize, MetricKind)> {
    let place = usize::try_from(number).ok()?;
    TABLE.get(place).map(|(kind, _)| (place, *kind))
}

fn define(config: ConfigPtr, kind: MetricKind, name: &str) -> Option<usize> {
    let (name, labels, mut id) = (Buffer::of(name.as_bytes()), ptr::null_mut(), 0);
    // SAFETY: Envoy reads `config` at this moment, the name lives until the call returns, there are no labels, `id` is one
    // number.
    let result = unsafe {
        match kind {
            MetricKind::Counter => imports::config_define_counter(config, name, labels, 0, &mut id),
            MetricKind::Gauge => imports::config_define_gauge(config, name, labels, 0, &mut id),
            MetricKind::Histogram => imports::config_define_histogram(config, name, labels, 0, &mut id),
        }
    };
    check(result).then_some(id)
}

fn check(result: u32) -> bool {
    if result != METRIC_OK {
        log::debug!("a metric was refused with result {result}");
    }
    result == METRIC_OK
}
