//! The workload that a proxy belongs to: its resource attributes, Istio's tags, and what sampling rules match on.

use super::attributes::Attributes;
use super::environment::Environment;
use super::model::Attribute;
use super::node::Node;
use super::resource::resource;
use crate::config::Config;
use std::collections::BTreeMap;

/// The attributes that are the same for every span of a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Resource attributes, with unique keys.
    pub resource: Vec<Attribute>,
    /// The five `istio.*` tags of Istio's native tracing; empty outside Istio.
    pub istio_tags: Vec<Attribute>,
    /// The workload, which sampling rules match on.
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

#[cfg(test)]
mod tests {
    use super::super::attributes::Recorded;
    use super::super::model::Value;
    use super::*;

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
        // Istio's OpenTelemetry tracer and Envoy's Zipkin tracer have the cluster of the node.
        let adopt = r#"{"nativeTracer": "adopt"}"#;
        assert_eq!(name(sources, &[], adopt), "cluster");
        assert_eq!(name(&sources[..7], &[], adopt), "annotation", "a node without a cluster");
        assert_eq!(name(sources, &[("OTEL_SERVICE_NAME", "variable")], adopt), "variable");
        let named = r#"{"nativeTracer": "adopt", "resource": {"service.name": "configured"}}"#;
        assert_eq!(name(sources, &[], named), "configured");
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
}
