//! Dashboard and alert rules, asked and evaluated by a real Prometheus that scrapes real Envoys.
//!
//! `cargo xtask test --prometheus` builds the module and provides Envoy and Prometheus; by hand:
//! `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test prometheus`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong must fail loudly"
)]

mod dashboard;
mod proxies;
mod rules;
mod served_metrics;

#[allow(dead_code, reason = "the tests in tests/envoy/ use all of it")]
#[path = "../envoy/stage.rs"]
mod stage;

use sidespan_harness::Result;
use sidespan_harness::provide::{GoProgress, PrometheusPrograms, prometheus_programs};
use std::path::{Path, PathBuf};

/// A file of examples/dashboards.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dashboards").join(name)
}

async fn programs() -> Result<PrometheusPrograms> {
    let build = || {
        prometheus_programs(|progress| match progress {
            GoProgress::Waiting => eprintln!("waiting for another process that builds Prometheus"),
            GoProgress::Building => eprintln!("building Prometheus: minutes, once"),
            GoProgress::Compiled(_) => {}
        })
    };
    tokio::task::spawn_blocking(build).await?
}
