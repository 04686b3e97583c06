//! A filter configuration of Envoy: one for each listener (and each update of it), whatever text it has.

use crate::abi::{ConfigPtr, imports};
use crate::metrics::Defined;
use crate::scheduler::Scheduler;
use crate::shared_tracer::SharedTracer;
use std::sync::Arc;

/// One configuration that Envoy holds.
pub(crate) struct FilterConfig {
    envoy: ConfigPtr,
    /// What it shares with all that have the same text.
    pub(crate) tracer: Arc<SharedTracer>,
    /// Envoy's numbers of metrics in it.
    pub(crate) metrics: Defined,
    /// The way to its hook on the main thread.
    pub(crate) scheduler: Scheduler,
}

// SAFETY: `envoy` is an address. It is given to Envoy in hooks of this configuration only, on the threads that Envoy allows.
unsafe impl Send for FilterConfig {}
// SAFETY: as above; all other fields may be shared.
unsafe impl Sync for FilterConfig {}

// === impl FilterConfig ===

impl FilterConfig {
    /// Of the hook that reads it.
    ///
    /// # Safety
    /// `envoy` must be what Envoy gave to that hook.
    pub(crate) unsafe fn new(envoy: ConfigPtr, tracer: Arc<SharedTracer>) -> Self {
        // SAFETY: Envoy reads this configuration at this moment.
        let scheduler = Scheduler::new(unsafe { imports::config_scheduler_new(envoy) });
        Self { envoy, tracer, metrics: Defined::new(envoy), scheduler }
    }

    pub(crate) fn envoy(&self) -> ConfigPtr {
        self.envoy
    }

    /// Tells it from others that are alive.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
