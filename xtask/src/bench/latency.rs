//! Latency at a fixed rate: requests are sent on a schedule, whether or not earlier ones have been answered. Latency counts from
//! the scheduled time, so a stall adds to all requests that were due during it.

use super::scenario::Scenario;
use super::summary::{Summary, differences, percentile};
use super::testbed::Testbed;
use super::variant::Variant;
use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Time for which one variant is under load before the next one.
const SEGMENT: Duration = Duration::from_millis(1000);
const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// Latencies of all variants.
pub(super) struct Latencies {
    /// Requests a second.
    pub rate: f64,
    /// In the order of the variants.
    pub rows: Vec<Row>,
}

/// Latencies of one variant, in microseconds.
pub(super) struct Row {
    /// Its name.
    pub name: String,
    /// The 50th, 90th, 99th and 99.9th percentile of all its requests.
    pub percentiles: [f64; 4],
    /// The 99th percentile of a segment, less that of no tracing in the same round.
    pub added_p99: Summary,
    /// The median of a segment, less that of no tracing in the same round.
    pub added_p50: Summary,
}

/// The rate in requests a second at which the proxy is busy half of the time, if a request without tracing costs so many
/// microseconds.
pub(super) fn half_load(cost_us: f64) -> f64 {
    0.5e6 / cost_us
}

/// Measures the variants at `rate` requests a second and compares them with the first one.
pub(super) async fn measure(
    envoy: &Path,
    variants: &[Variant],
    rate: f64,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Latencies> {
    let mut testbed = Testbed::start(envoy, Scenario::MAIN, variants).await?;
    let mut all: Vec<Vec<Vec<f64>>> = vec![Vec::new(); variants.len()];
    for variant in 0..variants.len() {
        testbed.burst(variant, 2_000).await?;
    }
    for round in 0..rounds {
        for place in 0..variants.len() {
            let variant = if round % 2 == 0 { place } else { variants.len() - 1 - place };
            let segment = segment(&testbed, variant, rate).await.with_context(|| variants[variant].name.clone())?;
            all[variant].push(segment);
            bar.inc(1);
        }
    }
    testbed.end().await?;
    let of_segments = |variant: usize, percent: f64| -> Vec<f64> {
        all[variant].iter().map(|segment| percentile(segment, percent)).collect()
    };
    let row = |variant: usize| {
        let pooled = all[variant].concat();
        let added = |percent| Summary::of(&differences(&of_segments(variant, percent), &of_segments(0, percent)));
        Row {
            name: variants[variant].name.clone(),
            percentiles: PERCENTILES.map(|percent| percentile(&pooled, percent)),
            added_p99: added(99.0),
            added_p50: added(50.0),
        }
    };
    Ok(Latencies { rate, rows: (0..variants.len()).map(row).collect() })
}

/// Latencies in microseconds.
async fn segment(testbed: &Testbed, variant: usize, rate: f64) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let mut exchanges = JoinSet::new();
    for n in 0..(SEGMENT.as_secs_f64() * rate) as usize {
        let due = begin + Duration::from_secs_f64(n as f64 / rate);
        tokio::time::sleep_until(due).await;
        let exchange = testbed.exchange(variant, n + 1);
        exchanges.spawn(async move { exchange.await.map(|()| due.elapsed().as_secs_f64() * 1e6) });
    }
    let mut latencies = Vec::new();
    while let Some(done) = exchanges.join_next().await {
        latencies.push(done??);
    }
    Ok(latencies)
}

// === impl Latencies ===

impl Latencies {
    /// The row of a variant.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}
