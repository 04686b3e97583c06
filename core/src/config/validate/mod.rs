//! Values that fit each by itself but not together, or not where they stand: one file for each part of the configuration.
//!
//! What is wrong with a value alone (its type, its range) is found when it is read.

mod attributes;
mod exporter;
mod propagation;
mod sampling;
mod spans;

use super::objects::Config;
use super::report::Report;

/// Reports everything that is wrong in `config`.
pub(super) fn check(config: &Config, report: &mut Report) {
    if let Some(exporter) = &config.exporter {
        exporter::check(exporter, report);
    }
    attributes::check_resource(&config.resource, report);
    attributes::check_tags(&config.custom_tags, report);
    propagation::check(&config.propagation, report);
    sampling::check(&config.sampling, report);
    spans::check(&config.spans, report);
}
