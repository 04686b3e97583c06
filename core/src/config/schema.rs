//! JSON Schema of the types that are values: with the feature `schema` only, never in the module.
//!
//! The schema says what a schema can say. Ranges of durations and sizes, unreachable rules and the like are known to
//! [`super::parse`] alone.

use super::describe::{Definitions, Described, merge};
use super::formatter::Formatter;
use super::objects::{Config, HeaderVariable, Headers, Literal};
use super::pattern::{PathPattern, PathTemplate, StringPattern};
use super::units::{Bytes, Duration, Percentage, StatusPattern};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The JSON Schema (draft 2020-12) of `pluginConfig`.
pub fn schema() -> Value {
    document::<Config>("pluginConfig of sidespan")
}

/// A JSON Schema as a whole document.
pub fn document<T: Described>(title: &str) -> Value {
    let mut definitions = Definitions::default();
    let reference = T::schema(&mut definitions);
    let name = reference.get("$ref").and_then(Value::as_str).map(|path| path.trim_start_matches("#/$defs/"));
    let mut schema = name.and_then(|name| definitions.0.remove(name)).unwrap_or_default();
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    merge(&mut schema, json!({"$schema": dialect, "title": title, "$defs": definitions.0}));
    schema
}

// === types of Rust ===

impl<T: Described> Described for Option<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        let mut schema = T::schema(definitions);
        match schema.get("type").cloned() {
            Some(kind) => {
                merge(&mut schema, json!({"type": [kind, "null"]}));
                schema
            }
            None => json!({"anyOf": [schema, {"type": "null"}]}),
        }
    }
}

impl<T: Described> Described for Vec<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({"type": "array", "items": T::schema(definitions)})
    }

    fn shown(&self) -> Value {
        self.iter().map(T::shown).collect()
    }
}

impl<T: Described> Described for BTreeMap<String, T> {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(definitions)})
    }
}

/// Types whose schema is the same everywhere; what follows is how a value is shown.
macro_rules! inline {
    ($($name:ty => $schema:tt $shown:expr;)*) => {$(
        impl Described for $name {
            fn schema(_: &mut Definitions) -> Value {
                json!($schema)
            }

            fn shown(&self) -> Value {
                $shown(self)
            }
        }
    )*};
}

inline! {
    String => {"type": "string"} |text: &String| text.as_str().into();
    bool => {"type": "boolean"} |truth: &bool| (*truth).into();
    u8 => {"type": "integer", "minimum": 0, "maximum": u8::MAX} |number: &u8| (*number).into();
    u16 => {"type": "integer", "minimum": 0, "maximum": u16::MAX} |number: &u16| (*number).into();
    u32 => {"type": "integer", "minimum": 0, "maximum": u32::MAX} |number: &u32| (*number).into();
    Formatter => {"type": "string"} |_| Value::Null;
    Literal => {
        "description": "A resource attribute's value.",
        "type": ["string", "boolean", "number"],
    } |_| Value::Null;
}

impl Described for Headers {
    fn schema(definitions: &mut Definitions) -> Value {
        let variable = HeaderVariable::schema(definitions);
        json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, variable]}})
    }
}

// === values with a grammar ===

/// Types whose schema has a name; what follows is how a value is shown.
macro_rules! named {
    ($($name:ident => $schema:tt $shown:expr;)*) => {$(
        impl Described for $name {
            fn schema(definitions: &mut Definitions) -> Value {
                definitions.refer(stringify!($name), |_| json!($schema))
            }

            fn shown(&self) -> Value {
                $shown(self)
            }
        }
    )*};
}

named! {
    Duration => {
        "description": "A span of time with its unit: 250ms, 10s, 1m30s, 2h.",
        "type": "string",
        "pattern": r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|ms|s|m|h))+)$",
        "examples": ["250ms", "10s", "1m30s"],
    } |duration: &Duration| duration.to_string().into();
    Bytes => {
        "description": "A number of bytes, with or without a unit: 1048576, 512KiB, 4MiB.",
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+ *(B|KB|MB|GB|k|M|G|Ki|Mi|Gi|KiB|MiB|GiB)?$"},
        ],
        "examples": ["4MiB", 1_048_576],
    } |bytes: &Bytes| bytes.to_string().into();
    Percentage => {
        "description": "A share in percent.",
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "examples": [1, 0.1, 100],
    } |percentage: &Percentage| percentage.percent().into();
    StatusPattern => {
        "description": "An HTTP status, or a class of them.",
        "anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^[1-5](xx|[0-9]{2})$"},
        ],
        "examples": ["5xx", 503, "429"],
    } |status: &StatusPattern| status.to_string().into();
    StringPattern => {
        "description": "exact, prefix*, *suffix, or * for anything.",
        "type": "string",
        "pattern": r"^(\*?[^*]*|[^*]+\*)$",
        "examples": ["payment", "pay*", "*-canary", "*"],
    } |_| Value::Null;
    PathTemplate => {
        "description": "A path in which {name} takes one whole segment; a last * takes the rest.",
        "type": "string",
        "minLength": 1,
        "pattern": r"^(/([^/{}*?#]*|\{[^/{}*?#]+\}))*(/\*)?$",
        "examples": ["/api/users/{id}", "/static/*"],
    } |template: &PathTemplate| template.as_str().into();
    PathPattern => {
        "description": "A path without its query: exact, prefix*, *suffix, or with {name} for whole segments.",
        "type": "string",
        "minLength": 1,
        "pattern": r"^(/[^*?#{}]*\*?|\*[^*?#{}]*|(/([^/{}*?#]*|\{[^/{}*?#]+\}))*(/\*)?)$",
        "examples": ["/healthz", "/static/*", "/api/users/{id}"],
    } |_| Value::Null;
}
