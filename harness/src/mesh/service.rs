//! One service of a mesh, as it is described.

use super::app::Forwarding;
use crate::bootstrap::{Cluster, Route, VirtualHost};
use serde_json::{Value, json};
use std::time::Duration;

/// One service: an application and its sidecar.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) forwarding: Forwarding,
    pub(crate) masks: bool,
    pub(crate) work: Duration,
    pub(crate) retry: Option<(String, u32)>,
    pub(crate) timeout: Option<String>,
    pub(crate) parallel: bool,
    pub(crate) externals: Vec<(String, Cluster)>,
    pub(crate) metadata: Value,
}

// === impl Service ===

impl Service {
    /// A service that calls nobody, forwards all trace headers and works for no time.
    pub fn new(name: &str, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            calls: Vec::new(),
            forwarding: Forwarding::All,
            masks: false,
            work: Duration::ZERO,
            retry: None,
            timeout: None,
            parallel: false,
            externals: Vec::new(),
            metadata: json!({}),
        }
    }

    /// Calls another service of the mesh for each request, after the calls already there. An empty path is that of the request.
    #[must_use]
    pub fn calls(mut self, service: &str, path: &str) -> Self {
        self.calls.push((service.to_owned(), path.to_owned()));
        self
    }

    /// Calls `host`, which is no service of the mesh, by way of a cluster, after the calls already there.
    #[must_use]
    pub fn calls_external(mut self, host: &str, path: &str, cluster: Cluster) -> Self {
        self.calls.push((host.to_owned(), path.to_owned()));
        self.externals.push((host.to_owned(), cluster));
        self
    }

    /// Makes its calls at the same time.
    #[must_use]
    pub fn in_parallel(mut self) -> Self {
        self.parallel = true;
        self
    }

    /// Which trace headers the application forwards.
    #[must_use]
    pub fn forwards(mut self, forwarding: Forwarding) -> Self {
        self.forwarding = forwarding;
        self
    }

    /// Answers 200 although somebody it called has failed.
    #[must_use]
    pub fn masks_errors(mut self) -> Self {
        self.masks = true;
        self
    }

    /// How long the application thinks about each request.
    #[must_use]
    pub fn works_for(mut self, time: Duration) -> Self {
        self.work = time;
        self
    }

    /// The sidecar retries the application's calls, `retry_on` in Envoy's words such as `5xx,reset`.
    #[must_use]
    pub fn retries(mut self, retry_on: &str, retries: u32) -> Self {
        self.retry = Some((retry_on.to_owned(), retries));
        self
    }

    /// The sidecar gives the application's calls so long, a protobuf duration such as `0.2s`.
    #[must_use]
    pub fn times_out_after(mut self, duration: &str) -> Self {
        self.timeout = Some(duration.to_owned());
        self
    }

    /// Merges into the metadata of the sidecar's node.
    #[must_use]
    pub fn metadata(mut self, patch: Value) -> Self {
        crate::merge(&mut self.metadata, patch);
        self
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// Where others find it.
    pub(crate) fn cluster_name(&self) -> String {
        format!("outbound|80||{}", self.full_name())
    }

    /// How the sidecar of `caller` routes to it.
    pub(crate) fn virtual_host(&self, caller: &Self) -> VirtualHost {
        let (short, full) = (format!("{}.{}", self.name, self.namespace), self.full_name());
        let route = caller.route(&self.cluster_name());
        VirtualHost::new(&format!("{full}:80"), &[&self.name, &short, &full], [route])
    }

    /// A route of its own sidecar.
    pub(crate) fn route(&self, cluster: &str) -> Route {
        let mut route = Route::cluster("/", cluster).named("default");
        if let Some((retry_on, retries)) = &self.retry {
            route = route.retry(retry_on, *retries);
        }
        match &self.timeout {
            Some(timeout) => route.timeout(timeout),
            None => route,
        }
    }
}
