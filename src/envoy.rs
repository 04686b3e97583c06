//! Envoy as the tracer sees it: timer, export calls, compression, metrics.

use crate::abi::{self, Failed};
use sidespan_core::export::{DispatchError, ExportCall, MetricKind};
use sidespan_core::http::headers::Header;
use sidespan_core::tracer::TracerHost;
use std::time::Duration;

/// The Envoy that has loaded this module.
pub(crate) struct Envoy;

impl TracerHost for Envoy {
    fn now_ns(&self) -> Option<u64> {
        abi::now_ns().ok()
    }

    fn set_tick_period(&self, period: Duration) -> bool {
        abi::set_tick_period(period).is_ok()
    }

    fn http_call(&self, call: &ExportCall) -> Result<u32, DispatchError> {
        let headers: Vec<_> = call.headers.iter().map(|(name, value)| Header::new(name, value)).collect();
        let timeout = Duration::from_millis(u64::from(call.timeout_ms));
        abi::http_call(&call.cluster, &headers, &call.body, timeout).map_err(|failed| match failed {
            Failed::BAD_ARGUMENT => DispatchError::UnknownCluster,
            Failed::INTERNAL_FAILURE => DispatchError::NoHealthyHost,
            Failed(status) => DispatchError::Other(status),
        })
    }

    fn compress(&self, plain: &[u8]) -> Option<Vec<u8>> {
        abi::foreign_function("compress", plain).ok()
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32> {
        let kind = match kind {
            MetricKind::Counter => abi::MetricKind::Counter,
            MetricKind::Gauge => abi::MetricKind::Gauge,
            MetricKind::Histogram => abi::MetricKind::Histogram,
        };
        abi::define_metric(kind, name).ok()
    }

    fn increment_metric(&self, id: u32, by: i64) {
        log_refusal(abi::increment_metric(id, by));
    }

    fn record_metric(&self, id: u32, value: u64) {
        log_refusal(abi::record_metric(id, value));
    }

    fn remembered(&self) -> Option<Vec<u8>> {
        abi::shared_data(&configured_key()).ok().map(|(value, _)| value)
    }

    fn remember(&self, value: &[u8]) {
        let _ = abi::set_shared_data(&configured_key(), value, 0);
    }

    fn drained(&self) {
        let _ = abi::done();
    }
}

fn log_refusal(answer: abi::Answer<()>) {
    if let Err(failed) = answer {
        log::debug!("a metric was refused with status {}", failed.0);
    }
}

/// In shared data, which outlives every VM of the plugin and is shared by all of them.
fn configured_key() -> Vec<u8> {
    let mut key = b"io.sidespan.configured.".to_vec();
    key.extend(abi::property(b"plugin_name").unwrap_or_default());
    key
}
