//! `pluginConfig` as text into a [`Config`] that the filter can run with.
//!
//! Three passes, so that one bad value never hides another: the text becomes a JSON value ([`super::json`]), that is read
//! into the types ([`super::node`]), and what was read is checked ([`super::validate`]).

use super::node::{At, Node};
use super::objects::Config;
use super::report::{Problem, Report};
use super::{json, normalize, validate, warnings};

/// Reads `pluginConfig`. Nothing at all is the default configuration (Istio sends an empty `pluginConfig` as nothing).
/// Names of headers and hosts come back in lower case, as they are compared.
///
/// # Errors
/// Every problem found (at most 64): first wrong types and values, then values that contradict each other.
pub fn parse(json: &[u8]) -> Result<Config, Vec<Problem>> {
    let mut report = Report::default();
    let config = json::read(json, &mut report)
        .and_then(|value| Config::read(At { value: &value, path: "" }, &mut report))
        // A document with that many problems is something else altogether: what was read of it says nothing.
        .filter(|_| !report.is_full());
    if let Some(config) = &config {
        validate::check(config, &mut report);
    }
    match config {
        Some(mut config) if report.is_empty() => {
            normalize::normalize(&mut config);
            Ok(config)
        }
        _ => Err(report.into_problems()),
    }
}

impl Config {
    /// [`parse`].
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Problem>> {
        parse(json)
    }

    /// What is legal but probably not meant, or worth knowing: never a reason to refuse.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut report = Report::default();
        warnings::check(self, &mut report);
        report.into_problems()
    }
}
