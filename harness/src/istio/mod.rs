//! A real Istio on this machine, without a cluster: etcd, Kubernetes' API server, istiod, a registry, and for each workload one
//! `pilot-agent` with its Envoy.
//!
//! ```text
//! kubectl ──► kube-apiserver (etcd inside) ◄── istiod ──xDS, certificates──► pilot-agent ──► Envoy │ app
//!                                                                               │
//!                                              registry ◄──── module, by digest ┘
//! ```
//!
//! What a cluster has and this has not: kubelets, so no pods; the injector, so each agent is given the variables and arguments
//! that the injector's template would give it; iptables, so each proxy listens on loopback addresses of its own
//! (`captureMode: NONE` in its `Sidecar` resource) and applications are told where their outbound listener is; and Istio's
//! build of Envoy with filters of its own, so metadata exchange and the ALPN filter are off.

mod agent;
mod control;
mod kubectl;
mod mesh;
mod names;
mod registry;
mod resources;
mod sandbox;

pub use self::agent::{Agent, Role};
pub use self::control::{ControlPlane, MeshConfig};
pub use self::kubectl::{Kubectl, Outcome};
pub use self::mesh::{IstioMesh, IstioMeshBuilder};
pub use self::names::{COLLECTOR, GATEWAY, ROOT_NAMESPACE, SERVICE_PORT};
pub use self::registry::{Registry, push};
