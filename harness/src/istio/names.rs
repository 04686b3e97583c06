//! Names and ports that all parts agree on.

/// The namespace of istiod, the gateway and the collector; Istio's root namespace.
pub const ROOT_NAMESPACE: &str = "istio-system";

/// The host of the collector that the shipped manifests name.
pub const COLLECTOR: &str = "otel-collector.istio-system.svc.cluster.local";

/// The name of the gateway's workload.
pub const GATEWAY: &str = "istio-ingressgateway";

/// The port of every service, and of the gateway.
pub const SERVICE_PORT: u16 = 8080;
