//! `sidespan schema`.

use crate::traffic_extension::TrafficExtension;
use crate::wasmplugin::WasmPlugin;
use serde_json::Value;
use sidespan_core::config;

/// The JSON Schema of `pluginConfig`, or of a whole WasmPlugin around it.
pub fn schema(wasmplugin: bool) -> Value {
    if wasmplugin { config::document::<WasmPlugin>("WasmPlugin for sidespan") } else { config::schema() }
}

/// The JSON Schema of a whole TrafficExtension around a `pluginConfig`.
pub fn traffic_extension() -> Value {
    config::document::<TrafficExtension>("TrafficExtension for sidespan")
}
