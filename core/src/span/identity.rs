//! Who we are: service, workload, cluster and region, from Envoy's node, the environment and the configuration.
//!
//! For each key the first source that has it wins: `resource` of the configuration, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, the pod's annotations `resource.opentelemetry.io/…`, then what Istio and Kubernetes say, in
//! the order of the semantic conventions' "Kubernetes attributes" and of Istio's `OTEL_SEMANTIC_CONVENTIONS` enrichment.
//! Without any of them `service.name` is `unknown_service:envoy`, as of Envoy's own tracer.
//!
//! The node is read leaf by leaf: a map with one value that Envoy cannot serialise cannot be read at all.

use crate::config::{Config, Literal};
use crate::span::recipe::Environment;
use crate::span::redact::{percent_decode, safe_text};
use crate::span::{Attribute, Attributes, Value};
use std::collections::BTreeMap;

/// Longest value that is taken from node or environment, in bytes.
const MAX_VALUE: usize = 1024;

/// What is the same for every span of a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Resource attributes, unique keys.
    pub resource: Vec<Attribute>,
    /// The five `istio.*` tags of Istio's native tracing; empty outside Istio.
    pub istio_tags: Vec<Attribute>,
    /// What sampling rules match on.
    pub workload: Workload,
    /// An ingress or egress gateway: the node id starts with `router~`.
    pub gateway: bool,
    /// An ambient waypoint: the node id starts with `waypoint~`.
    pub waypoint: bool,
    /// The node has Istio's metadata: peers may be known too.
    pub istio: bool,
}

/// The Kubernetes workload behind the proxy; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// Name, such as the deployment's.
    pub name: String,
    /// The labels that sampling rules name, as far as present.
    pub labels: BTreeMap<String, String>,
}

/// Leaves of `xds.node`.
struct Node<'a>(&'a dyn Attributes);

/// Resource attributes: the first offer of a key stays.
#[derive(Default)]
struct Resource(Vec<Attribute>);

// === impl Identity ===

impl Identity {
    /// Asks `node` for leaves of `xds.node` (readable in root contexts too), at configuration time only.
    pub fn detect(node: &dyn Attributes, environment: &Environment, config: &Config) -> Self {
        let node = Node(node);
        let id = node.leaf(&["id"]).unwrap_or_default();
        let istio_tags = istio_tags(&node);
        Self {
            resource: resource(&node, environment, config),
            istio: !istio_tags.is_empty(),
            istio_tags,
            workload: workload(&node, config),
            gateway: id.starts_with("router~"),
            waypoint: id.starts_with("waypoint~"),
        }
    }
}

/// Namespace, name, and the labels that some rule asks for.
fn workload(node: &Node<'_>, config: &Config) -> Workload {
    let wanted = config.sampling.rules.iter().flat_map(|rule| rule.matches.labels.keys());
    let mut labels = BTreeMap::new();
    // One by one: `collect` would sort first, and bring 10 kB of sorting into the module.
    for key in wanted {
        if let Some(label) = node.label(key) {
            labels.insert(key.clone(), label);
        }
    }
    Workload {
        namespace: node.metadata("NAMESPACE").unwrap_or_default(),
        name: node.metadata("WORKLOAD_NAME").unwrap_or_default(),
        labels,
    }
}

/// What Istio's `enableIstioTags` adds, with Istio's own defaults; nothing if the node is not Istio's.
fn istio_tags(node: &Node<'_>) -> Vec<Attribute> {
    let found = [
        ("istio.canonical_service", node.label("service.istio.io/canonical-name"), "unknown"),
        ("istio.canonical_revision", node.label("service.istio.io/canonical-revision"), "latest"),
        ("istio.mesh_id", node.metadata("MESH_ID"), "unknown"),
        ("istio.namespace", node.metadata("NAMESPACE"), "default"),
        ("istio.cluster_id", node.metadata("CLUSTER_ID"), "unknown"),
    ];
    if found.iter().all(|(_, value, _)| value.is_none()) {
        return Vec::new();
    }
    found.map(|(key, value, default)| Attribute::new(key, value.unwrap_or_else(|| default.to_owned()))).into()
}

fn resource(node: &Node<'_>, environment: &Environment, config: &Config) -> Vec<Attribute> {
    let mut all = Resource::default();
    for (key, value) in &config.resource {
        all.offer(key.clone(), Some(literal(value)));
    }
    all.offer_text("service.name", environment.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()).cloned());
    for (key, value) in environment.get("OTEL_RESOURCE_ATTRIBUTES").and_then(|text| pairs(text)).unwrap_or_default() {
        all.offer(key, Some(value.into()));
    }
    service(&mut all, node);
    all.offer_text("envoy.node_id", node.leaf(&["id"]));
    kubernetes(&mut all, node);
    cloud(&mut all, node);
    all.offer_text("deployment.environment.name", node.annotation("deployment.environment.name"));
    // Semantic conventions, "telemetry": other names than `opentelemetry` for what is not an official SDK.
    for (key, value) in [
        ("service.name", "unknown_service:envoy"),
        ("telemetry.sdk.name", "sidespan"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.distro.name", "sidespan"),
        ("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
    ] {
        all.offer(key.to_owned(), Some(value.into()));
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
    all.offer_text("service.name", name);
    all.offer_text("service.namespace", node.annotation("service.namespace").or_else(|| node.metadata("NAMESPACE")));
    let version = node
        .annotation("service.version")
        .or_else(|| node.label("app.kubernetes.io/version"))
        .or_else(|| node.label("service.istio.io/canonical-revision"))
        .or_else(|| node.label("version"));
    all.offer_text("service.version", version);
    all.offer_text("service.instance.id", node.annotation("service.instance.id").or_else(|| instance(node)));
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
    all.offer_text("k8s.cluster.name", node.metadata("CLUSTER_ID"));
    all.offer_text("k8s.namespace.name", node.metadata("NAMESPACE"));
    all.offer_text("k8s.pod.name", node.metadata("NAME"));
    all.offer_text("k8s.node.name", node.metadata("NODE_NAME"));
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
    all.offer_text(key, Some(name.to_owned()).filter(|name| !name.is_empty()));
}

/// The node's locality first: Istio fills it from the platform or the node's topology labels.
fn cloud(all: &mut Resource, node: &Node<'_>) {
    let platform = |key| node.leaf(&["metadata", "PLATFORM_METADATA", key]);
    let region = node.leaf(&["locality", "region"]);
    all.offer_text("cloud.region", region.or_else(|| platform("aws_region")).or_else(|| platform("azure_location")));
    all.offer_text(
        "cloud.availability_zone",
        node.leaf(&["locality", "zone"]).or_else(|| platform("aws_availability_zone")),
    );
    for (account, provider) in [("aws_account_id", "aws"), ("gcp_project", "gcp")] {
        if let Some(account) = platform(account) {
            all.offer("cloud.provider".to_owned(), Some(provider.into()));
            all.offer_text("cloud.account.id", Some(account));
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

/// `key=value,key=value`, percent-encoded (OpenTelemetry, "Resource SDK"): an entry that is not one spoils the whole.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decode = |part: &str| safe_text(&percent_decode(part.trim().as_bytes()), MAX_VALUE);
    text.split(',')
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| {
            let (key, value) = entry.split_once('=')?;
            Some((decode(key), decode(value))).filter(|(key, _)| !key.is_empty())
        })
        .collect()
}

// === impl Node ===

impl Node<'_> {
    #[inline(never)]
    fn leaf(&self, segments: &[&str]) -> Option<String> {
        let path = format!("xds\0node\0{}", segments.join("\0"));
        let value = self.0.get(path.as_bytes())?;
        (!value.is_empty()).then(|| safe_text(&value, MAX_VALUE))
    }

    #[inline(never)]
    fn metadata(&self, key: &str) -> Option<String> {
        self.leaf(&["metadata", key])
    }

    #[inline(never)]
    fn label(&self, key: &str) -> Option<String> {
        self.leaf(&["metadata", "LABELS", key])
    }

    #[inline(never)]
    fn annotation(&self, attribute: &str) -> Option<String> {
        self.leaf(&["metadata", "ANNOTATIONS", &format!("resource.opentelemetry.io/{attribute}")])
    }

    /// The first of the pod's application containers.
    fn container(&self) -> Option<String> {
        let all = self.metadata("APP_CONTAINERS")?;
        all.split(',').next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

// === impl Resource ===

impl Resource {
    #[inline(never)]
    fn offer(&mut self, key: String, value: Option<Value>) {
        if let Some(value) = value
            && !self.0.iter().any(|attribute| attribute.key == key)
        {
            self.0.push(Attribute::new(key, value));
        }
    }

    #[inline(never)]
    fn offer_text(&mut self, key: &'static str, value: Option<String>) {
        self.offer(key.to_owned(), value.map(Value::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::attributes::Recorded;

    fn node(leaves: &[(&str, &str)]) -> Recorded {
        let mut node = Recorded::default();
        for (path, value) in leaves {
            node.set(format!("xds\0node\0{}", path.replace('|', "\0")).as_bytes(), *value);
        }
        node
    }

    fn find(attributes: &[Attribute], key: &str) -> Option<String> {
        attributes.iter().find(|attribute| attribute.key == key).map(|attribute| match &attribute.value {
            Value::String(text) => text.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn the_first_source_of_a_service_name_wins() {
        let sources: &[(&str, &str)] = &[
            ("metadata|ANNOTATIONS|resource.opentelemetry.io/service.name", "annotation"),
            ("metadata|LABELS|app.kubernetes.io/instance", "instance"),
            ("metadata|LABELS|app.kubernetes.io/name", "name"),
            ("metadata|LABELS|service.istio.io/canonical-name", "canonical"),
            ("metadata|WORKLOAD_NAME", "workload"),
            ("metadata|NAME", "pod"),
            ("metadata|APP_CONTAINERS", "container,second"),
            ("cluster", "cluster"),
        ];
        let name = |leaves: &[(&str, &str)], environment: &[(&str, &str)], config: &str| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let config = Config::parse(config.as_bytes()).expect("valid");
            find(&Identity::detect(&node(leaves), &environment, &config).resource, "service.name").expect("always one")
        };
        for at in 0..sources.len() {
            let expected = sources[at].1.split(',').next().expect("one");
            assert_eq!(name(&sources[at..], &[], "{}"), expected);
        }
        assert_eq!(name(&[], &[], "{}"), "unknown_service:envoy");
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attributes");
        assert_eq!(name(sources, &[attributes], "{}"), "attributes");
        assert_eq!(name(sources, &[attributes, ("OTEL_SERVICE_NAME", "variable")], "{}"), "variable");
        let config = r#"{"resource": {"service.name": "configured"}}"#;
        assert_eq!(name(sources, &[attributes, ("OTEL_SERVICE_NAME", "variable")], config), "configured");
    }

    #[test]
    fn an_istio_pod_is_described_whole() {
        let node = node(&[
            ("id", "sidecar~10.1.2.3~reviews-v1-abc.shop~shop.svc.cluster.local"),
            ("locality|region", "us-west-2"),
            ("locality|zone", "us-west-2a"),
            ("metadata|NAME", "reviews-v1-abc"),
            ("metadata|NAMESPACE", "shop"),
            ("metadata|WORKLOAD_NAME", "reviews-v1"),
            ("metadata|OWNER", "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1"),
            ("metadata|CLUSTER_ID", "east"),
            ("metadata|MESH_ID", "mesh1"),
            ("metadata|NODE_NAME", "node-7"),
            ("metadata|APP_CONTAINERS", "reviews"),
            ("metadata|LABELS|service.istio.io/canonical-name", "reviews"),
            ("metadata|LABELS|service.istio.io/canonical-revision", "v1"),
            ("metadata|LABELS|tier", "backend"),
            ("metadata|PLATFORM_METADATA|aws_account_id", "123456789012"),
        ]);
        let config =
            br#"{"sampling": {"rules": [{"match": {"labels": {"tier": "back*", "absent": "x"}}, "drop": true}]}}"#;
        let config = Config::parse(config).expect("valid");
        let identity = Identity::detect(&node, &Environment::new(), &config);
        for (key, value) in [
            ("service.name", "reviews"),
            ("service.namespace", "shop"),
            ("service.version", "v1"),
            ("service.instance.id", "shop.reviews-v1-abc.reviews"),
            ("envoy.node_id", "sidecar~10.1.2.3~reviews-v1-abc.shop~shop.svc.cluster.local"),
            ("k8s.cluster.name", "east"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "reviews-v1-abc"),
            ("k8s.deployment.name", "reviews-v1"),
            ("k8s.node.name", "node-7"),
            ("cloud.region", "us-west-2"),
            ("cloud.availability_zone", "us-west-2a"),
            ("cloud.provider", "aws"),
            ("cloud.account.id", "123456789012"),
            ("telemetry.sdk.name", "sidespan"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(find(&identity.resource, key).as_deref(), Some(value), "{key}");
        }
        let tags: Vec<_> = identity.istio_tags.iter().map(|tag| tag.key.as_ref()).collect();
        assert_eq!(
            tags,
            [
                "istio.canonical_service",
                "istio.canonical_revision",
                "istio.mesh_id",
                "istio.namespace",
                "istio.cluster_id"
            ]
        );
        assert_eq!(identity.workload.name, "reviews-v1");
        assert_eq!(identity.workload.namespace, "shop");
        assert_eq!(identity.workload.labels, BTreeMap::from([("tier".to_owned(), "backend".to_owned())]));
        assert!(identity.istio && !identity.gateway && !identity.waypoint);
    }

    #[test]
    fn gateways_and_waypoints_are_told_by_the_node_id() {
        for (id, gateway, waypoint) in [("router~1~a~b", true, false), ("waypoint~1~a~b", false, true)] {
            let identity = Identity::detect(&node(&[("id", id)]), &Environment::new(), &Config::default());
            assert_eq!((identity.gateway, identity.waypoint), (gateway, waypoint));
            assert_eq!(find(&identity.resource, "service.instance.id").as_deref(), Some(id));
            assert!(identity.istio_tags.is_empty(), "not Istio's without metadata");
        }
    }

    #[test]
    fn resource_attributes_of_the_environment_are_decoded_or_discarded_as_a_whole() {
        let read = |text: &str| pairs(text).map(|all| all.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>());
        assert_eq!(read("a=1, b=x%2Cy ,"), Some(vec!["a:1".to_owned(), "b:x,y".to_owned()]));
        assert_eq!(read("a=1,b"), None);
        assert_eq!(read("=1"), None);
    }
}
