//! What the core costs, room by room and as a whole, without Envoy: `cargo bench -p sidespan --bench core`.
//!
//! Each benchmark asserts once, outside of what is timed, that it does what its name says. `cargo test` runs each of them once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark that is wrong must fail loudly"
)]

mod decide;
mod encode;
mod fixtures;
mod propagate;
mod request;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for bench in [propagate::bench, decide::bench, encode::bench, request::bench] {
        bench(&mut criterion);
    }
    criterion.final_summary();
}
