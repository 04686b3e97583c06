//! CPU time per request: the run time of all threads of Envoy during a burst of requests, divided by their number. Bursts go over
//! the listeners in turn, forwards and backwards. A dynamic module exports on the main thread, so the worker alone is not its cost.

use super::scenario::Scenario;
use super::summary::{Ratio, Summary, differences, ratio};
use super::testbed::Testbed;
use super::variant::{BASE, Variant};
use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use sidespan_harness::usage;
use std::path::Path;
use std::time::Duration;

/// Requests of a burst.
const BURST: usize = 500;
/// Wait after a burst until its spans have been exported: longer than `batch.delay` (100 ms, see `variant.rs`).
const EXPORT_WAIT: Duration = Duration::from_millis(160);
/// Rounds that are not counted, because V8 replaces its first code during them.
pub(super) const WARM_UP_ROUNDS: usize = 4;

/// The costs of all variants in one scenario.
pub(super) struct Costs {
    /// The scenario.
    pub scenario: Scenario,
    /// In the order of the variants.
    pub rows: Vec<Row>,
}

/// The costs of one variant.
pub(super) struct Row {
    /// Its name.
    pub name: String,
    /// Microseconds of the proxy per request.
    pub total: Summary,
    /// The same, less that of the variant without tracing in the same round.
    pub added: Summary,
    /// Received spans per request.
    pub spans: f64,
    /// The values that `added` summarizes, by round.
    pub differences: Vec<f64>,
}

/// Measures all variants in a scenario.
///
/// # Errors
/// If Envoy cannot be started, a request is not answered as expected, or a variant makes another number of spans than it should.
pub(super) async fn measure(
    envoy: &Path,
    scenario: Scenario,
    variants: &[Variant],
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Costs> {
    let mut testbed = Testbed::start(envoy, scenario, variants).await?;
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for round in 0..WARM_UP_ROUNDS + rounds {
        for place in 0..variants.len() {
            let variant = position_in_round(round, place, variants.len());
            let cost = burst(&mut testbed, variant).await.with_context(|| variants[variant].name.clone())?;
            if round >= WARM_UP_ROUNDS {
                costs[variant].push(cost);
            }
            bar.inc(1);
        }
    }
    let spans = testbed.check().await?;
    testbed.end().await?;
    let base =
        variants.iter().position(|variant| variant.name == BASE).context("the variant without tracing is missing")?;
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

/// The variant to measure at a place of a round. Rounds go forwards and backwards in turn, so that drift cancels. The start
/// moves by one every two rounds, so that no variant is always measured right after itself, with warm caches.
pub(super) fn position_in_round(round: usize, place: usize, variants: usize) -> usize {
    let place = if round.is_multiple_of(2) { place } else { variants - 1 - place };
    (place + round / 2) % variants
}

/// Microseconds of the proxy per request.
async fn burst(testbed: &mut Testbed, variant: usize) -> Result<f64> {
    let run_time = |testbed: &Testbed| usage::run_time_ns(testbed.envoy.id()).context("Envoy has gone");
    let before = run_time(testbed)?;
    testbed.burst(variant, BURST).await?;
    tokio::time::sleep(EXPORT_WAIT).await;
    Ok((run_time(testbed)? - before) as f64 / BURST as f64 / 1e3)
}

// === impl Costs ===

impl Costs {
    /// The row of a variant.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The added cost of one variant less that of another in the same round.
    pub(super) fn difference(&self, of: &str, to: &str) -> Option<Summary> {
        Some(Summary::of(&differences(&self.row(of)?.differences, &self.row(to)?.differences)))
    }

    /// The added cost of one variant divided by that of another.
    pub(super) fn ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        let (of, to) = (self.row(of)?, self.row(to)?);
        Some(ratio((&of.differences, 0.0), (&to.differences, 0.0)))
    }
}
