//! The environment variables that a host passes to the filter.

use std::collections::BTreeMap;

/// Names and values. In proxy-wasm these are the variables that the plugin's `vmConfig.env` names.
pub type Environment = BTreeMap<String, String>;
