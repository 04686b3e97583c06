//! The listeners that a request of the demo passes.

/// Name of the gateway's workload.
pub(crate) const GATEWAY: &str = "istio-ingressgateway";

/// A listener that every request of the demo passes, unless somebody before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop(usize);

/// Service, listener, and what to call it, from the client inwards.
const HOPS: &[(&str, &str, &str)] = &[
    (GATEWAY, "gateway", "gateway"),
    ("frontend", "inbound", "frontend inbound"),
    ("frontend", "outbound", "frontend outbound"),
    ("backend", "inbound", "backend inbound"),
    ("backend", "outbound", "backend outbound"),
    ("database", "inbound", "database inbound"),
];

// === impl Hop ===

impl Hop {
    /// From the client inwards.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..HOPS.len()).map(Self)
    }

    /// The service whose Envoy it belongs to.
    pub(crate) fn service(self) -> &'static str {
        HOPS[self.0].0
    }

    /// The file of its access log.
    pub(crate) fn access_log(self) -> String {
        format!("{}.log", HOPS[self.0].1)
    }

    /// What to call it.
    pub(crate) fn label(self) -> &'static str {
        HOPS[self.0].2
    }

    /// Whether requests from outside come here first.
    pub(crate) fn is_first(self) -> bool {
        self.0 == 0
    }

    /// Whether it leads to an application rather than to another hop.
    pub(crate) fn is_inbound(self) -> bool {
        HOPS[self.0].1 == "inbound"
    }
}
