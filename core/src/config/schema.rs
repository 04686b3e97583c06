//! JSON Schema of the types that are written as text: with the feature `schema` only, never in the module.
//!
//! The schema says what a schema can say. Ranges of durations and sizes, unreachable rules and the like are known to
//! [`super::parse`] alone.

use super::{Bytes, Config, Duration, PathPattern, PathTemplate, Percentage, StatusPattern, StringPattern};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// The JSON Schema (draft 2020-12) of `pluginConfig`.
pub fn schema() -> Schema {
    schemars::schema_for!(Config)
}

/// `JsonSchema` of types whose schema is a literal.
macro_rules! schema_of {
    ($($name:ident => $schema:tt)*) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                false
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schema_of! {
    Duration => {
        "description": "A span of time with its unit: 250ms, 10s, 1m30s, 2h.",
        "type": "string",
        "pattern": r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|ms|s|m|h))+)$",
        "examples": ["250ms", "10s", "1m30s"],
    }
    Bytes => {
        "description": "A number of bytes, with or without a unit: 1048576, 512KiB, 4MiB.",
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+ *(B|KB|MB|GB|k|M|G|Ki|Mi|Gi|KiB|MiB|GiB)?$"},
        ],
        "examples": ["4MiB", 1_048_576],
    }
    Percentage => {
        "description": "A share in percent.",
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "examples": [1, 0.1, 100],
    }
    StatusPattern => {
        "description": "An HTTP status, or a class of them.",
        "anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^[1-5](xx|[0-9]{2})$"},
        ],
        "examples": ["5xx", 503, "429"],
    }
    StringPattern => {
        "description": "exact, prefix*, *suffix, or * for anything.",
        "type": "string",
        "pattern": r"^(\*?[^*]*|[^*]+\*)$",
        "examples": ["payment", "pay*", "*-canary", "*"],
    }
    PathTemplate => {
        "description": "A path in which {name} takes one whole segment; a last * takes the rest.",
        "type": "string",
        "minLength": 1,
        "pattern": r"^(/([^/{}*?#]*|\{[^/{}*?#]+\}))*(/\*)?$",
        "examples": ["/api/users/{id}", "/static/*"],
    }
    PathPattern => {
        "description": "A path without its query: exact, prefix*, *suffix, or with {name} for whole segments.",
        "type": "string",
        "minLength": 1,
        "pattern": r"^(/[^*?#{}]*\*?|\*[^*?#{}]*|(/([^/{}*?#]*|\{[^/{}*?#]+\}))*(/\*)?)$",
        "examples": ["/healthz", "/static/*", "/api/users/{id}"],
    }
}
