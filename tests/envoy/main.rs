//! The filter in a real Envoy, with real upstreams and a receiver that decodes what arrives with `opentelemetry-proto`.
//!
//! `cargo xtask test` builds the module and provides the Envoy; by hand: `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test envoy`.

mod contexts;
mod identity;
mod native;
mod outcomes;
mod request;
mod shape;
mod smoke;
mod spans;
mod stage;
