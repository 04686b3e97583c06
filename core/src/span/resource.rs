//! Resource attributes: service, workload, cluster and region, from Envoy's node, the environment and the configuration.
//!
//! For each key the first source that has it wins: `resource` of the configuration, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, the pod's annotations `resource.opentelemetry.io/…`, then the labels and metadata of Istio and
//! Kubernetes, in the order of the semantic conventions' "Kubernetes attributes" and of Istio's `OTEL_SEMANTIC_CONVENTIONS`
//! enrichment. Without any of them `service.name` is `unknown_service:envoy`, as of Envoy's own tracer.
//!
//! Beside Envoy's own tracer (`nativeTracer: adopt`) the node's cluster is the first of them for `service.name`: the name that Istio
//! gives to its OpenTelemetry tracer, and that Envoy's Zipkin tracer takes by itself. So a service has one name in all traces.

use super::environment::Environment;
use super::model::{Attribute, Value};
use super::node::Node;
use super::redact::safe_text;
use crate::config::{Config, Literal, NativeTracer};
use crate::http::percent;

/// Longest value that is taken from the environment, in bytes.
const MAX_VALUE: usize = 1024;

/// Attributes with unique keys: the first value of a key stays.
#[derive(Default)]
struct Resource(Vec<Attribute>);

/// All resource attributes.
pub(super) fn resource(node: &Node<'_>, environment: &Environment, config: &Config) -> Vec<Attribute> {
    let mut all = Resource::default();
    for (key, value) in &config.resource {
        all.add(key.clone(), Some(literal(value)));
    }
    all.add_text("service.name", environment.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()).cloned());
    for (key, value) in environment.get("OTEL_RESOURCE_ATTRIBUTES").and_then(|text| pairs(text)).unwrap_or_default() {
        all.add(key, Some(value.into()));
    }
    if config.native_tracer == NativeTracer::Adopt {
        all.add_text("service.name", node.leaf(&["cluster"]));
    }
    service(&mut all, node);
    all.add_text("envoy.node_id", node.leaf(&["id"]));
    kubernetes(&mut all, node);
    cloud(&mut all, node);
    all.add_text("deployment.environment.name", node.annotation("deployment.environment.name"));
    // Semantic conventions, "telemetry": other names than `opentelemetry` for what is not an official SDK.
    for (key, value) in [
        ("service.name", "unknown_service:envoy"),
        ("telemetry.sdk.name", "sidespan"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.distro.name", "sidespan"),
        ("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
    ] {
        all.add(key.to_owned(), Some(value.into()));
    }
    all.0
}

fn service(all: &mut Resource, node: &Node<'_>) {
    let name = node
        .annotation("service.name")
        .or_else(|| node.label("app.kubernetes.io/instance"))
        .or_else(|| node.label("app.kubernetes.io/name"))
        .or_else(|| node.label("service.istio.io/canonical-name"))
        .or_else(|| node.metadata("WORKLOAD_NAME"))
        .or_else(|| node.metadata("NAME"))
        .or_else(|| node.container())
        .or_else(|| node.leaf(&["cluster"]));
    all.add_text("service.name", name);
    all.add_text("service.namespace", node.annotation("service.namespace").or_else(|| node.metadata("NAMESPACE")));
    let version = node
        .annotation("service.version")
        .or_else(|| node.label("app.kubernetes.io/version"))
        .or_else(|| node.label("service.istio.io/canonical-revision"))
        .or_else(|| node.label("version"));
    all.add_text("service.version", version);
    all.add_text("service.instance.id", node.annotation("service.instance.id").or_else(|| instance(node)));
}

/// `namespace.pod.container` by the conventions; the node's id outside Kubernetes.
fn instance(node: &Node<'_>) -> Option<String> {
    let Some((namespace, pod)) = node.metadata("NAMESPACE").zip(node.metadata("NAME")) else {
        return node.leaf(&["id"]);
    };
    Some(match node.container() {
        Some(container) => format!("{namespace}.{pod}.{container}"),
        None => format!("{namespace}.{pod}"),
    })
}

fn kubernetes(all: &mut Resource, node: &Node<'_>) {
    all.add_text("k8s.cluster.name", node.metadata("CLUSTER_ID"));
    all.add_text("k8s.namespace.name", node.metadata("NAMESPACE"));
    all.add_text("k8s.pod.name", node.metadata("NAME"));
    all.add_text("k8s.node.name", node.metadata("NODE_NAME"));
    // `kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1`
    let owner = node.metadata("OWNER").unwrap_or_default();
    let mut parts = owner.rsplit('/');
    let (name, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let key = match kind {
        "deployments" => "k8s.deployment.name",
        "statefulsets" => "k8s.statefulset.name",
        "daemonsets" => "k8s.daemonset.name",
        "cronjobs" => "k8s.cronjob.name",
        "jobs" => "k8s.job.name",
        _ => return,
    };
    all.add_text(key, Some(name.to_owned()).filter(|name| !name.is_empty()));
}

/// The node's locality first: Istio fills it from the platform or the node's topology labels.
fn cloud(all: &mut Resource, node: &Node<'_>) {
    let platform = |key| node.leaf(&["metadata", "PLATFORM_METADATA", key]);
    let region = node.leaf(&["locality", "region"]);
    all.add_text("cloud.region", region.or_else(|| platform("aws_region")).or_else(|| platform("azure_location")));
    all.add_text(
        "cloud.availability_zone",
        node.leaf(&["locality", "zone"]).or_else(|| platform("aws_availability_zone")),
    );
    for (account, provider) in [("aws_account_id", "aws"), ("gcp_project", "gcp")] {
        if let Some(account) = platform(account) {
            all.add("cloud.provider".to_owned(), Some(provider.into()));
            all.add_text("cloud.account.id", Some(account));
        }
    }
}

fn literal(value: &Literal) -> Value {
    match value {
        Literal::String(text) => Value::String(text.clone().into()),
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(number) => Value::Int(*number),
        Literal::Double(number) => Value::Double(*number),
    }
}

/// `key=value,key=value`, percent-encoded (OpenTelemetry, "Resource SDK"): one malformed entry discards the whole value.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decode = |part: &str| safe_text(&percent::decode(part.trim().as_bytes()), MAX_VALUE);
    text.split(',')
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| {
            let (key, value) = entry.split_once('=')?;
            Some((decode(key), decode(value))).filter(|(key, _)| !key.is_empty())
        })
        .collect()
}

// === impl Resource ===

impl Resource {
    #[inline(never)]
    fn add(&mut self, key: String, value: Option<Value>) {
        if let Some(value) = value
            && !self.0.iter().any(|attribute| attribute.key == key)
        {
            self.0.push(Attribute::new(key, value));
        }
    }

    #[inline(never)]
    fn add_text(&mut self, key: &'static str, value: Option<String>) {
        self.add(key.to_owned(), value.map(Value::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_attributes_of_the_environment_are_decoded_or_discarded_as_a_whole() {
        let read = |text: &str| pairs(text).map(|all| all.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>());
        assert_eq!(read("a=1, b=x%2Cy ,"), Some(vec!["a:1".to_owned(), "b:x,y".to_owned()]));
        assert_eq!(read("a=1,b"), None);
        assert_eq!(read("=1"), None);
    }
}
