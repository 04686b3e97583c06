//! What happens to a request, by host and path.

use crate::support::merge;
use serde_json::{Value, json};

/// One route: a path prefix and what is done.
#[derive(Clone, Debug)]
pub struct Route {
    value: Value,
}

/// Hosts and their routes, first match first.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    name: String,
    domains: Vec<String>,
    routes: Vec<Route>,
}

// === impl Route ===

impl Route {
    /// Forwards to a cluster.
    pub fn cluster(prefix: &str, cluster: &str) -> Self {
        Self::new(prefix, json!({"route": {"cluster": cluster}}))
    }

    /// Answers by itself.
    pub fn direct_response(prefix: &str, status: u16, body: &str) -> Self {
        let response = json!({"status": status, "body": {"inline_string": body}});
        Self::new(prefix, json!({ "direct_response": response }))
    }

    /// Redirects to another path.
    pub fn redirect(prefix: &str, path: &str) -> Self {
        Self::new(prefix, json!({"redirect": {"path_redirect": path}}))
    }

    /// Gives the route a name (`xds.route_name`).
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with(json!({ "name": name }))
    }

    /// Retries, `retry_on` in Envoy's words such as `5xx,reset`.
    #[must_use]
    pub fn retry(self, retry_on: &str, retries: u32) -> Self {
        let back_off = json!({"base_interval": "0.005s", "max_interval": "0.01s"});
        let policy = json!({"retry_on": retry_on, "num_retries": retries, "retry_back_off": back_off});
        self.with(json!({"route": {"retry_policy": policy}}))
    }

    /// Whole-response timeout, a protobuf duration such as `0.2s` (flag `UT`).
    #[must_use]
    pub fn timeout(self, duration: &str) -> Self {
        self.with(json!({"route": {"timeout": duration}}))
    }

    /// Allows upgrades to websocket.
    #[must_use]
    pub fn websocket(self) -> Self {
        self.with(json!({"route": {"upgrade_configs": [{"upgrade_type": "websocket"}]}}))
    }

    /// Replaces the matched prefix.
    #[must_use]
    pub fn prefix_rewrite(self, prefix: &str) -> Self {
        self.with(json!({"route": {"prefix_rewrite": prefix}}))
    }

    /// Replaces the host.
    #[must_use]
    pub fn host_rewrite(self, host: &str) -> Self {
        self.with(json!({"route": {"host_rewrite_literal": host}}))
    }

    /// Adds (or, with `overwrite`, replaces) a request header on the way up.
    #[must_use]
    pub fn request_header(mut self, name: &str, value: &str, overwrite: bool) -> Self {
        let action = if overwrite { "OVERWRITE_IF_EXISTS_OR_ADD" } else { "APPEND_IF_EXISTS_OR_ADD" };
        let entry = json!({"header": {"key": name, "value": value}, "append_action": action});
        match self.value["request_headers_to_add"].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => self.value["request_headers_to_add"] = json!([entry]),
        }
        self
    }

    /// Merges any JSON into the route.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.value, patch);
        self
    }

    fn new(prefix: &str, action: Value) -> Self {
        Self { value: json!({"match": {"prefix": prefix}}) }.with(action)
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// Any host.
    pub fn any(routes: impl IntoIterator<Item = Route>) -> Self {
        Self::new("any", &["*"], routes)
    }

    /// The given hosts; their ports do not matter.
    pub fn new(name: &str, domains: &[&str], routes: impl IntoIterator<Item = Route>) -> Self {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        Self { name: name.to_owned(), domains, routes: routes.into_iter().collect() }
    }

    pub(crate) fn push(&mut self, route: Route) {
        self.routes.push(route);
    }

    pub(crate) fn to_json(&self) -> Value {
        let routes: Vec<&Value> = self.routes.iter().map(|route| &route.value).collect();
        json!({"name": self.name, "domains": self.domains, "routes": routes})
    }
}
