//! sidespan: an Envoy proxy-wasm filter that makes a sidecar a correct, cheap tracer.

pub mod config;
pub mod context;
pub mod export;
pub mod id;
pub mod otlp;
pub mod propagation;
pub mod sampling;
pub mod span;
