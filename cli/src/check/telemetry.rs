//! Istio's Telemetry API (`telemetry.istio.io`), as far as it turns Envoy's own tracer on or off.

use super::resource::Resource;
use serde_json::Value;

fn entries(tracing: &Value) -> impl Iterator<Item = (usize, &Value)> {
    tracing.as_array().into_iter().flatten().enumerate()
}

fn is_off(entry: &Value) -> bool {
    entry.get("disableSpanReporting") == Some(&Value::Bool(true))
}

/// Index of the first entry of `spec.tracing` with a provider that is not switched off, and the provider's name.
pub(super) fn provider(tracing: &Value) -> Option<(usize, &str)> {
    entries(tracing)
        .filter(|(_, entry)| !is_off(entry))
        .find_map(|(index, entry)| Some((index, entry.pointer("/providers/0/name").and_then(Value::as_str)?)))
}

/// Index of the first entry that switches Envoy's own tracer off.
pub(super) fn switched_off(tracing: &Value) -> Option<usize> {
    entries(tracing).find(|(_, entry)| is_off(entry)).map(|(index, _)| index)
}

/// The command that adds `disableSpanReporting: true` to a Telemetry, and changes nothing else in it.
pub(super) fn patch(telemetry: &Resource, tracing: &Value) -> String {
    let namespace = telemetry.namespace.as_ref().map_or_else(String::new, |namespace| format!(" -n {namespace}"));
    let all: Vec<_> = entries(tracing).filter(|(_, entry)| !is_off(entry)).collect();
    let operations = if all.is_empty() {
        r#"{"op":"add","path":"/spec/tracing","value":[{"disableSpanReporting":true}]}"#.to_owned()
    } else {
        let add = |index| format!(r#"{{"op":"add","path":"/spec/tracing/{index}/disableSpanReporting","value":true}}"#);
        all.iter().map(|(index, _)| add(*index)).collect::<Vec<_>>().join(",")
    };
    format!("kubectl patch telemetry {}{namespace} --type=json -p='[{operations}]'", telemetry.name)
}
