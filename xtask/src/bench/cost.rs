//! CPU time per request: short bursts go round over the listeners, forwards and backwards, and the worker's own run time is
//! divided by the requests.

use super::scenario::Scenario;
use super::stage::Stage;
use super::summary::{Ratio, Summary, differences, ratio};
use super::variant::{BASE, Variant};
use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use std::path::Path;
use std::time::Duration;

/// Requests of a burst.
const BURST: usize = 500;
/// After a burst, until what it left behind has been exported: longer than a batch waits (100 ms, see `variant.rs`).
const SETTLE: Duration = Duration::from_millis(160);
/// Rounds that only warm: V8 replaces its first code meanwhile.
pub const WARM: usize = 4;

/// What a scenario came to.
pub struct Costs {
    /// Which one.
    pub scenario: Scenario,
    /// In the order of the variants.
    pub rows: Vec<Row>,
}

/// What a variant came to.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Microseconds of the worker per request.
    pub total: Summary,
    /// The same, over no tracing in the same round.
    pub added: Summary,
    /// Spans that the receiver got, per request.
    pub spans: f64,
    /// All rounds of `added`.
    pub differences: Vec<f64>,
}

/// Measures a scenario.
pub async fn measure(
    envoy: &Path,
    scenario: Scenario,
    variants: &[Variant],
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Costs> {
    let mut stage = Stage::start(envoy, scenario, variants).await?;
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for round in 0..WARM + rounds {
        for place in 0..variants.len() {
            let variant = turn(round, place, variants.len());
            let cost = burst(&mut stage, variant).await.with_context(|| variants[variant].name.clone())?;
            if round >= WARM {
                costs[variant].push(cost);
            }
            bar.inc(1);
        }
    }
    let spans = stage.check().await?;
    stage.end().await?;
    let base = variants.iter().position(|variant| variant.name == BASE).context("nothing to compare with")?;
    let row = |n: usize| {
        let differences = differences(&costs[n], &costs[base]);
        Row {
            name: variants[n].name.clone(),
            total: Summary::of(&costs[n]),
            added: Summary::of(&differences),
            spans: spans[n],
            differences,
        }
    };
    Ok(Costs { scenario, rows: (0..variants.len()).map(row).collect() })
}

/// Forwards, then backwards, so that drift cancels; each round begins one further on, so that nobody keeps the place next
/// to itself, where caches are warm.
pub fn turn(round: usize, place: usize, variants: usize) -> usize {
    let place = if round.is_multiple_of(2) { place } else { variants - 1 - place };
    (place + round / 2) % variants
}

/// Microseconds of the worker per request.
async fn burst(stage: &mut Stage, variant: usize) -> Result<f64> {
    let run_time = |stage: &Stage| stage.worker.run_time_ns().context("the worker has gone");
    let before = run_time(stage)?;
    stage.burst(variant, BURST).await?;
    tokio::time::sleep(SETTLE).await;
    Ok((run_time(stage)? - before) as f64 / BURST as f64 / 1e3)
}

// === impl Costs ===

impl Costs {
    /// The row of a variant.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Added cost of one variant over that of another.
    pub fn ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        let (of, to) = (self.row(of)?, self.row(to)?);
        Some(ratio((&of.differences, 0.0), (&to.differences, 0.0)))
    }
}
