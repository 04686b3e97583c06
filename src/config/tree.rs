//! Text into a JSON tree, naming what a reader of JSON may pass over in silence: a key given twice is a problem.

use super::check::Report;
use super::json;
use serde_json::{Map, Value};

/// The tree of `json`; nothing at all, and `null`, is an empty object. `None` if it is not JSON: then the reason is in `report`.
pub(super) fn read(json: &[u8], report: &mut Report) -> Option<Value> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => text.trim_ascii(),
        Err(error) => {
            report.add("", &format!("not UTF-8 after byte {}", error.valid_up_to()), "give JSON in UTF-8");
            return None;
        }
    };
    if text.is_empty() {
        return Some(Value::Object(Map::new()));
    }
    match json::parse(text, &mut |path| report.add(path, "given twice", "keep one of them")) {
        // Istio sends an empty `pluginConfig` as nothing, or as this.
        Ok(Value::Null) => Some(Value::Object(Map::new())),
        Ok(tree) => Some(tree),
        Err(error) => {
            report.add("", &format!("not JSON: {error}"), "");
            None
        }
    }
}
