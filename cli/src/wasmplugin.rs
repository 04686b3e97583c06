//! The WasmPlugin around a `pluginConfig`: its fields as Istio's API has them.
//!
//! `extensions.istio.io/v1alpha1`; the limits are those of the resource's own validation. What Istio does with the fields is
//! checked in [`crate::spec`].

use serde_json::{Value, json};
use sidespan_core::config::describe::{Definitions, Described};
use sidespan_core::config::node::{At, Node};
use sidespan_core::config::{Config, Report};
use sidespan_core::{choice, object};
use std::collections::BTreeMap;

object! {
    /// A WasmPlugin resource.
    pub struct WasmPlugin {
        /// Always `extensions.istio.io/v1alpha1`.
        "apiVersion" => api_version: ApiVersion;
        /// Always `WasmPlugin`.
        "kind" => kind: Kind;
        /// Name, namespace, labels.
        "metadata" => metadata: Metadata;
        /// What is wanted.
        "spec" => spec: Spec;
        /// Written by Istio.
        "status" => status: Option<Status> = None;
    }
}

choice! {
    /// `apiVersion`.
    pub enum ApiVersion {
        /// The only one.
        "extensions.istio.io/v1alpha1" => V1Alpha1,
    }
}

choice! {
    /// `kind`.
    pub enum Kind {
        /// The only one.
        "WasmPlugin" => WasmPlugin,
    }
}

object! {
    /// The part of the metadata that matters here; Kubernetes knows more.
    pub struct Metadata (open) {
        /// Name of the resource.
        "name" => name: Option<String> = None;
        /// A prefix that Kubernetes makes a name from.
        "generateName" => generate_name: Option<String> = None;
        /// In Istio's root namespace, usually `istio-system`, the plugin applies to the whole mesh.
        "namespace" => namespace: Option<String> = None;
        /// Labels.
        "labels" => labels: BTreeMap<String, String> = BTreeMap::new();
        /// Annotations.
        "annotations" => annotations: BTreeMap<String, String> = BTreeMap::new();
    }
}

object! {
    /// What Istio reports; nothing of it matters here.
    pub struct Status (open) {
    }
}

object! {
    /// `spec`.
    pub struct Spec {
        /// The pods that are meant; absent: all of the namespace.
        "selector" => selector: Option<Selector> = None;
        /// Gateways, services and the like; waypoints need it. At most 16.
        "targetRefs" => target_refs: Vec<TargetRef> = Vec::new(), schema {"maxItems": 16};
        /// Superseded by `targetRefs`.
        "targetRef" => target_ref: Option<TargetRef> = None;
        /// Where the module is: `oci://` (also without a scheme), `https://`, `http://` or `file://`.
        "url" => url: String, schema {"minLength": 1};
        /// Digest: of the image manifest for OCI, of the unpacked module for HTTP.
        "sha256" => sha256: Option<String> = None, schema {"pattern": "^([a-f0-9]{64})?$"};
        /// When the image is pulled again.
        "imagePullPolicy" => image_pull_policy: Option<PullPolicy> = None;
        /// A Secret in the plugin's namespace.
        "imagePullSecret" => image_pull_secret: Option<String> = None, schema {"minLength": 1, "maxLength": 253};
        /// Not implemented by Istio.
        "verificationKey" => verification_key: Option<String> = None;
        /// The configuration of sidespan.
        "pluginConfig" => plugin_config: Option<PluginConfig> = None;
        /// Becomes the root id in Envoy.
        "pluginName" => plugin_name: Option<String> = None, schema {"minLength": 1, "maxLength": 256};
        /// Where in the filter chain.
        "phase" => phase: Option<Phase> = None;
        /// Higher comes first within the phase.
        "priority" => priority: Option<Priority> = None;
        /// What happens after a fatal error. Istio's default is FAIL_CLOSE.
        "failStrategy" => fail_strategy: Option<FailStrategy> = None;
        /// The environment of the module.
        "vmConfig" => vm_config: VmConfig = VmConfig::default();
        /// The traffic that passes the plugin; absent: all.
        "match" => matches: Vec<TrafficSelector> = Vec::new();
        /// Kind of extension.
        "type" => plugin_type: Option<PluginType> = None;
    }
}

object! {
    /// `selector`.
    pub struct Selector {
        /// All must match.
        "matchLabels" => match_labels: BTreeMap<String, String> = BTreeMap::new();
    }
}

object! {
    /// An entry of `targetRefs`.
    pub struct TargetRef {
        /// API group, such as `gateway.networking.k8s.io`.
        "group" => group: String = String::new();
        /// Such as `Gateway` or `Service`.
        "kind" => kind: String;
        /// Name of the resource.
        "name" => name: String;
        /// Must be the plugin's own, if given.
        "namespace" => namespace: Option<String> = None;
    }
}

choice! {
    /// `imagePullPolicy`.
    pub enum PullPolicy {
        /// `IfNotPresent`, but `Always` for the tag `latest`.
        "UNSPECIFIED_POLICY" => Unspecified,
        /// Once.
        "IfNotPresent" => IfNotPresent,
        /// Whenever the resource changes.
        "Always" => Always,
    }
}

choice! {
    /// `phase`.
    pub enum Phase {
        /// Near the router.
        "UNSPECIFIED_PHASE" => Unspecified,
        /// Before authentication.
        "AUTHN" => Authn,
        /// Before authorization.
        "AUTHZ" => Authz,
        /// Before Istio's statistics.
        "STATS" => Stats,
    }
}

choice! {
    /// `failStrategy`.
    pub enum FailStrategy {
        /// Requests fail.
        "FAIL_CLOSE" => Close,
        /// Requests pass without the plugin.
        "FAIL_OPEN" => Open,
        /// The plugin is started again.
        "FAIL_RELOAD" => Reload,
    }
}

choice! {
    /// `type`.
    pub enum PluginType {
        /// HTTP.
        "UNSPECIFIED_PLUGIN_TYPE" => Unspecified,
        /// An HTTP filter.
        "HTTP" => Http,
        /// A network filter.
        "NETWORK" => Network,
    }
}

object! {
    /// `vmConfig`.
    pub struct VmConfig {
        /// Environment variables; at most 256.
        "env" => env: Vec<EnvVar> = Vec::new(), schema {"maxItems": 256};
    }
}

object! {
    /// An environment variable of the module.
    pub struct EnvVar {
        /// A C identifier.
        "name" => name: String, schema {"maxLength": 256, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"};
        /// The value itself; not with HOST.
        "value" => value: Option<String> = None, schema {"maxLength": 2048};
        /// Where the value comes from.
        "valueFrom" => value_from: Option<ValueFrom> = None;
    }
}

choice! {
    /// `valueFrom`.
    pub enum ValueFrom {
        /// `value`.
        "INLINE" => Inline,
        /// The environment of the proxy.
        "HOST" => Host,
    }
}

object! {
    /// An entry of `match`.
    pub struct TrafficSelector {
        /// Direction.
        "mode" => mode: Option<Mode> = None;
        /// Destination ports; absent: any.
        "ports" => ports: Vec<Port> = Vec::new();
    }
}

choice! {
    /// `mode`.
    pub enum Mode {
        /// As if absent.
        "UNDEFINED" => Undefined,
        /// Outbound, and gateways.
        "CLIENT" => Client,
        /// Inbound.
        "SERVER" => Server,
        /// Both.
        "CLIENT_AND_SERVER" => ClientAndServer,
    }
}

object! {
    /// An entry of `ports`.
    pub struct Port {
        /// 1 to 65535.
        "number" => number: u16, in 1..=65535;
    }
}

/// `priority`: any number that a protobuf `int32` holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Priority(pub(crate) i32);

impl Node for Priority {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let number = at.value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.map(Self).or_else(|| at.misfit("a whole number", report))
    }
}

impl Described for Priority {
    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX})
    }
}

/// `pluginConfig` as it is written; [`parse`] reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginConfig(pub(crate) Value);

impl Node for PluginConfig {
    fn read(at: At<'_>, _: &mut Report) -> Option<Self> {
        Some(Self(at.value.clone()))
    }
}

impl Described for PluginConfig {
    fn schema(definitions: &mut Definitions) -> Value {
        Config::schema(definitions)
    }
}
