//! Latency at half load: requests leave on a schedule, whether or not earlier ones have been answered, and their time counts
//! from the schedule (so a stall is seen by all that should have left meanwhile).

use super::scenario::Scenario;
use super::stage::Stage;
use super::summary::{Summary, differences, percentile};
use super::variant::Variant;
use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long one variant is under load before the next one's turn comes.
const SEGMENT: Duration = Duration::from_millis(1000);
const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// What came out.
pub struct Latencies {
    /// Requests a second.
    pub rate: f64,
    /// In the order of the variants.
    pub rows: Vec<Row>,
}

/// One variant, in microseconds.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Of all its requests: 50, 90, 99 and 99.9 %.
    pub percentiles: [f64; 4],
    /// 99 % of a segment, over that of no tracing in the same round.
    pub added_p99: Summary,
    /// The median of a segment, over that of no tracing in the same round.
    pub added_p50: Summary,
}

/// Measures; the first variant is what the others are compared with. `cost_us` is what a request costs the worker without
/// tracing: half load is the rate at which that makes it busy half of the time.
pub async fn measure(
    envoy: &Path,
    variants: &[Variant],
    cost_us: f64,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Latencies> {
    let mut stage = Stage::start(envoy, Scenario::MAIN, variants).await?;
    let rate = 0.5e6 / cost_us;
    let mut all: Vec<Vec<Vec<f64>>> = vec![Vec::new(); variants.len()];
    for variant in 0..variants.len() {
        stage.burst(variant, 2_000).await?;
    }
    for round in 0..rounds {
        for place in 0..variants.len() {
            let variant = if round % 2 == 0 { place } else { variants.len() - 1 - place };
            let segment = segment(&stage, variant, rate).await.with_context(|| variants[variant].name.clone())?;
            all[variant].push(segment);
            bar.inc(1);
        }
    }
    stage.end().await?;
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
async fn segment(stage: &Stage, variant: usize, rate: f64) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let mut exchanges = JoinSet::new();
    for n in 0..(SEGMENT.as_secs_f64() * rate) as usize {
        let due = begin + Duration::from_secs_f64(n as f64 / rate);
        tokio::time::sleep_until(due).await;
        let exchange = stage.exchange(variant, n + 1);
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
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}
