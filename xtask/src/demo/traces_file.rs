//! All spans as one OTLP/JSON document, which Jaeger's UI and many tools open.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sidespan_harness::provide;
use sidespan_harness::receiver::{Export, Payload};
use std::fs;
use std::path::PathBuf;

/// Writes `target/demo/traces.json` and returns its path.
pub(super) fn write(exports: &[Export]) -> Result<PathBuf> {
    let folder = provide::target_dir().join("demo");
    let path = folder.join("traces.json");
    let document = serde_json::to_vec_pretty(&document(exports)?)?;
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, document));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// `{"resourceSpans": […]}` with the resources of all exports, one after the other.
fn document(exports: &[Export]) -> Result<Value> {
    let mut all = Vec::new();
    for export in exports {
        if let Payload::Otlp(request) = &export.payload {
            let request = serde_json::to_value(request)?;
            all.extend(request["resourceSpans"].as_array().cloned().unwrap_or_default());
        }
    }
    Ok(json!({ "resourceSpans": all }))
}
