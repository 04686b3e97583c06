//! What is around a `pluginConfig`: who hosts the filter, which variables it sees, which Envoy clusters there are.

use sidespan_core::config::Receiver;
use std::collections::{BTreeMap, BTreeSet};

/// What is known; nothing of it for a `pluginConfig` alone.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Istio makes the clusters.
    pub(super) in_istio: bool,
    /// Environment variables that are passed to the filter, and the key that passes them; `None` if unknown.
    pub(super) variables: Option<Variables>,
    /// All Envoy clusters, each with the port of its first endpoint; `None` if there may be others.
    pub(super) clusters: Option<BTreeMap<String, Option<u16>>>,
}

/// Environment variables that are passed to the filter.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) names: BTreeSet<String>,
    /// How to pass one more, with `{}` for its name.
    pub(super) how: &'static str,
}

impl Surroundings {
    /// The port of a receiver: as configured, from the name of Istio's cluster, from the cluster's endpoint, or the `usual` one
    /// of a service (0: none).
    pub(super) fn port(&self, receiver: &Receiver, usual: u16) -> Option<u16> {
        if receiver.port.is_some() {
            return receiver.port;
        }
        let Some(cluster) = &receiver.cluster else { return Some(usual).filter(|port| *port > 0) };
        let of_istio = || cluster.strip_prefix("outbound|")?.split('|').next()?.parse().ok();
        let of_endpoint = || *self.clusters.as_ref()?.get(cluster)?;
        of_istio().or_else(of_endpoint)
    }
}
