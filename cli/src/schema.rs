//! `sidespan schema`.

use crate::wasmplugin::WasmPlugin;
use serde_json::Value;

/// The JSON Schema of `pluginConfig`, or of a whole WasmPlugin around it.
pub fn schema(wasmplugin: bool) -> Value {
    let mut schema = if wasmplugin { schemars::schema_for!(WasmPlugin) } else { sidespan_core::config::schema() };
    let title = if wasmplugin { "WasmPlugin for sidespan" } else { "pluginConfig of sidespan" };
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
