//! What a configuration says about requests: resolved once, shared by all streams and all workers.

use crate::config::{Config, Direction};
use crate::sampling::Cap;
use crate::sampling::rules::{Policy, Sampler, Workload};
use crate::sampling::threshold::Threshold;
use crate::span::{Environment, Identity, SpanBuilder};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Everything that does not depend on a request.
pub struct Plan {
    config: Config,
    identity: Identity,
    span_builder: SpanBuilder,
    sampler: Sampler,
    last_tau: Vec<LastTau>,
}

/// τ of the two caps of one policy in their last window. The only part of a plan that changes: the pipeline writes it, and
/// streams of any worker read it. [`NO_TAU`] while a cap has removed nothing.
struct LastTau {
    errors: AtomicU64,
    slow: AtomicU64,
}

/// Not a threshold: those are below 2^56.
const NO_TAU: u64 = u64::MAX;

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
        let last_tau = sampler.policies().map(|_| LastTau::none()).collect();
        Self { config, identity, span_builder, sampler, last_tau }
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

    /// τ of a policy's cap in its last window: the least threshold that a signal or mark may promise.
    pub(super) fn last_tau(&self, policy: usize, cap: Cap) -> Option<Threshold> {
        self.last_tau.get(policy).and_then(|caps| Threshold::new(caps.of(cap).load(Relaxed)))
    }

    /// A window of a policy's cap has ended with this τ.
    pub(crate) fn set_last_tau(&self, policy: usize, cap: Cap, tau: Option<Threshold>) {
        if let Some(caps) = self.last_tau.get(policy) {
            caps.of(cap).store(tau.map_or(NO_TAU, Threshold::value), Relaxed);
        }
    }
}

// === impl LastTau ===

impl LastTau {
    fn none() -> Self {
        Self { errors: AtomicU64::new(NO_TAU), slow: AtomicU64::new(NO_TAU) }
    }

    fn of(&self, cap: Cap) -> &AtomicU64 {
        match cap {
            Cap::Errors => &self.errors,
            Cap::Slow => &self.slow,
        }
    }
}
