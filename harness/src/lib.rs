//! Real Envoys, upstreams, clients and an OTLP receiver, for the tests against a real proxy and for the demo.
//!
//! ```text
//! client ──► Envoy (a process of its own) ──► upstream        one proxy: bootstrap, envoy, client, upstream
//!                 │ spans
//!                 └────────────────────────► receiver         decodes with `opentelemetry-proto`
//!
//! gateway ──► sidecar │ app ──► sidecar │ app ──► …           several: mesh; under a real control plane: istio
//! ```
//!
//! Nothing here knows the filter: a module is a path and a plugin configuration ([`bootstrap::Plugin`]). No port is chosen in
//! advance: servers of this process bind port 0 first, Envoy's listeners bind port 0 and tell their ports through the admin
//! interface. Every process and server ends when its value is dropped, also when a test panics.
//!
//! Errors are [`anyhow::Error`]s that say what was attempted and, for Envoy, end with its last log lines.

pub mod bootstrap;
pub mod client;
pub mod collector;
pub mod composition;
pub mod envoy;
pub mod grpc;
pub mod istio;
pub mod mesh;
pub mod oci;
pub mod prometheus;
pub mod provide;
pub mod receiver;
pub mod server;
pub mod span;
pub mod upstream;
pub mod usage;

mod directory;
mod network;
pub mod process;
mod support;

pub use self::collector::Collector;
pub use self::envoy::{Envoy, envoy_binary, envoy_version};
pub use self::prometheus::Prometheus;
pub use self::receiver::Receiver;
pub use self::span::ReceivedSpan;
pub use self::support::{eventually, merge, run};
pub use self::upstream::Upstream;

pub use anyhow::Result;
