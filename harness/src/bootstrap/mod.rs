//! Envoy's bootstrap, built from parts and written as JSON.
//!
//! Every part has `with`, which merges any JSON into what is written ([`crate::merge`]), so that a test can say what the
//! builder has no word for.

mod cluster;
mod filter;
mod json;
mod listener;
mod node;
mod route;
mod tls;

pub use self::cluster::Cluster;
pub use self::filter::{Filter, Plugin, fault_abort, lua, rbac_deny};
pub use self::listener::{Direction, Listener, Tracer};
pub use self::node::Node;
pub use self::route::{Route, VirtualHost};
pub use self::tls::{Authority, Identity};

use self::json::socket_address;
use crate::support::merge;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One Envoy's whole configuration.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    node: Node,
    listeners: Vec<Listener>,
    clusters: Vec<Cluster>,
    concurrency: u32,
    log_level: String,
    component_log_level: Option<String>,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, Value>,
    patch: Value,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// One worker, log level `info`, no listener yet.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            listeners: Vec::new(),
            clusters: Vec::new(),
            concurrency: 1,
            log_level: "info".to_owned(),
            component_log_level: None,
            environment: BTreeMap::new(),
            files: BTreeMap::new(),
            patch: json!({}),
        }
    }

    /// Adds a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Adds a cluster.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Number of worker threads.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// `--log-level`.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// `--component-log-level`, such as `wasm:debug`.
    #[must_use]
    pub fn component_log_level(mut self, levels: &str) -> Self {
        self.component_log_level = Some(levels.to_owned());
        self
    }

    /// An environment variable of the process.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A file in the directory that Envoy runs in.
    #[must_use]
    pub fn file(mut self, name: &str, content: Value) -> Self {
        self.files.insert(name.to_owned(), content);
        self
    }

    /// A runtime value, such as `tracing.opentelemetry.min_flush_spans`.
    #[must_use]
    pub fn runtime(self, key: &str, value: impl Into<Value>) -> Self {
        let mut this = self;
        let layer = json!([{"name": "harness", "static_layer": {}}]);
        let layers = this.patch.pointer_mut("/layered_runtime/layers");
        if layers.is_none() {
            merge(&mut this.patch, json!({"layered_runtime": {"layers": layer}}));
        }
        if let Some(values) = this.patch.pointer_mut("/layered_runtime/layers/0/static_layer") {
            values[key] = value.into();
        }
        this
    }

    /// Merges any JSON into the bootstrap.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.patch, patch);
        self
    }

    /// Names of the listeners.
    pub fn listener_names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(Listener::name)
    }

    /// The bootstrap as Envoy reads it.
    pub fn to_json(&self) -> Value {
        let mut bootstrap = json!({
            "node": self.node.to_json(),
            "admin": {"address": socket_address(0)},
            "static_resources": {
                "listeners": self.listeners.iter().map(Listener::to_json).collect::<Vec<_>>(),
                "clusters": self.clusters.iter().map(Cluster::to_json).collect::<Vec<_>>(),
            },
        });
        merge(&mut bootstrap, self.patch.clone());
        bootstrap
    }

    /// Files that the bootstrap refers to, by their path relative to the directory Envoy runs in.
    pub(crate) fn files(&self) -> BTreeMap<String, Value> {
        self.listeners.iter().flat_map(Listener::files).chain(self.files.clone()).collect()
    }

    /// Arguments of the process, but for the bootstrap's path.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let concurrency = self.concurrency.to_string();
        let mut arguments = vec![
            // No shared memory and no base id at all: any number of Envoys run side by side.
            "--disable-hot-restart",
            "--concurrency",
            &concurrency,
            "--log-level",
            &self.log_level,
            "--file-flush-interval-msec",
            "50",
            "--drain-time-s",
            "1",
            "--drain-strategy",
            "immediate",
        ];
        if let Some(levels) = &self.component_log_level {
            arguments.extend(["--component-log-level", levels]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// Environment variables of the process.
    pub(crate) fn variables(&self) -> BTreeMap<&str, &str> {
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.listeners.iter().flat_map(Listener::variables).chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_values_and_patches_end_up_in_the_bootstrap() {
        let bootstrap = Bootstrap::new(Node::sidecar("a", "b"))
            .runtime("tracing.zipkin.min_flush_spans", 1)
            .runtime("other", true)
            .with(json!({"stats_flush_interval": "1s"}))
            .to_json();
        let layer = &bootstrap["layered_runtime"]["layers"][0];
        assert_eq!(layer["static_layer"], json!({"tracing.zipkin.min_flush_spans": 1, "other": true}));
        assert_eq!(bootstrap["stats_flush_interval"], "1s");
        assert_eq!(bootstrap["node"]["id"], "sidecar~10.0.0.1~a-0.b~b.svc.cluster.local");
    }
}
