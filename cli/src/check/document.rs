//! One document: what it is, and what is said about it.

use super::code;
use super::embedded;
use super::envoy;
use super::finding::Issue;
use super::resource::{Plugin, Resource, What};
use super::shape;
use super::surroundings::{Surroundings, Variables};
use super::validate;
use serde_json::Value;

/// What is found in a document.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) issues: Vec<Issue>,
    pub(super) resources: Vec<Resource>,
    /// Plugins and configurations that were checked.
    pub(super) checked: usize,
}

/// Checks a document, and each item of a List.
pub(super) fn check(value: &Value) -> Found {
    let mut found = Found::default();
    found.value("", value);
    found
}

// === impl Found ===

impl Found {
    /// `prefix` is the path of `value` within the document: `items[2].` in a List.
    fn value(&mut self, prefix: &str, value: &Value) {
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, version) = (word("kind"), word("apiVersion"));
        let group = version.split('/').next().unwrap_or_default();
        match (group, kind) {
            _ if value.is_null() => {}
            (_, "List") => {
                for (index, item) in value.get("items").and_then(Value::as_array).into_iter().flatten().enumerate() {
                    self.value(&format!("{prefix}items[{index}]."), item);
                }
            }
            _ if is_template(value) && (kind == "WasmPlugin" || kind == "TrafficExtension") => {
                let hint = "render it first: helm template … | sidespan check -";
                self.say(prefix, vec![Issue::new(&code::TEMPLATE, "", "has `{{ … }}` of a template in it", hint)]);
            }
            (_, "WasmPlugin") => self.plugin(prefix, value, value.pointer("/spec"), validate::plugin),
            (_, "TrafficExtension") if value.pointer("/spec/lua").is_none() => {
                self.plugin(prefix, value, value.pointer("/spec/wasm"), validate::traffic_extension);
            }
            ("telemetry.istio.io", "Telemetry") => {
                let tracing = value.pointer("/spec/tracing").cloned().unwrap_or_default();
                self.resource(prefix, Resource::new(value, What::Telemetry(tracing)));
            }
            ("gateway.envoyproxy.io", "EnvoyExtensionPolicy") => self.gateway_policy(prefix, value),
            // Nearly right: `kubectl` would refuse it too, but later.
            _ if kind.eq_ignore_ascii_case("wasmplugin")
                || (group == "extensions.istio.io" && kind != "TrafficExtension") =>
            {
                let (problem, hint) = (format!("unknown kind `{kind}`"), "did you mean `WasmPlugin`?");
                self.checked += 1;
                self.say(prefix, vec![Issue::new(&code::UNKNOWN_KIND, "kind", &problem, hint)]);
            }
            _ => self.other(prefix, value, kind, version),
        }
    }

    fn say(&mut self, prefix: &str, issues: Vec<Issue>) {
        self.issues.extend(issues.into_iter().map(|issue| issue.below(prefix.trim_end_matches('.'))));
    }

    fn pass_over(&mut self, prefix: &str, what: &str) {
        self.say(prefix, vec![Issue::new(&code::PASSED_OVER, "", &format!("passed over: {what}"), "")]);
    }

    fn resource(&mut self, prefix: &str, resource: Resource) {
        self.resources.push(Resource { prefix: prefix.to_owned(), ..resource });
    }

    /// `module`: where the module and its configuration stand.
    fn plugin(&mut self, prefix: &str, value: &Value, module: Option<&Value>, validate: fn(&Value) -> Vec<Issue>) {
        let config = module.and_then(|module| module.get("pluginConfig"));
        if is_of_others(value, config) {
            let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
            return self.pass_over(prefix, &format!("a {kind} of another module"));
        }
        self.checked += 1;
        self.say(prefix, validate(value));
        self.resource(prefix, Resource::new(value, What::Plugin(Plugin::new(value, config))));
    }

    /// Envoy Gateway's `EnvoyExtensionPolicy`: dynamic modules and wasm extensions.
    fn gateway_policy(&mut self, prefix: &str, value: &Value) {
        let before = self.checked;
        for kind in ["dynamicModule", "wasm"] {
            let list = value.pointer(&format!("/spec/{kind}")).and_then(Value::as_array);
            for (index, extension) in list.into_iter().flatten().enumerate() {
                let config = extension.get("config");
                let named = extension.get("filterName").is_some_and(|name| name == "sidespan");
                if !named && !envoy::mentions(extension, "config") && !config.is_some_and(shape::has_known_key) {
                    continue;
                }
                let keys = extension.pointer("/env/hostKeys").and_then(Value::as_array).into_iter().flatten();
                let variables = Variables {
                    names: keys.filter_map(Value::as_str).map(str::to_owned).collect(),
                    how: "add `{}` to `env.hostKeys`",
                };
                let variables = Some(variables).filter(|_| kind == "wasm");
                let around = Surroundings { variables, ..Surroundings::default() };
                let text = config.map(Value::to_string).unwrap_or_default();
                let issues = validate::text(&text, &around);
                let path = format!("spec.{kind}[{index}].config");
                self.checked += 1;
                self.say(prefix, issues.into_iter().map(|issue| issue.below(&path)).collect());
            }
        }
        if self.checked == before {
            self.pass_over(prefix, "an EnvoyExtensionPolicy without sidespan");
        }
    }

    fn other(&mut self, prefix: &str, value: &Value, kind: &str, version: &str) {
        let filters = envoy::filters(value);
        let is_found = !filters.is_empty();
        for filter in filters {
            let around = envoy::surroundings(value, filter.variables);
            self.checked += 1;
            self.say(prefix, embedded::check(filter.configuration, &filter.path, &around));
            if kind == "EnvoyFilter" && self.resources.iter().all(|known| known.prefix != prefix) {
                let config = embedded::config(filter.configuration);
                self.resource(prefix, Resource::new(value, What::Plugin(Plugin::new(value, config.as_ref()))));
            }
        }
        if is_found {
            return;
        }
        if !kind.is_empty() {
            let suffix = if kind == "EnvoyFilter" { " without sidespan" } else { "" };
            self.pass_over(prefix, &format!("kind {kind}{suffix}"));
        } else if envoy::is_bootstrap(value) {
            self.pass_over(prefix, "a configuration of Envoy without sidespan");
        } else if shape::is_collector(value) {
            self.pass_over(prefix, "a configuration of the OpenTelemetry Collector");
        } else if version.is_empty() && shape::is_plugin_config(value) {
            self.checked += 1;
            self.say(prefix, validate::text(&value.to_string(), &Surroundings::default()));
        } else {
            self.pass_over(prefix, "neither a plugin nor a `pluginConfig`");
        }
    }
}

/// Whether a WasmPlugin or TrafficExtension loads another module: nothing but its configuration, which has no key of ours,
/// could say that it is sidespan.
fn is_of_others(value: &Value, config: Option<&Value>) -> bool {
    let has_keys = config.and_then(Value::as_object).is_some_and(|config| !config.is_empty());
    has_keys && !config.is_some_and(shape::is_plugin_config) && !envoy::mentions(value, "pluginConfig")
}

/// Whether a text in `value` is a placeholder of Helm.
fn is_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split_once("{{").is_some_and(|(_, rest)| rest.contains("}}")),
        Value::Array(list) => list.iter().any(is_template),
        Value::Object(object) => object.values().any(is_template),
        _ => false,
    }
}
