//! What Istio knows of a request, under the names that its native tracing uses.
//!
//! | attribute | source | when |
//! |---|---|---|
//! | `istio.canonical_service`, `_revision`, `istio.mesh_id`, `istio.namespace`, `istio.cluster_id` | the node | in Istio |
//! | `istio.source_principal`, `istio.destination_principal` | URI SAN of the mTLS peer | SERVER, CLIENT |
//! | `istio.source_workload`, `istio.source_namespace` | peer exchange | SERVER |
//! | `istio.destination_workload`, `istio.destination_namespace` | peer exchange | CLIENT |
//! | the nine of each side, [`FIELDS`] | peer exchange | waypoints |
//! | `istio.destination_service` | the cluster's name | CLIENT |
//! | `istio.authorization.dry_run.{allow,deny}_policy.{name,result}` | metadata of the RBAC filter | SERVER, policies in dry run |

use super::attributes::{Once, path};
use super::exchange::Exchange;
use super::limits::BoundedAttributes;
use super::model::Kind;

/// What Istio's tracing of waypoints shows of a peer: the tag's suffix and the field of its object.
pub(super) const FIELDS: [(&str, &str); 9] = [
    ("workload", "workload"),
    ("namespace", "namespace"),
    ("cluster_id", "cluster"),
    ("canonical_service", "service"),
    ("canonical_revision", "revision"),
    ("app", "app"),
    ("app_version", "version"),
    ("workload_type", "type"),
    ("instance_name", "name"),
];

/// Tags of policies in dry run, and the keys of the RBAC filter's metadata.
const DRY_RUN: [(&str, &str); 4] = [
    ("istio.authorization.dry_run.allow_policy.name", "istio_dry_run_allow_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.allow_policy.result", "istio_dry_run_allow_shadow_engine_result"),
    ("istio.authorization.dry_run.deny_policy.name", "istio_dry_run_deny_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.deny_policy.result", "istio_dry_run_deny_shadow_engine_result"),
];

/// One side of the exchange, as seen from this proxy.
struct Peer {
    tag: &'static str,
    object: &'static str,
    workload: &'static [u8],
    namespace: &'static [u8],
}

const SOURCE: Peer = Peer {
    tag: "istio.source",
    object: "downstream_peer_obj",
    workload: path::DOWNSTREAM_PEER_WORKLOAD,
    namespace: path::DOWNSTREAM_PEER_NAMESPACE,
};

const DESTINATION: Peer = Peer {
    tag: "istio.destination",
    object: "upstream_peer_obj",
    workload: path::UPSTREAM_PEER_WORKLOAD,
    namespace: path::UPSTREAM_PEER_NAMESPACE,
};

/// Adds the attributes of the table above.
pub(super) fn add<'a>(all: &mut BoundedAttributes, exchange: &Exchange<'a>, once: &mut Once<'a>) {
    match exchange.kind {
        Kind::Server => all.set_some("istio.source_principal", once.text(path::CONNECTION_URI_SAN_PEER)),
        Kind::Client => {
            let service = once.text(path::CLUSTER_NAME).as_deref().and_then(service_of);
            all.set_some("istio.destination_service", service);
            all.set_some("istio.destination_principal", once.text(path::UPSTREAM_URI_SAN_PEER));
        }
    }
    if !exchange.identity.istio {
        return;
    }
    if exchange.identity.waypoint {
        SOURCE.add_whole(all, exchange);
        DESTINATION.add_whole(all, exchange);
    } else {
        match exchange.kind {
            Kind::Server => SOURCE.add(all, exchange, once),
            Kind::Client => DESTINATION.add(all, exchange, once),
        }
    }
    if exchange.settings.istio_tags {
        exchange.identity.istio_tags.iter().for_each(|tag| all.set(tag.key.clone(), tag.value.clone()));
        if exchange.kind == Kind::Server {
            dry_run(all, exchange);
        }
    }
}

// === impl Peer ===

impl Peer {
    /// Workload and namespace, under the name that all proxies know; else under the newer one, at the price of one read.
    fn add<'a>(&self, all: &mut BoundedAttributes, exchange: &Exchange<'a>, once: &mut Once<'a>) {
        let (workload, namespace) = match once.text(self.workload) {
            Some(workload) => (Some(workload), once.text(self.namespace)),
            None => match self.field(exchange, "workload") {
                Some(workload) => (Some(workload), self.field(exchange, "namespace")),
                None => return,
            },
        };
        all.set_some(format!("{}_workload", self.tag), workload);
        all.set_some(format!("{}_namespace", self.tag), namespace);
    }

    /// All that Istio's own tracing of waypoints shows.
    fn add_whole(&self, all: &mut BoundedAttributes, exchange: &Exchange<'_>) {
        for (suffix, field) in FIELDS {
            all.set_some(format!("{}_{suffix}", self.tag), self.field(exchange, field));
        }
    }

    fn field(&self, exchange: &Exchange<'_>, field: &str) -> Option<String> {
        let path = format!("filter_state\0{}\0{field}", self.object);
        let value = exchange.attributes.get(path.as_bytes()).filter(|value| !value.is_empty())?;
        Some(exchange.text(&value))
    }
}

/// One read tells whether a policy is in dry run: a map of texts.
fn dry_run(all: &mut BoundedAttributes, exchange: &Exchange<'_>) {
    let Some(metadata) = exchange.attributes.get_map(path::RBAC_METADATA) else { return };
    for (tag, key) in DRY_RUN {
        let value = metadata.iter().find(|(name, _)| name == key.as_bytes());
        all.set_some(tag, value.map(|(_, value)| exchange.text(value)));
    }
}

/// `outbound|9080|v1|reviews.default.svc.cluster.local` → the service.
fn service_of(cluster: &str) -> Option<String> {
    let host = cluster.strip_prefix("outbound|")?.rsplit('|').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}
