//! HTTP filters: the wasm module under test, and others to stand before and after it.

use super::json::typed;
use crate::support::merge;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One HTTP filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// The entry of `http_filters` itself.
    Raw(Value),
    /// A wasm module.
    Wasm(Wasm),
}

/// A wasm module and its plugin configuration, as Istio configures it: no `vm_id`, V8, the configuration as a JSON string.
#[derive(Clone, Debug)]
pub struct Wasm {
    name: String,
    root_id: String,
    module: PathBuf,
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
            Self::Wasm(wasm) => wasm.to_json(),
        }
    }
}

impl From<Wasm> for Filter {
    fn from(wasm: Wasm) -> Self {
        Self::Wasm(wasm)
    }
}

impl From<Value> for Filter {
    fn from(value: Value) -> Self {
        Self::Raw(value)
    }
}

// === impl Wasm ===

impl Wasm {
    /// The module at `module` (made absolute when it exists), without configuration, failing open.
    pub fn new(module: &Path) -> Self {
        Self {
            name: "istio-system.sidespan".to_owned(),
            root_id: "sidespan".to_owned(),
            module: module.canonicalize().unwrap_or_else(|_| module.to_owned()),
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

    /// `root_id`, which Istio takes from `pluginName`.
    #[must_use]
    pub fn root_id(mut self, root_id: &str) -> Self {
        root_id.clone_into(&mut self.root_id);
        self
    }

    /// `FAIL_OPEN`, `FAIL_CLOSED` or `FAIL_RELOAD`.
    #[must_use]
    pub fn failure_policy(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.failure_policy);
        self
    }

    /// An environment variable given to the VM.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), json!(value));
        self
    }

    /// A variable of Envoy's own environment passed to the VM.
    #[must_use]
    pub fn host_environment(mut self, name: &str) -> Self {
        self.host_environment.push(name.to_owned());
        self
    }

    /// Delivers the filter by extension discovery (ECDS) from a file, as Istio does by ADS, so that
    /// [`crate::Envoy::update_wasm`] can change it while Envoy runs.
    #[must_use]
    pub fn discovered(mut self) -> Self {
        self.discovered = true;
        self
    }

    /// Merges any JSON into the `PluginConfig`.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.patch, patch);
        self
    }

    /// The entry of `http_filters`.
    pub fn to_json(&self) -> Value {
        if !self.discovered {
            return typed(&self.name, WASM, json!({"config": self.plugin()}));
        }
        let source = json!({"path_config_source": {"path": self.file_name()}, "resource_api_version": "V3"});
        json!({
            "name": self.name,
            "config_discovery": {"config_source": source, "type_urls": [format!("type.googleapis.com/{WASM}")]},
        })
    }

    /// The discovery response and the file it belongs into; `None` if the filter stands in the listener itself.
    pub(crate) fn discovery_file(&self) -> Option<(String, Value)> {
        let mut resource = typed(&self.name, WASM, json!({"config": self.plugin()}));
        merge(&mut resource, json!({"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"}));
        let response = json!({"resources": [resource]});
        self.discovered.then(|| (self.file_name(), response))
    }

    fn file_name(&self) -> String {
        format!("./ecds-{}.json", self.name)
    }

    fn plugin(&self) -> Value {
        let mut plugin = json!({
            "name": self.name,
            "root_id": self.root_id,
            "failure_policy": self.failure_policy,
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": self.module}},
                "environment_variables": {"host_env_keys": self.host_environment, "key_values": self.environment},
            },
        });
        if let Some(text) = &self.configuration {
            let string = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text});
            merge(&mut plugin, json!({ "configuration": string }));
        }
        merge(&mut plugin, self.patch.clone());
        plugin
    }
}

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

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
