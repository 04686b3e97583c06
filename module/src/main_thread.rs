//! Envoy's main thread as a tracer sees it: export calls, compression, metrics.

use crate::abi::{Buffer, HeaderPair, call_result, imports};
use crate::filter_config::FilterConfig;
use crate::shared_tracer::SharedTracer;
use crate::{clock, metrics};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sidespan_core::export::{DispatchError, ExportCall, MetricKind};
use sidespan_core::tracer::TracerHost;
use std::io::Write;
use std::time::Duration;

/// A hook on the main thread, through the configuration that it was called for.
pub(crate) struct MainThread<'a> {
    /// Alive while the hook runs. It need not be a configuration of this tracer.
    pub(crate) config: &'a FilterConfig,
    pub(crate) tracer: &'a SharedTracer,
}

impl TracerHost for MainThread<'_> {
    fn now_ns(&self) -> Option<u64> {
        Some(clock::now_ns())
    }

    fn set_tick_period(&self, period: Duration) -> bool {
        self.tracer.set_period(period);
        true
    }

    fn http_call(&self, call: &ExportCall) -> Result<u32, DispatchError> {
        let length = call.body.len().to_string();
        let headers = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut headers: Vec<_> = headers
            .chain([("content-length", length.as_str())])
            .map(|(name, value)| HeaderPair { name: Buffer::of(name.as_bytes()), value: Buffer::of(value.as_bytes()) })
            .collect();
        let config = self.config.address();
        let token = self.tracer.calls.begin(config);
        let mut stream = 0;
        // SAFETY: the configuration is alive on its main thread; cluster, headers and body live until the call returns, and
        // Envoy copies them; `stream` is one number.
        let result = unsafe {
            imports::config_start_http_stream(
                self.config.envoy(),
                &mut stream,
                Buffer::of(call.cluster.as_bytes()),
                headers.as_mut_ptr(),
                headers.len(),
                Buffer::of(&call.body),
                true,
                u64::from(call.timeout_ms),
            )
        };
        if result == call_result::SUCCESS {
            self.tracer.calls.started(token, stream);
            return Ok(token);
        }
        self.tracer.calls.refused(token);
        Err(match result {
            call_result::CLUSTER_NOT_FOUND => DispatchError::UnknownCluster,
            call_result::CANNOT_CREATE_REQUEST => DispatchError::NoHealthyHost,
            other => DispatchError::Other(other),
        })
    }

    fn compress(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // The main thread also configures Envoy: the fastest level.
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
        encoder.write_all(plain).ok()?;
        encoder.finish().ok()
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32> {
        metrics::number(kind, name)
    }

    fn increment_metric(&self, id: u32, by: i64) {
        self.config.metrics.change(self.config.envoy(), id, by);
    }

    fn record_metric(&self, id: u32, value: u64) {
        self.config.metrics.record(self.config.envoy(), id, value);
    }

    fn remembered(&self) -> Option<Vec<u8>> {
        None
    }

    fn remember(&self, _: &[u8]) {}

    fn drained(&self) {
        self.tracer.set_drained();
    }
}
