//! The filter in a real Envoy, with real upstreams and a receiver that decodes what arrives with `opentelemetry-proto`.
//!
//! `cargo xtask test` builds the module and provides the Envoy; by hand: `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test envoy`.

mod absent;
mod dialects;
mod fate;
mod headers;
mod hostile;
mod links;
mod native;
mod smoke;
mod stage;
mod w3c_suite;
