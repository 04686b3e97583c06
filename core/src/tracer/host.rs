//! What a configuration in force asks of the proxy, away from any request.

use crate::export::{DispatchError, ExportCall, MetricKind};
use std::time::Duration;

/// The proxy, as the owner of timer, export calls and metrics sees it. A host that is asked for something it cannot do says so
/// in its answer, or does nothing.
pub trait TracerHost {
    /// Nanoseconds since the Unix epoch; `None` if the host has no clock now.
    fn now_ns(&self) -> Option<u64>;
    /// Calls [`super::Tracer::tick`] each time this period has passed, from now on. False if there is no timer.
    fn set_tick_period(&self, period: Duration) -> bool;
    /// Sends a request to a cluster. The reply comes to [`super::Tracer::replied`] with the returned token.
    ///
    /// # Errors
    /// The call was not made, and no reply will come.
    fn http_call(&self, call: &ExportCall) -> Result<u32, DispatchError>;
    /// Compresses with zlib (RFC 1950); `None` if that failed.
    fn compress(&self, plain: &[u8]) -> Option<Vec<u8>>;
    /// The number of a metric of the proxy, which all workers share; `None` if the host refuses it.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32>;
    /// Adds to a counter or gauge. `by` is never zero.
    fn increment_metric(&self, id: u32, by: i64);
    /// Adds a value to a histogram.
    fn record_metric(&self, id: u32, value: u64);
    /// What [`Self::remember`] was given last; `None` if it was never called.
    fn remembered(&self) -> Option<Vec<u8>>;
    /// Remembers some bytes for all tracers of this plugin in this process, beyond the end of this tracer.
    fn remember(&self, value: &[u8]);
    /// The shutdown that [`super::Tracer::drain`] began is over.
    fn drained(&self);
}
