//! What a configuration says about requests: resolved once, shared by all streams and all workers.

use crate::config::{Config, Direction};
use crate::sampling::budgets::Budgets;
use crate::sampling::rules::{Policy, Sampler, Workload};
use crate::span::{Environment, Identity, SpanBuilder};

/// Everything that does not depend on a request.
pub struct Plan {
    config: Config,
    identity: Identity,
    span_builder: SpanBuilder,
    sampler: Sampler,
    /// The only part of a plan that changes. Where workers share a plan, they share its caps.
    budgets: Budgets,
}

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
        Self { config, identity, span_builder, sampler, budgets }
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

    /// What is left of the caps.
    pub(super) fn budgets(&self) -> &Budgets {
        &self.budgets
    }
}
