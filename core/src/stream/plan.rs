//! What a configuration says about requests: resolved once, shared by all streams and all workers.

use crate::config::{Config, Direction, NativeTracer};
use crate::propagation::Format;
use crate::sampling::budgets::Budgets;
use crate::sampling::rules::{Policy, Sampler, Workload};
use crate::span::{Environment, Identity, SpanBuilder};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Everything that does not depend on a request.
pub struct Plan {
    config: Config,
    identity: Identity,
    span_builder: SpanBuilder,
    sampler: Sampler,
    /// Changes with the traffic. Where workers share a plan, they share its caps.
    budgets: Budgets,
    /// The place in [`NATIVE_FORMATS`] of what Envoy's own tracer wrote last; one behind them until it is known.
    native_format: AtomicU8,
}

/// What Envoy's own tracers write.
const NATIVE_FORMATS: [Format; 3] = [Format::TraceContext, Format::B3Multi, Format::B3Single];

/// Workers share a plan.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Plan>();
};

// === impl Plan ===

impl Plan {
    /// Resolves everything that does not depend on a request.
    pub fn new(config: Config, environment: &Environment, identity: Identity) -> Self {
        let workload = &identity.workload;
        let workload = Workload { namespace: &workload.namespace, name: &workload.name, labels: &workload.labels };
        let sampler = Sampler::new(&config.sampling, &workload);
        let span_builder = SpanBuilder::new(&config, environment);
        let budgets = Budgets::new(sampler.policies());
        Self { config, identity, span_builder, sampler, budgets, native_format: AtomicU8::new(u8::MAX) }
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The workload that this proxy serves.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What spans are made by.
    pub(super) fn span_builder(&self) -> &SpanBuilder {
        &self.span_builder
    }

    /// The sampling policies that can apply to this workload.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// The sampling policy of a number.
    pub(super) fn policy(&self, policy: usize) -> &Policy {
        self.sampler.get(policy)
    }

    /// The direction of a listener by its `xds.listener_direction` (1 inbound, 2 outbound, else unspecified). The listeners
    /// of a gateway or waypoint serve both sides whatever they say, and so does an Envoy that says nothing.
    pub fn direction(&self, listener: Option<i64>) -> Direction {
        match listener {
            _ if self.identity.gateway || self.identity.waypoint => Direction::Gateway,
            Some(1) => Direction::Inbound,
            Some(2) => Direction::Outbound,
            _ => Direction::Gateway,
        }
    }

    /// Whether Envoy's own tracer propagates, and this filter adopts its ids.
    pub(super) fn adopts(&self) -> bool {
        self.config.native_tracer == NativeTracer::Adopt
    }

    /// The format that Envoy's own tracer wrote last; `None` until a request has shown it.
    pub(super) fn native_format(&self) -> Option<Format> {
        NATIVE_FORMATS.get(usize::from(self.native_format.load(Relaxed))).copied()
    }

    /// Remembers what Envoy's own tracer writes.
    pub(super) fn learn_native_format(&self, format: Format) {
        let place = NATIVE_FORMATS.iter().position(|known| *known == format).and_then(|place| u8::try_from(place).ok());
        if let Some(place) = place {
            self.native_format.store(place, Relaxed);
        }
    }

    /// What is left of the caps.
    pub(super) fn budgets(&self) -> &Budgets {
        &self.budgets
    }
}
