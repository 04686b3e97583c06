//! HTTP filters: the filter under test, and others to stand before and after it.

use super::json::typed;
use crate::support::merge;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One HTTP filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// The entry of `http_filters` itself.
    Raw(Value),
    /// A filter that Envoy loads from a file.
    Plugin(Plugin),
}

/// A filter that Envoy loads from a file, and its configuration: a dynamic module if the file is a shared library (`.so`, `.dylib`),
/// otherwise a wasm module. A wasm module is configured as Istio does it: no `vm_id`, V8, the configuration as a JSON string.
#[derive(Clone, Debug)]
pub struct Plugin {
    name: String,
    root_id: String,
    file: PathBuf,
    configuration: Option<String>,
    failure_policy: String,
    environment: Map<String, Value>,
    host_environment: Vec<String>,
    discovered: bool,
    patch: Value,
}

// === impl Filter ===

impl Filter {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Raw(value) => value.clone(),
            Self::Plugin(plugin) => plugin.to_json(),
        }
    }
}

impl From<Plugin> for Filter {
    fn from(plugin: Plugin) -> Self {
        Self::Plugin(plugin)
    }
}

impl From<Value> for Filter {
    fn from(value: Value) -> Self {
        Self::Raw(value)
    }
}

// === impl Plugin ===

impl Plugin {
    /// The filter in `file` (made absolute when it exists), without configuration, failing open.
    pub fn new(file: &Path) -> Self {
        Self {
            name: "istio-system.sidespan".to_owned(),
            root_id: "sidespan".to_owned(),
            file: file.canonicalize().unwrap_or_else(|_| file.to_owned()),
            configuration: None,
            failure_policy: "FAIL_OPEN".to_owned(),
            environment: Map::new(),
            host_environment: Vec::new(),
            discovered: false,
            patch: json!({}),
        }
    }

    /// `pluginConfig`.
    #[must_use]
    pub fn configuration(self, plugin_config: &Value) -> Self {
        self.raw_configuration(&plugin_config.to_string())
    }

    /// A configuration that need not be JSON.
    #[must_use]
    pub fn raw_configuration(mut self, text: &str) -> Self {
        self.configuration = Some(text.to_owned());
        self
    }

    /// Name of the plugin, `<namespace>.<name>` in Istio.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// `root_id`, which Istio takes from `pluginName`. A dynamic module has none.
    #[must_use]
    pub fn root_id(mut self, root_id: &str) -> Self {
        root_id.clone_into(&mut self.root_id);
        self
    }

    /// `FAIL_OPEN`, `FAIL_CLOSED` or `FAIL_RELOAD`. A dynamic module has none.
    #[must_use]
    pub fn failure_policy(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.failure_policy);
        self
    }

    /// An environment variable given to the VM. A dynamic module has the environment of the process: Envoy is started with it.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), json!(value));
        self
    }

    /// A variable of Envoy's own environment passed to the VM. A dynamic module sees all of them.
    #[must_use]
    pub fn host_environment(mut self, name: &str) -> Self {
        self.host_environment.push(name.to_owned());
        self
    }

    /// Delivers the filter by extension discovery (ECDS) from a file, as Istio does by ADS, so that
    /// [`crate::Envoy::update_plugin`] can change it while Envoy runs.
    #[must_use]
    pub fn discovered(mut self) -> Self {
        self.discovered = true;
        self
    }

    /// Merges any JSON into the `PluginConfig` or `DynamicModuleFilter`.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.patch, patch);
        self
    }

    /// The entry of `http_filters`.
    pub fn to_json(&self) -> Value {
        if !self.discovered {
            return self.typed_config();
        }
        let source = json!({"path_config_source": {"path": self.file_name()}, "resource_api_version": "V3"});
        json!({
            "name": self.name,
            "config_discovery": {"config_source": source, "type_urls": [format!("type.googleapis.com/{}", self.type_name())]},
        })
    }

    /// The discovery response and the file it belongs into; `None` if the filter stands in the listener itself.
    pub(crate) fn discovery_file(&self) -> Option<(String, Value)> {
        let mut resource = self.typed_config();
        merge(&mut resource, json!({"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"}));
        let response = json!({"resources": [resource]});
        self.discovered.then(|| (self.file_name(), response))
    }

    /// The variables that Envoy must be started with, because a dynamic module has no environment of its own.
    pub(crate) fn variables_of_the_process(&self) -> impl Iterator<Item = (&str, &str)> {
        let variables = self.is_dynamic_module().then_some(&self.environment).into_iter().flatten();
        variables.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    fn file_name(&self) -> String {
        format!("./ecds-{}.json", self.name)
    }

    fn is_dynamic_module(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == "so" || extension == "dylib")
    }

    fn type_name(&self) -> &'static str {
        match self.is_dynamic_module() {
            true => "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            false => "envoy.extensions.filters.http.wasm.v3.Wasm",
        }
    }

    fn typed_config(&self) -> Value {
        let config = match self.is_dynamic_module() {
            true => self.dynamic_module(),
            false => json!({"config": self.wasm()}),
        };
        typed(&self.name, self.type_name(), config)
    }

    fn wasm(&self) -> Value {
        let mut plugin = json!({
            "name": self.name,
            "root_id": self.root_id,
            "failure_policy": self.failure_policy,
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": self.file}},
                "environment_variables": {"host_env_keys": self.host_environment, "key_values": self.environment},
            },
        });
        self.complete(&mut plugin, "configuration");
        plugin
    }

    fn dynamic_module(&self) -> Value {
        let mut filter = json!({
            "dynamic_module_config": {
                "module": {"local": {"filename": self.file}},
                "do_not_close": true,
                "metrics_namespace": METRICS_NAMESPACE,
            },
            "filter_name": "sidespan",
        });
        self.complete(&mut filter, "filter_config");
        filter
    }

    /// Adds what both kinds have: the configuration as a string, and the patch.
    fn complete(&self, config: &mut Value, key: &str) {
        if let Some(text) = &self.configuration {
            let string = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text});
            merge(config, json!({ key: string }));
        }
        merge(config, self.patch.clone());
    }
}

/// What Envoy puts before the names of a wasm filter's metrics, and here before a dynamic module's too.
const METRICS_NAMESPACE: &str = "wasmcustom";

// === other filters ===

/// RBAC that denies requests which carry the given header (403, details `rbac_access_denied…`).
pub fn rbac_deny(header: &str) -> Filter {
    let any = json!([{"any": true}]);
    let present = json!([{"header": {"name": header, "present_match": true}}]);
    let rules = json!({"action": "DENY", "policies": {"denied": {"permissions": any, "principals": present}}});
    typed("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", json!({ "rules": rules })).into()
}

/// A fault filter that aborts requests which carry the given header (flag `FI`).
pub fn fault_abort(header: &str, status: u16) -> Filter {
    let abort = json!({"http_status": status, "percentage": {"numerator": 100}});
    let config = json!({"abort": abort, "headers": [{"name": header, "present_match": true}]});
    typed("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", config).into()
}

/// A Lua filter with the given source.
pub fn lua(source: &str) -> Filter {
    let config = json!({"default_source_code": {"inline_string": source}});
    typed("envoy.filters.http.lua", "envoy.extensions.filters.http.lua.v3.Lua", config).into()
}
