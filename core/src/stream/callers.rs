//! Which callers are told of a late keep. A gateway is a callee of the mesh too, but it also serves clients outside, who must
//! not see what the mesh says to itself.

use super::state::Stream;
use crate::config::{AnswerCallers, Direction};
use crate::span::attributes::{Attributes, path};

/// Whether the caller shows a certificate of this proxy's own trust domain: both certificates have a SPIFFE id (SPIFFE-ID,
/// section 2, `spiffe://<trust domain>/<path>`) with the same trust domain. Without mutual TLS it is not.
///
/// Reads one attribute, and a second one if the caller has such a certificate.
fn caller_is_in_mesh(attributes: &dyn Attributes) -> bool {
    let peer = attributes.get(path::CONNECTION_URI_SAN_PEER);
    let Some(domain) = peer.as_deref().and_then(trust_domain) else { return false };
    attributes.get(path::CONNECTION_URI_SAN_LOCAL).as_deref().and_then(trust_domain) == Some(domain)
}

/// The trust domain of a SPIFFE id, which has a path as well.
fn trust_domain(id: &[u8]) -> Option<&[u8]> {
    let rest = id.strip_prefix(b"spiffe://")?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    rest.get(..end).filter(|domain| !domain.is_empty())
}

// === impl Stream ===

impl Stream {
    /// Whether the caller may see a keep signal. Only a gateway asks the host, so call it when there is something to tell.
    pub(super) fn answers_caller(&self, attributes: &dyn Attributes) -> bool {
        if self.original.direction != Direction::Gateway || self.plan.identity().waypoint {
            return true;
        }
        match self.plan.config().propagation.answer_callers {
            AnswerCallers::Auto => caller_is_in_mesh(attributes),
            AnswerCallers::Always => true,
            AnswerCallers::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::attributes::Recorded;

    #[test]
    fn a_caller_is_in_the_mesh_if_both_certificates_are_of_one_trust_domain() {
        let (own, other) = ("spiffe://cluster.local/ns/a/sa/b", "spiffe://other.example/ns/a/sa/b");
        for (peer, local, expected) in [
            (Some(own), Some("spiffe://cluster.local/ns/istio-system/sa/gateway"), true),
            (Some(other), Some(own), false),
            (Some(own), None, false),
            (None, Some(own), false),
            (None, None, false),
            (Some("spiffe://cluster.locale/x"), Some(own), false),
            (Some("spiffe://cluster.local"), Some("spiffe://cluster.local"), false),
            (Some("spiffe:///x"), Some("spiffe:///y"), false),
            (Some("https://cluster.local/x"), Some("https://cluster.local/x"), false),
            (Some(""), Some(""), false),
        ] {
            let mut attributes = Recorded::default();
            peer.map(|peer| attributes.set(path::CONNECTION_URI_SAN_PEER, peer).values.len());
            local.map(|local| attributes.set(path::CONNECTION_URI_SAN_LOCAL, local).values.len());
            assert_eq!(caller_is_in_mesh(&attributes), expected, "{peer:?} {local:?}");
        }
    }
}
