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

/// Whether an object is meant as a `pluginConfig`: it is empty, or has a key of one, or only keys that are nearly such keys.
pub(super) fn is_plugin_config(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return true };
    let nearly = || {
        let problems = config::parse(value.to_string().as_bytes()).err().unwrap_or_default();
        let misspelt = |key: &String| {
            let of_key = |problem: &&config::Problem| problem.path == config::member("", key);
            problems.iter().find(of_key).is_some_and(|problem| problem.hint.starts_with("did you mean"))
        };
        object.keys().all(misspelt)
    };
    has_known_key(value) || nearly()
}

/// Whether this is a configuration of the OpenTelemetry Collector, or a part of one.
pub(super) fn is_collector(value: &Value) -> bool {
    let has = |key: &str| value.get(key).is_some();
    // Exporters have endpoints, and names such as `otlp/backend`.
    let is_exporter = |(name, exporter): (&String, &Value)| name.contains('/') || exporter.get("endpoint").is_some();
    let exporters = value.get("exporters").and_then(Value::as_object);
    (has("receivers") && has("exporters"))
        || value.pointer("/service/pipelines").is_some()
        || exporters.is_some_and(|exporters| exporters.iter().any(is_exporter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_without_kind_is_told_by_its_keys() {
        let table = [
            (json!({}), true, false),
            (json!({"sampling": {}, "other": 1}), true, false),
            (json!({"smpling": {}}), true, false),
            (json!({"title": "a dashboard", "tags": []}), false, false),
            (json!({"services": {}}), false, false),
            (json!({"receivers": {}, "exporters": {}}), false, true),
            (json!({"exporters": {"otlp/backend": {}}}), true, true),
            (json!({"exporters": {"otlp": {"endpoint": "a:4317"}}}), true, true),
            (json!({"exporters": {"otlp": {"service": "a.b"}}}), true, false),
        ];
        for (value, plugin_config, collector) in table {
            assert_eq!((is_plugin_config(&value), is_collector(&value)), (plugin_config, collector), "{value}");
        }
    }
}
