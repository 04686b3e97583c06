//! The filter in a real Envoy, with real upstreams and a receiver that decodes what arrives with `opentelemetry-proto`.
//!
//! `cargo xtask test` builds the module and provides the Envoy; by hand: `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test envoy`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong must fail loudly"
)]

mod absent;
mod beside;
mod beside_mesh;
mod beside_storm;
mod beside_variants;
mod cancelled;
mod cap;
mod collector;
mod contexts;
mod conventions;
mod dialects;
mod export;
mod fate;
mod feedback;
mod foreign_signals;
mod gateways;
mod headers;
mod hostile;
mod identity;
mod incident_page;
mod ledger;
mod links;
mod native;
mod native_tags;
mod outcomes;
mod paths;
mod protocols;
mod request;
mod rules;
mod secret_headers;
mod shape;
mod smoke;
mod spans;
mod spans_missing;
mod stage;
mod storm;
mod w3c_suite;
mod whole_path;
mod whole_path_siblings;
mod whole_path_streams;
mod whole_path_variants;

/// As `sidespan check` reads it.
#[allow(dead_code, reason = "lines of nodes are for messages")]
#[path = "../../cli/src/yaml/mod.rs"]
mod yaml;
