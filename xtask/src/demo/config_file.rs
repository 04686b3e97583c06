//! The configuration of the filter: the demo's own, or one from a file.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sidespan_cli::yaml;
use std::fs;
use std::path::Path;

/// The configuration of the filter, unless another one is given.
const DEFAULT: &str = include_str!("config.json");

const HINT: &str = "give a WasmPlugin or a pluginConfig as YAML or JSON, such as a copy of xtask/src/demo/config.json";

/// The `pluginConfig` in a file: a WasmPlugin among the documents of the file, or a single document that is a `pluginConfig` itself. Without a file, that of
/// the demo.
///
/// # Errors
/// If the file cannot be read, or holds no or several configurations; the error names the file.
pub(super) fn read(file: Option<&Path>) -> Result<Value> {
    let Some(path) = file else { return Ok(serde_json::from_str(DEFAULT)?) };
    let text = fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
    of_text(&text).with_context(|| format!("--config {}", path.display()))
}

fn of_text(text: &str) -> Result<Value> {
    let documents = match yaml::read(text) {
        Ok(documents) => documents,
        Err(broken) => {
            let line = broken.position.map_or(1, |position| position.line);
            bail!("line {line}: neither YAML nor JSON: {}; {HINT}", broken.problem)
        }
    };
    let values: Vec<&Value> =
        documents.iter().map(|document| &document.value).filter(|value| !value.is_null()).collect();
    let plugins: Vec<&Value> = values.iter().copied().filter(|value| value["kind"] == "WasmPlugin").collect();
    match (plugins.as_slice(), values.as_slice()) {
        ([plugin], _) => Ok(plugin["spec"]["pluginConfig"].clone()),
        ([], [config]) if config.is_object() && config.get("kind").is_none() => Ok((*config).clone()),
        ([], []) => bail!("is empty; {HINT}"),
        ([], _) => bail!("has no WasmPlugin; {HINT}"),
        (many, _) => bail!("has {} WasmPlugins; give a file with one", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_wasm_plugin_or_one_alone_is_read() -> Result<()> {
        let plugin = "kind: WasmPlugin\nspec: {pluginConfig: {sampling: {randomSamplingPercentage: 7}}}\n";
        let table = [
            (r#"{"sampling": {"randomSamplingPercentage": 7}}"#.to_owned(), "JSON"),
            ("# comment\nsampling:\n  randomSamplingPercentage: 7\n".to_owned(), "YAML"),
            (plugin.to_owned(), "a WasmPlugin"),
            (format!("{plugin}---\nkind: Telemetry\n---\n"), "with other resources"),
        ];
        for (text, why) in table {
            let config = of_text(&text).with_context(|| why)?;
            assert_eq!(config["sampling"]["randomSamplingPercentage"], 7, "{why}");
        }
        let shipped = fs::read_to_string(sidespan_harness::provide::workspace_root().join("wasmplugin.yaml"))?;
        assert!(of_text(&shipped)?["exporter"]["otlp"].is_object());
        Ok(())
    }

    #[test]
    fn what_holds_no_single_configuration_is_refused() {
        let plugin = "kind: WasmPlugin\nspec: {}\n";
        let table = [
            ("{".to_owned(), "neither YAML nor JSON"),
            (String::new(), "is empty"),
            ("kind: Telemetry\n".to_owned(), "has no WasmPlugin"),
            ("- 1\n".to_owned(), "has no WasmPlugin"),
            (format!("{plugin}---\n{plugin}"), "has 2 WasmPlugins"),
        ];
        for (text, expected) in table {
            let error = of_text(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
