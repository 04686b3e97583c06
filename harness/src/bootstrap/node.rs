//! Who the proxy is, as Istio's agent writes it into the bootstrap.

use crate::support::merge;
use serde_json::{Value, json};

/// The `node` of a bootstrap.
#[derive(Clone, Debug)]
pub struct Node {
    value: Value,
}

// === impl Node ===

impl Node {
    /// A sidecar of `workload` in `namespace`, with the metadata that Istio gives it.
    pub fn sidecar(workload: &str, namespace: &str) -> Self {
        Self::istio("sidecar", workload, namespace)
    }

    /// An ingress or egress gateway.
    pub fn gateway(workload: &str, namespace: &str) -> Self {
        Self::istio("router", workload, namespace)
    }

    /// An Envoy outside any mesh: an id and a cluster, no metadata.
    pub fn plain(id: &str, cluster: &str) -> Self {
        Self { value: json!({"id": id, "cluster": cluster}) }
    }

    /// Merges into `metadata`; a `null` removes.
    #[must_use]
    pub fn metadata(self, patch: Value) -> Self {
        self.with(json!({ "metadata": patch }))
    }

    /// Region and zone.
    #[must_use]
    pub fn locality(self, region: &str, zone: &str) -> Self {
        self.with(json!({"locality": {"region": region, "zone": zone}}))
    }

    /// Merges any JSON into the node.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.value, patch);
        self
    }

    /// The node as Envoy reads it.
    pub fn to_json(&self) -> Value {
        self.value.clone()
    }

    fn istio(kind: &str, workload: &str, namespace: &str) -> Self {
        let pod = format!("{workload}-0");
        Self {
            value: json!({
                "id": format!("{kind}~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local"),
                "cluster": format!("{workload}.{namespace}"),
                "locality": {"region": "eu-central-1", "zone": "eu-central-1a"},
                "metadata": {
                    "NAME": pod,
                    "NAMESPACE": namespace,
                    "WORKLOAD_NAME": workload,
                    "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}"),
                    "LABELS": {
                        "app": workload,
                        "version": "v1",
                        "service.istio.io/canonical-name": workload,
                        "service.istio.io/canonical-revision": "v1",
                    },
                    "ANNOTATIONS": {"kubernetes.io/config.source": "api"},
                    "CLUSTER_ID": "Kubernetes",
                    "MESH_ID": "cluster.local",
                    "ISTIO_VERSION": "1.31.0",
                    "SERVICE_ACCOUNT": workload,
                    "NODE_NAME": "node-1",
                    "INSTANCE_IPS": "10.0.0.1",
                    "APP_CONTAINERS": workload,
                    "PLATFORM_METADATA": {},
                    "INTERCEPTION_MODE": "REDIRECT",
                    "PROXY_CONFIG": {"discoveryAddress": "istiod.istio-system.svc:15012", "concurrency": 1},
                },
            }),
        }
    }
}
