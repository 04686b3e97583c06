//! The filter in a world of our own: a native test binary that is the proxy-wasm host.
//!
//! [`symbols`] defines the `proxy_*` functions that `src/abi.rs` and the SDK import, [`engine`] answers them as Envoy
//! does, and [`world`] with [`contexts`] drives the exported `proxy_on_*` functions as Envoy would. What is faked is Envoy; the
//! filter is the real one. So that nobody has to believe this world, [`selftest`] tries it with the SDK in the filter's place.
//!
//! Contexts are thread-local, the filter's as the SDK's, so **a thread is a VM**: each test has its own, tests run in parallel, and
//! [`mesh`] gives each worker of each sidecar a thread. Worlds that share a [`process::Process`] are workers of one Envoy:
//! they share shared data and metrics.

#![allow(unsafe_code, reason = "the other side of a C ABI")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong must fail loudly"
)]
#![allow(dead_code, reason = "the driver is a small library: not every test binary needs every part of it")]

mod attributes;
mod cel;
mod collector;
mod contexts;
mod engine;
mod headers;
mod mesh;
mod native;
mod process;
mod symbols;
mod world;

mod selftest;

// A file of the filter that makes no host call, here with its own tests: the library cannot be linked without a host.
#[path = "../../src/batch_read.rs"]
mod batch_read;
mod pairs;

mod adopt;
mod cap;
mod cost;
mod faults;
mod lifecycle;
mod passed_on;
mod replies;
mod reserved_names;
mod traffic;
mod whole_path;

/// What `_initialize` does in the module.
fn start_filter() {
    sidespan::start();
}
