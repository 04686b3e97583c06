//! Several services, each with a sidecar Envoy process of its own, and an ingress gateway in front.
//!
//! ```text
//! client ─► gateway Envoy ─► inbound │ app │ outbound ─► inbound │ app │ outbound ─► …
//!                            └── one Envoy process ──┘
//! ```
//!
//! As in Istio, a request to a service passes the caller's outbound listener (routed by `Host`) and the callee's inbound
//! listener. There is no redirection of packets: applications are told the port of their outbound listener.

pub(crate) mod app;
mod builder;
mod native_tracing;
mod plan;
mod running;
mod service;

pub use self::app::{Call, Exchange, Forwarding};
pub use self::builder::MeshBuilder;
pub use self::native_tracing::NativeTracing;
pub use self::plan::{ANSWER, Action, PLAN, Plan};
pub use self::running::Mesh;
pub use self::service::Service;
