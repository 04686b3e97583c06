//! The WasmPlugin around a `pluginConfig`: its fields as Istio's API has them, and what Istio does with them.
//!
//! `extensions.istio.io/v1alpha1`; the limits are those of the resource's own validation.

use crate::fit::fit;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sidespan_core::config::{Config, Problem, Report, parse};
use sidespan_core::span::tags;
use std::collections::{BTreeMap, BTreeSet};

/// A WasmPlugin resource.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WasmPlugin {
    /// Always `extensions.istio.io/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `WasmPlugin`.
    pub kind: Kind,
    /// Name, namespace, labels.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: Spec,
    /// Written by Istio.
    #[serde(default)]
    pub status: Option<Map<String, Value>>,
}

/// `apiVersion`.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "extensions.istio.io/v1alpha1")]
    V1Alpha1,
}

/// `kind`.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum Kind {
    /// The only one.
    WasmPlugin,
}

/// The part of the metadata that matters here; Kubernetes knows more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name of the resource.
    pub name: Option<String>,
    /// A prefix that Kubernetes makes a name from.
    pub generate_name: Option<String>,
    /// In Istio's root namespace, usually `istio-system`, the plugin applies to the whole mesh.
    pub namespace: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// `spec`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The pods that are meant; absent: all of the namespace.
    #[serde(default)]
    pub selector: Option<Selector>,
    /// Gateways, services and the like; waypoints need it. At most 16.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Superseded by `targetRefs`.
    #[serde(default)]
    pub target_ref: Option<TargetRef>,
    /// Where the module is: `oci://` (also without a scheme), `https://`, `http://` or `file://`.
    #[schemars(length(min = 1))]
    pub url: String,
    /// Digest: of the image manifest for OCI, of the unpacked module for HTTP.
    #[serde(default)]
    #[schemars(regex(pattern = "^([a-f0-9]{64})?$"))]
    pub sha256: Option<String>,
    /// When the image is pulled again.
    #[serde(default)]
    pub image_pull_policy: Option<PullPolicy>,
    /// A Secret in the plugin's namespace.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub image_pull_secret: Option<String>,
    /// Not implemented by Istio.
    #[serde(default)]
    pub verification_key: Option<String>,
    /// The configuration of sidespan.
    #[serde(default)]
    #[schemars(with = "Option<Config>")]
    pub plugin_config: Option<Value>,
    /// Becomes the root id in Envoy.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub plugin_name: Option<String>,
    /// Where in the filter chain.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// Higher comes first within the phase.
    #[serde(default)]
    pub priority: Option<i32>,
    /// What happens after a fatal error. Istio's default is FAIL_CLOSE.
    #[serde(default)]
    pub fail_strategy: Option<FailStrategy>,
    /// The environment of the module.
    #[serde(default)]
    pub vm_config: Option<VmConfig>,
    /// The traffic that passes the plugin; absent: all.
    #[serde(default, rename = "match")]
    pub matches: Vec<TrafficSelector>,
    /// Kind of extension.
    #[serde(default, rename = "type")]
    pub plugin_type: Option<PluginType>,
}

/// `selector`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// All must match.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// An entry of `targetRefs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// API group, such as `gateway.networking.k8s.io`.
    #[serde(default)]
    pub group: String,
    /// Such as `Gateway` or `Service`.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Must be the plugin's own, if given.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
pub enum PullPolicy {
    /// `IfNotPresent`, but `Always` for the tag `latest`.
    #[serde(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    /// Once.
    IfNotPresent,
    /// Whenever the resource changes.
    Always,
}

/// `phase`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// Near the router.
    #[serde(rename = "UNSPECIFIED_PHASE")]
    Unspecified,
    /// Before authentication.
    Authn,
    /// Before authorization.
    Authz,
    /// Before Istio's statistics.
    Stats,
}

/// `failStrategy`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    /// Requests fail.
    FailClose,
    /// Requests pass without the plugin.
    FailOpen,
    /// The plugin is started again.
    FailReload,
}

/// `type`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
pub enum PluginType {
    /// HTTP.
    #[serde(rename = "UNSPECIFIED_PLUGIN_TYPE")]
    Unspecified,
    /// An HTTP filter.
    #[serde(rename = "HTTP")]
    Http,
    /// A network filter.
    #[serde(rename = "NETWORK")]
    Network,
}

/// `vmConfig`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmConfig {
    /// Environment variables; at most 256.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,
}

/// An environment variable of the module.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// A C identifier.
    #[schemars(length(max = 256), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The value itself; not with HOST.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default)]
    pub value_from: Option<ValueFrom>,
}

/// `valueFrom`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub enum ValueFrom {
    /// `value`.
    Inline,
    /// The environment of the proxy.
    Host,
}

/// An entry of `match`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficSelector {
    /// Direction.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Destination ports; absent: any.
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// `mode`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// As if absent.
    Undefined,
    /// Outbound, and gateways.
    Client,
    /// Inbound.
    Server,
    /// Both.
    ClientAndServer,
}

/// An entry of `ports`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// 1 to 65535.
    #[schemars(range(min = 1))]
    pub number: u16,
}

/// Problems and warnings of a WasmPlugin, its `pluginConfig` included.
pub fn check(resource: Value) -> (Vec<Problem>, Vec<Problem>) {
    let (mut report, mut warnings) = (Report::default(), Report::default());
    let Some(plugin) = fit::<WasmPlugin>(resource, &mut report) else { return (report.into_problems(), Vec::new()) };
    if plugin.metadata.name.is_none() && plugin.metadata.generate_name.is_none() {
        report.absent("metadata", "`name` is missing", "give `name`");
    }
    check_spec(&plugin.spec, &mut report);
    warn_spec(&plugin.spec, &mut warnings);
    let (mut problems, mut warnings) = (report.into_problems(), warnings.into_problems());
    // What is wrong was left out, and so looks absent.
    warnings.retain(|warning| !problems.iter().any(|problem| problem.path.starts_with(&warning.path)));
    let config = plugin.spec.plugin_config.unwrap_or_else(|| Value::Object(Map::new()));
    let (in_config, about_config) = check_config(&config);
    problems.extend(in_config.into_iter().map(|problem| below("spec.pluginConfig", problem)));
    warnings.extend(about_config.into_iter().map(|problem| below("spec.pluginConfig", problem)));
    (problems, warnings)
}

/// Problems and warnings of a `pluginConfig`, by the very code of the filter.
pub fn check_config(config: &Value) -> (Vec<Problem>, Vec<Problem>) {
    match parse(config.to_string().as_bytes()).and_then(tags::check) {
        Ok(config) => (Vec::new(), config.warnings()),
        Err(problems) => (problems, Vec::new()),
    }
}

fn below(parent: &str, problem: Problem) -> Problem {
    let path = match problem.path.as_str() {
        "" => parent.to_owned(),
        path if path.starts_with('[') => format!("{parent}{path}"),
        path => format!("{parent}.{path}"),
    };
    Problem { path, ..problem }
}

// === impl Spec ===

fn check_spec(spec: &Spec, report: &mut Report) {
    let targets = [spec.selector.is_some(), spec.target_ref.is_some(), !spec.target_refs.is_empty()];
    if targets.iter().filter(|given| **given).count() > 1 {
        report.add("spec", "has more than one of `selector`, `targetRef` and `targetRefs`", "keep one of them");
    }
    if spec.target_refs.len() > 16 {
        report.add("spec.targetRefs", &format!("{} entries", spec.target_refs.len()), "at most 16");
    }
    check_url(spec, report);
    let lengths = [
        ("spec.imagePullSecret", spec.image_pull_secret.as_deref(), 253),
        ("spec.pluginName", spec.plugin_name.as_deref(), 256),
    ];
    for (path, text, most) in lengths {
        if text.is_some_and(|text| text.is_empty() || text.len() > most) {
            report.add(path, "is empty or too long", &format!("1 to {most} characters"));
        }
    }
    if spec.plugin_type == Some(PluginType::Network) {
        report.add("spec.type", "sidespan is an HTTP filter", "leave `type` out, or give HTTP");
    }
    if let Some(vm) = &spec.vm_config {
        check_env(&vm.env, report);
    }
    for (index, selector) in spec.matches.iter().enumerate() {
        let path = format!("{}.ports", report.element("spec.match", index));
        let mut seen = BTreeSet::new();
        for (index, port) in selector.ports.iter().enumerate() {
            if port.number == 0 || !seen.insert(port.number) {
                let here = report.element(&path, index);
                report.add(&here, &format!("port {}", port.number), "give each port from 1 to 65535 once");
            }
        }
    }
}

fn check_url(spec: &Spec, report: &mut Report) {
    let scheme = spec.url.split_once("://").map_or("oci", |(scheme, _)| scheme);
    if spec.url.is_empty() {
        report.add("spec.url", "is empty", "give the image, such as oci://registry.example.com/sidespan:0.1.0");
    } else if !["oci", "http", "https", "file"].contains(&scheme) {
        report.add("spec.url", &format!("unknown scheme `{scheme}`"), "oci, https, http or file");
    }
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    let Some(sha256) = spec.sha256.as_deref().filter(|sha256| !sha256.is_empty()) else { return };
    if !is_digest(sha256) {
        report.add(
            "spec.sha256",
            "is not a SHA-256 digest",
            "64 digits and letters a to f, in lower case, without `sha256:`",
        );
    }
    if spec.url.split_once("@sha256:").is_some_and(|(_, digest)| digest != sha256) {
        report.add("spec.sha256", "differs from the digest in `url`", "give it once");
    }
}

fn check_env(env: &[EnvVar], report: &mut Report) {
    if env.len() > 256 {
        report.add("spec.vmConfig.env", &format!("{} entries", env.len()), "at most 256");
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in env.iter().enumerate() {
        let path = report.element("spec.vmConfig.env", index);
        let name = &variable.name;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty()
            || name.len() > 256
            || !name.bytes().all(letter)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            report.add(&format!("{path}.name"), "is not a variable's name", "letters, digits and _, such as POD_NAME");
        }
        if !seen.insert(name) {
            report.add(&format!("{path}.name"), &format!("`{name}` is given twice"), "keep one of them");
        }
        if variable.value.as_ref().is_some_and(|value| value.len() > 2048) {
            report.add(&format!("{path}.value"), "is too long", "at most 2048 bytes");
        }
        if variable.value_from == Some(ValueFrom::Host) && variable.value.is_some() {
            report.add(
                &format!("{path}.value"),
                "has no meaning with HOST",
                "leave it out, or give `valueFrom: INLINE`",
            );
        }
    }
}

fn warn_spec(spec: &Spec, report: &mut Report) {
    match spec.fail_strategy {
        Some(FailStrategy::FailOpen) => {}
        Some(FailStrategy::FailReload) => report.add(
            "spec.failStrategy",
            "FAIL_RELOAD refuses traffic if the module cannot be fetched, and for a second or so before each reload",
            "give FAIL_OPEN: a tracer must not cost requests",
        ),
        Some(FailStrategy::FailClose) | None => report.add(
            "spec.failStrategy",
            "FAIL_CLOSE, Istio's default, refuses traffic if the module cannot be fetched or fails",
            "give FAIL_OPEN: a tracer must not cost requests",
        ),
    }
    if spec.phase != Some(Phase::Authn) {
        let hint = "give AUTHN: then requests that authentication or authorization rejects have full spans too";
        report.add("spec.phase", "is not AUTHN", hint);
    }
    let last = spec.url.rsplit('/').next().unwrap_or_default();
    let image = !spec.url.contains("://") || spec.url.starts_with("oci://");
    let pinned = last.contains("@sha256:") || spec.sha256.as_ref().is_some_and(|digest| !digest.is_empty());
    if image && !pinned && (!last.contains(':') || last.ends_with(":latest")) {
        report.add("spec.url", "names no version", "give a tag or a digest, so that every proxy runs the same module");
    }
    let modes: Vec<Mode> = spec.matches.iter().map(|selector| selector.mode.unwrap_or(Mode::ClientAndServer)).collect();
    let both = modes.iter().any(|mode| matches!(mode, Mode::ClientAndServer | Mode::Undefined))
        || (modes.contains(&Mode::Client) && modes.contains(&Mode::Server));
    if !modes.is_empty() && !both {
        let hint = "give CLIENT_AND_SERVER; a gateway alone may do with CLIENT";
        report.add("spec.match", "takes one direction only: the path from the root to an error has gaps", hint);
    }
    if spec.verification_key.is_some() {
        report.add("spec.verificationKey", "is not implemented by Istio", "pin the image by its digest");
    }
    for (index, variable) in spec.vm_config.iter().flat_map(|vm| &vm.env).enumerate() {
        let path = format!("spec.vmConfig.env[{index}]");
        if variable.name.starts_with("ISTIO_META_") {
            report.add(&path, "is removed by Istio's agent", "choose another name");
        }
        if variable.value_from != Some(ValueFrom::Host) && variable.value.is_none() {
            report.add(&path, "has neither `value` nor `valueFrom: HOST`", "give one of them");
        }
    }
}
