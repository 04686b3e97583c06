//! JSON objects that several parts of a bootstrap contain.

use crate::support::merge;
use serde_json::{Value, json};

/// 127.0.0.1 and a port; 0 lets the kernel choose.
pub(crate) fn socket_address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// A `typed_config` of an Envoy extension.
pub(crate) fn typed(name: &str, type_name: &str, mut config: Value) -> Value {
    merge(&mut config, json!({"@type": format!("type.googleapis.com/{type_name}")}));
    json!({"name": name, "typed_config": config})
}
