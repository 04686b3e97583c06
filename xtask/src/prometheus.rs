//! Prometheus and promtool, for the tests of dashboard and alert rules.

use crate::go::Display;
use anyhow::Result;
use sidespan_harness::provide::{self, PROMETHEUS_PACKAGES, PrometheusPrograms};

/// Provides the programs and prints what takes time.
pub(crate) fn provide() -> Result<PrometheusPrograms> {
    let display = Display::new("Prometheus and promtool", "four minutes", PROMETHEUS_PACKAGES);
    display.finish(provide::prometheus_programs(|progress| display.show(progress)))
}
