//! What an object without `kind` is.

use serde_json::Value;
use sidespan_core::config;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The keys of a `pluginConfig`, from its declaration.
static KEYS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let schema = config::schema();
    schema["properties"].as_object().map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
});

/// Whether an object has at least one key of a `pluginConfig`.
pub(super) fn has_known_key(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.keys().any(|key| KEYS.contains(key)))
}

/// Whether an object is meant as a `pluginConfig`: it is empty, or has a key of one, or one that is nearly such a key.
pub(super) fn is_plugin_config(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return true };
    let nearly = || {
        let problems = config::parse(value.to_string().as_bytes()).err().unwrap_or_default();
        problems.iter().any(|problem| object.contains_key(&problem.path) && problem.hint.starts_with("did you mean"))
    };
    object.is_empty() || has_known_key(value) || nearly()
}

/// Whether this is a configuration of the OpenTelemetry Collector.
pub(super) fn is_collector(value: &Value) -> bool {
    let has = |key: &str| value.get(key).is_some();
    (has("receivers") && has("exporters")) || value.pointer("/service/pipelines").is_some()
}
