//! The filter in a real Envoy, with real upstreams and a receiver that decodes what arrives with `opentelemetry-proto`.
//!
//! `cargo xtask test` builds the module and provides the Envoy; by hand: `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test envoy`.
//! The tests in `collector` also build an OpenTelemetry Collector, which needs Go; `-- --skip collector::` leaves them out.

mod collector;
mod export;
mod feedback;
mod ledger;
mod protocols;
mod smoke;
mod stage;
