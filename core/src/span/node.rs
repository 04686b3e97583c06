//! Envoy's node (`xds.node`), read leaf by leaf: a map with one value that Envoy cannot serialise cannot be read as a whole.

use super::attributes::Attributes;
use super::redact::safe_text;

/// Longest value that is taken from the node, in bytes.
const MAX_VALUE: usize = 1024;

/// The leaves of the node. Absent and empty ones are `None`.
pub(super) struct Node<'a>(pub(super) &'a dyn Attributes);

// === impl Node ===

impl Node<'_> {
    #[inline(never)]
    pub(super) fn leaf(&self, segments: &[&str]) -> Option<String> {
        let path = format!("xds\0node\0{}", segments.join("\0"));
        let value = self.0.get(path.as_bytes())?;
        (!value.is_empty()).then(|| safe_text(&value, MAX_VALUE))
    }

    #[inline(never)]
    pub(super) fn metadata(&self, key: &str) -> Option<String> {
        self.leaf(&["metadata", key])
    }

    #[inline(never)]
    pub(super) fn label(&self, key: &str) -> Option<String> {
        self.leaf(&["metadata", "LABELS", key])
    }

    #[inline(never)]
    pub(super) fn annotation(&self, attribute: &str) -> Option<String> {
        self.leaf(&["metadata", "ANNOTATIONS", &format!("resource.opentelemetry.io/{attribute}")])
    }

    /// The first of the pod's application containers.
    pub(super) fn container(&self) -> Option<String> {
        let all = self.metadata("APP_CONTAINERS")?;
        all.split(',').next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
    }
}
