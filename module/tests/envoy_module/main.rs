//! The dynamic module in real Envoys: what is particular to it. What both shells do alike is in `tests/envoy/`.
//!
//! `cargo xtask build` makes the library; the versions of Envoy that are tested beside `ENVOY_BIN` are provided like any other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong must fail loudly"
)]

mod configurations;
mod faults;
mod ledger;
mod native;
mod path;
mod reload;
mod stage;
mod versions;
