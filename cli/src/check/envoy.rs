//! sidespan's filters in a configuration of Envoy: a bootstrap, resources of xDS, or the patches of Istio's `EnvoyFilter`.

use super::surroundings::{Surroundings, Variables};
use serde_json::{Map, Value};
use sidespan_core::config::member;
use std::collections::BTreeMap;

/// A filter and where its configuration stands.
#[derive(Debug)]
pub(super) struct Filter<'v> {
    /// Path of the message (`Any`) with the configuration, or of where it would be.
    pub(super) path: String,
    /// The message; `None` if there is none.
    pub(super) configuration: Option<&'v Value>,
    /// The variables of the VM; a dynamic module sees all of Envoy's.
    pub(super) variables: Option<Variables>,
}

/// All filters of sidespan in `value`, in order.
pub(super) fn filters(value: &Value) -> Vec<Filter<'_>> {
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// Whether this is a whole bootstrap.
pub(super) fn is_bootstrap(value: &Value) -> bool {
    get(value, "static_resources").is_some() || get(value, "dynamic_resources").is_some()
}

/// What is around the filters of a bootstrap, or of anything else of Envoy.
pub(super) fn surroundings(value: &Value, variables: Option<Variables>) -> Surroundings {
    let discovered = get(value, "dynamic_resources").and_then(|dynamic| get(dynamic, "cds_config")).is_some();
    let clusters = Some(value).filter(|value| is_bootstrap(value) && !discovered).map(clusters);
    Surroundings { in_istio: false, variables, clusters }
}

fn clusters(bootstrap: &Value) -> BTreeMap<String, Option<u16>> {
    let list = get(bootstrap, "static_resources").and_then(|it| get(it, "clusters")).and_then(Value::as_array);
    let named = |cluster: &Value| Some((get(cluster, "name")?.as_str()?.to_owned(), endpoint_port(cluster)));
    list.into_iter().flatten().filter_map(named).collect()
}

/// The port of the first endpoint.
fn endpoint_port(cluster: &Value) -> Option<u16> {
    let endpoints = get(get(cluster, "load_assignment")?, "endpoints")?.get(0)?;
    let endpoint = get(get(endpoints, "lb_endpoints")?.get(0)?, "endpoint")?;
    let port = get(get(get(endpoint, "address")?, "socket_address")?, "port_value")?;
    u16::try_from(port.as_u64()?).ok()
}

/// A member by its name in the proto file, or in camel case as JSON has it.
pub(super) fn get<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    key(value, name).and_then(|key| value.get(key))
}

/// The key that a member is given by.
fn key(value: &Value, name: &str) -> Option<String> {
    let camel = || {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(1.min(word.len()));
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        camel
    };
    let given = |key: &String| value.get(key).is_some_and(|value| !value.is_null());
    [name.to_owned(), camel()].into_iter().find(given)
}

fn walk<'v>(value: &'v Value, path: &str, found: &mut Vec<Filter<'v>>) {
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| walk(value, &format!("{path}[{index}]"), found));
        }
        Value::Object(object) => match filter(value, path) {
            Some(filter) => found.push(filter),
            None => members(object, path, found),
        },
        _ => {}
    }
}

fn members<'v>(object: &'v Map<String, Value>, path: &str, found: &mut Vec<Filter<'v>>) {
    object.iter().for_each(|(key, value)| walk(value, &member(path, key), found));
}

/// The filter that `value`, a message with its type, is; `None` if it is anything else.
fn filter<'v>(value: &'v Value, path: &str) -> Option<Filter<'v>> {
    let url = value.get("@type")?.as_str()?;
    // A message whose type only the receiver must know (xds.type.v3.TypedStruct).
    if url.ends_with(".TypedStruct") {
        let inner = get(value, "value")?;
        return typed(inner, get(value, "type_url")?.as_str()?, &member(path, "value"));
    }
    typed(value, url, path)
}

fn typed<'v>(value: &'v Value, url: &str, path: &str) -> Option<Filter<'v>> {
    if url.ends_with(".filters.http.wasm.v3.Wasm") {
        let config = get(value, "config")?;
        let path = member(path, "config");
        let configuration = get(config, "configuration");
        let ours = mentions(config, "configuration") || configuration.is_some_and(is_plugin_config);
        let vm = get(config, "vm_config").and_then(|vm| get(vm, "environment_variables"));
        let key = key(config, "configuration").unwrap_or_else(|| "configuration".to_owned());
        let variables = Some(variables(vm));
        return ours.then(|| Filter { path: member(&path, &key), configuration, variables });
    }
    if url.ends_with(".filters.http.dynamic_modules.v3.DynamicModuleFilter") {
        let key = key(value, "filter_config").unwrap_or_else(|| "filter_config".to_owned());
        let configuration = get(value, "filter_config");
        let ours = get(value, "filter_name").is_some_and(|name| name == "sidespan") || mentions(value, &key);
        return ours.then(|| Filter { path: member(path, &key), configuration, variables: None });
    }
    None
}

/// Whether something of `value`, except for the member `but`, has the word `sidespan` in it.
pub(super) fn mentions(value: &Value, but: &str) -> bool {
    match value {
        Value::String(text) => text.to_ascii_lowercase().contains("sidespan"),
        Value::Array(list) => list.iter().any(|value| mentions(value, "")),
        Value::Object(object) => object.iter().any(|(key, value)| key != but && mentions(value, "")),
        _ => false,
    }
}

/// Whether a message with a configuration has keys of a `pluginConfig`.
fn is_plugin_config(any: &Value) -> bool {
    super::embedded::config(Some(any)).as_ref().is_some_and(super::shape::has_known_key)
}

/// `vm_config.environment_variables`.
fn variables(given: Option<&Value>) -> Variables {
    let from_host = given.and_then(|given| get(given, "host_env_keys")).and_then(Value::as_array);
    let inline = given.and_then(|given| get(given, "key_values")).and_then(Value::as_object);
    let from_host = from_host.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Variables {
        names: from_host.chain(inline.into_iter().flat_map(Map::keys).cloned()).collect(),
        how: "add `{}` to `vm_config.environment_variables.host_env_keys`",
    }
}
