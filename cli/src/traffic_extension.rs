//! The TrafficExtension around a `pluginConfig`: what Istio has from 1.30 on beside the WasmPlugin, with the same meaning.
//!
//! `extensions.istio.io/v1alpha1`. What concerns the module stands in `spec.wasm`, what selects traffic in `spec`.

use crate::wasmplugin::{
    ApiVersion, FailStrategy, Metadata, PluginConfig, PluginType, Priority, PullPolicy, Selector, Spec, Status,
    TargetRef, TrafficSelector, VmConfig,
};
use sidespan_core::{choice, object};

object! {
    /// A TrafficExtension resource that loads a module.
    pub struct TrafficExtension {
        /// Always `extensions.istio.io/v1alpha1`.
        "apiVersion" => api_version: ApiVersion;
        /// Always `TrafficExtension`.
        "kind" => kind: Kind;
        /// Name, namespace, labels.
        "metadata" => metadata: Metadata;
        /// What is wanted.
        "spec" => spec: ExtensionSpec;
        /// Written by Istio.
        "status" => status: Option<Status> = None;
    }
}

choice! {
    /// `kind`.
    pub enum Kind {
        /// The only one.
        "TrafficExtension" => TrafficExtension,
    }
}

object! {
    /// `spec`.
    pub struct ExtensionSpec {
        /// The pods that are meant; absent: all of the namespace.
        "selector" => selector: Option<Selector> = None;
        /// Gateways, services and the like; waypoints need it. At most 16.
        "targetRefs" => target_refs: Vec<TargetRef> = Vec::new(), schema {"maxItems": 16};
        /// Where in the filter chain.
        "phase" => phase: Option<Phase> = None;
        /// Higher comes first within the phase.
        "priority" => priority: Option<Priority> = None;
        /// The traffic that passes the extension; absent: all.
        "match" => matches: Vec<TrafficSelector> = Vec::new();
        /// The module.
        "wasm" => wasm: Wasm;
    }
}

choice! {
    /// `phase`.
    pub enum Phase {
        /// Near the router.
        "UNSPECIFIED" => Unspecified,
        /// Before authentication.
        "AUTHN" => Authn,
        /// Before authorization.
        "AUTHZ" => Authz,
        /// Before Istio's statistics.
        "STATS" => Stats,
    }
}

object! {
    /// `spec.wasm`.
    pub struct Wasm {
        /// Where the module is: `oci://` (also without a scheme), `https://`, `http://` or `file://`.
        "url" => url: String, schema {"minLength": 1};
        /// Digest: of the image manifest for OCI, of the unpacked module for HTTP.
        "sha256" => sha256: Option<String> = None, schema {"pattern": "^([a-f0-9]{64})?$"};
        /// When the image is pulled again.
        "imagePullPolicy" => image_pull_policy: Option<PullPolicy> = None;
        /// A Secret in the extension's namespace.
        "imagePullSecret" => image_pull_secret: Option<String> = None, schema {"minLength": 1, "maxLength": 253};
        /// Not implemented by Istio.
        "verificationKey" => verification_key: Option<String> = None;
        /// The configuration of sidespan.
        "pluginConfig" => plugin_config: Option<PluginConfig> = None;
        /// Becomes the root id in Envoy.
        "pluginName" => plugin_name: Option<String> = None, schema {"minLength": 1, "maxLength": 256};
        /// What happens after a fatal error. Istio's default is FAIL_CLOSE.
        "failStrategy" => fail_strategy: Option<FailStrategy> = None;
        /// The environment of the module.
        "vmConfig" => vm_config: VmConfig = VmConfig::default();
        /// Kind of extension.
        "type" => plugin_type: Option<PluginType> = None;
    }
}

/// The fields of [`Spec`] that stand in `spec.wasm` here.
const IN_WASM: [&str; 10] = [
    "url",
    "sha256",
    "imagePullPolicy",
    "imagePullSecret",
    "verificationKey",
    "pluginConfig",
    "pluginName",
    "failStrategy",
    "vmConfig",
    "type",
];

/// Where something of a WasmPlugin's `spec` stands in a TrafficExtension: `spec.url` is `spec.wasm.url`.
pub(crate) fn place(path: &str) -> String {
    let Some(rest) = path.strip_prefix("spec.") else { return path.to_owned() };
    let field = rest.split(['.', '[']).next().unwrap_or_default();
    if IN_WASM.contains(&field) { format!("spec.wasm.{rest}") } else { path.to_owned() }
}

impl From<ExtensionSpec> for Spec {
    fn from(spec: ExtensionSpec) -> Self {
        let ExtensionSpec { selector, target_refs, phase, priority, matches, wasm } = spec;
        let phase = phase.map(|phase| match phase {
            Phase::Unspecified => crate::wasmplugin::Phase::Unspecified,
            Phase::Authn => crate::wasmplugin::Phase::Authn,
            Phase::Authz => crate::wasmplugin::Phase::Authz,
            Phase::Stats => crate::wasmplugin::Phase::Stats,
        });
        Self {
            selector,
            target_refs,
            target_ref: None,
            url: wasm.url,
            sha256: wasm.sha256,
            image_pull_policy: wasm.image_pull_policy,
            image_pull_secret: wasm.image_pull_secret,
            verification_key: wasm.verification_key,
            plugin_config: wasm.plugin_config,
            plugin_name: wasm.plugin_name,
            phase,
            priority,
            fail_strategy: wasm.fail_strategy,
            vm_config: wasm.vm_config,
            matches,
            plugin_type: wasm.plugin_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{Severity, check_text};
    use serde_json::{Value, json};

    /// `path: problem` of each problem, and of each warning.
    fn found(patch: Value) -> (Vec<String>, Vec<String>) {
        let mut resource = json!({
            "apiVersion": "extensions.istio.io/v1alpha1", "kind": "TrafficExtension",
            "metadata": {"name": "sidespan", "namespace": "istio-system"},
            "spec": {
                "phase": "AUTHN", "priority": 1000, "match": [{"mode": "CLIENT_AND_SERVER"}],
                "wasm": {"url": "oci://registry.example.com/sidespan:0.1.0", "failStrategy": "FAIL_OPEN",
                         "pluginConfig": {"exporter": {"otlp": {"service": "a.b"}}}},
            },
        });
        merge(&mut resource, patch);
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        for finding in check_text("extension", &resource.to_string()).findings {
            let list = if finding.severity == Severity::Error { &mut problems } else { &mut warnings };
            list.push(format!("{}: {}", finding.path, finding.message));
        }
        (problems, warnings)
    }

    /// RFC 7396, for objects.
    fn merge(into: &mut Value, patch: Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        into.remove(&key);
                    } else {
                        merge(into.entry(key).or_insert(Value::Null), value);
                    }
                }
            }
            (into, patch) => *into = patch,
        }
    }

    #[test]
    fn an_extension_is_checked_like_a_plugin_and_problems_have_its_paths() {
        let table = [
            (json!({}), "", "", "nothing is wrong"),
            (
                json!({"spec": {"wasm": {"sha256": "sha256:1"}}}),
                "spec.wasm.sha256: is not a SHA-256 digest",
                "",
                "digest",
            ),
            (json!({"spec": {"wasm": null}}), "spec: `wasm` is missing", "", "no module"),
            (
                json!({"spec": {"url": "oci://a/b:1"}}),
                "spec.url: unknown field",
                "",
                "a field in the place of a WasmPlugin",
            ),
            (
                json!({"spec": {"wasm": {"phase": "AUTHN"}}}),
                "spec.wasm.phase: unknown field",
                "",
                "the other way round",
            ),
            (json!({"spec": {"phase": "UNSPECIFIED_PHASE"}}), "spec.phase", "", "the word of a WasmPlugin"),
            (json!({"spec": {"targetRef": {}}}), "spec.targetRef: unknown field", "", "only a WasmPlugin has it"),
            (
                json!({"spec": {"wasm": {"pluginConfig": {"exporter": {"otlp": {"prot": 1}}}}}}),
                "spec.wasm.pluginConfig.exporter.otlp.prot",
                "",
                "the configuration itself",
            ),
            (
                json!({"spec": {"wasm": {"failStrategy": null}}}),
                "",
                "spec.wasm.failStrategy: FAIL_CLOSE",
                "Istio's default",
            ),
            (json!({"spec": {"phase": "STATS"}}), "", "spec.phase: is not AUTHN", "what is probably not meant"),
        ];
        for (patch, problem, warning, why) in table {
            let (problems, warnings) = found(patch);
            for (found, expected) in [(problems, problem), (warnings, warning)] {
                let as_expected = match expected {
                    "" => found.is_empty(),
                    expected => found.iter().any(|line| line.starts_with(expected)),
                };
                assert!(as_expected, "{why}: {expected:?} in {found:?}");
            }
        }
    }
}
