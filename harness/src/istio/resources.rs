//! The Kubernetes objects of a workload that is a process on this machine.

use super::names::{COLLECTOR, GATEWAY, ROOT_NAMESPACE, SERVICE_PORT};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// A workload and where it listens.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Of the inbound listener; stands for the address of the pod.
    pub(super) inbound: Ipv4Addr,
    /// Of the outbound listeners, where iptables would redirect to.
    pub(super) outbound: Ipv4Addr,
    /// The port of the application on 127.0.0.1.
    pub(super) application: u16,
}

pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(super) fn service_account(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
}

/// The collector: plain OTLP over HTTP on a port of this machine.
pub(super) fn collector(receiver: u16) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "otel-collector", "namespace": ROOT_NAMESPACE},
        "spec": {
            "hosts": [COLLECTOR], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{"number": 4318, "name": "http-otlp", "protocol": "HTTP"}],
            "endpoints": [{"address": "127.0.0.1", "ports": {"http-otlp": receiver}}],
        },
    })
}

/// Mutual TLS between all workloads, plain text refused.
pub(super) fn strict_mtls() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": ROOT_NAMESPACE},
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}

/// The gateway sends everything to one service.
pub(super) fn gateway(address: Ipv4Addr, service: &str) -> [Value; 2] {
    let metadata = json!({"name": "everything", "namespace": ROOT_NAMESPACE});
    [
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata,
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [{
                    "port": {"number": SERVICE_PORT, "name": "http", "protocol": "HTTP"},
                    "bind": address.to_string(),
                    "hosts": ["*"],
                }],
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {
                "hosts": ["*"], "gateways": [format!("{ROOT_NAMESPACE}/everything")],
                "http": [{"route": [{"destination": {"host": service, "port": {"number": SERVICE_PORT}}}]}],
            },
        }),
    ]
}

/// Labels of a gateway's pod.
pub(super) fn gateway_labels() -> Value {
    let mut labels = pod_labels(GATEWAY);
    labels["istio"] = json!("ingressgateway");
    labels
}

/// What a deployment would say, and what the injector adds.
fn pod_labels(app: &str) -> Value {
    json!({
        "app": app,
        // examples/module/istio.yaml selects pods by it.
        "sidespan": "module",
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": app,
        "service.istio.io/canonical-revision": "latest",
    })
}

// === impl Workload ===

impl Workload {
    /// The host of its service.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// Labels of its pod.
    pub(super) fn labels(&self) -> Value {
        pod_labels(&self.name)
    }

    /// Account, service, endpoint, and where its proxy listens.
    pub(super) fn objects(&self) -> Vec<Value> {
        let metadata = json!({"name": self.name, "namespace": self.namespace});
        let selector = json!({"labels": {"app": self.name}});
        let port = json!({"number": SERVICE_PORT, "name": "http", "protocol": "HTTP"});
        let egress = |number: u16, hosts: Value| {
            json!({
                "port": {"number": number, "name": format!("http-{number}"), "protocol": "HTTP"},
                "bind": self.outbound.to_string(), "captureMode": "NONE", "hosts": hosts,
            })
        };
        vec![
            service_account(&self.name, &self.namespace),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata,
                "spec": {
                    "hosts": [self.host()], "location": "MESH_INTERNAL", "resolution": "STATIC", "ports": [port],
                    "workloadSelector": selector,
                },
            }),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": metadata,
                "spec": {
                    "address": self.inbound.to_string(), "serviceAccount": self.name,
                    "labels": self.labels(),
                },
            }),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata,
                "spec": {
                    "workloadSelector": selector,
                    "ingress": [{
                        "port": port, "bind": self.inbound.to_string(), "captureMode": "NONE",
                        "defaultEndpoint": format!("127.0.0.1:{}", self.application),
                    }],
                    // A listener shows only the clusters of its own port, the collector's too.
                    "egress": [
                        egress(SERVICE_PORT, json!(["*/*"])),
                        egress(4318, json!([format!("{ROOT_NAMESPACE}/*")])),
                    ],
                },
            }),
        ]
    }
}
