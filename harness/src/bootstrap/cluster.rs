//! Where Envoy sends requests.

use super::Identity;
use super::json::{socket_address, typed};
use crate::support::merge;
use serde_json::{Value, json};

/// A cluster of static endpoints on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Cluster {
    name: String,
    ports: Vec<u16>,
    http2: bool,
    patch: Value,
}

// === impl Cluster ===

impl Cluster {
    /// One endpoint, HTTP/1.1, connect timeout 1 s, generous circuit breakers.
    pub fn new(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), ports: vec![port], http2: false, patch: json!({}) }
    }

    /// A cluster without endpoints: every request fails with "no healthy upstream" (flag `UH`).
    pub fn without_endpoints(name: &str) -> Self {
        Self { name: name.to_owned(), ports: Vec::new(), http2: false, patch: json!({}) }
    }

    /// Name, by which routes know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// TLS to its endpoints, with a certificate of the caller.
    #[must_use]
    pub fn tls(self, identity: &Identity) -> Self {
        self.with(json!({"transport_socket": identity.upstream()}))
    }

    /// Another endpoint.
    #[must_use]
    pub fn endpoint(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Speaks HTTP/2 with prior knowledge.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// A protobuf duration such as `0.25s`.
    #[must_use]
    pub fn connect_timeout(self, duration: &str) -> Self {
        self.with(json!({ "connect_timeout": duration }))
    }

    /// At most so many connections, pending requests and requests at once; what is above overflows (flag `UO`).
    #[must_use]
    pub fn circuit_breaker(self, connections: u32, pending: u32, requests: u32) -> Self {
        self.with(thresholds(connections, pending, requests))
    }

    /// Merges any JSON into the cluster.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.patch, patch);
        self
    }

    /// The cluster as Envoy reads it.
    pub fn to_json(&self) -> Value {
        let endpoints: Vec<Value> =
            self.ports.iter().map(|port| json!({"endpoint": {"address": socket_address(*port)}})).collect();
        let mut cluster = json!({
            "name": self.name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": self.name, "endpoints": [{"lb_endpoints": endpoints}]},
            "typed_extension_protocol_options": {HTTP_OPTIONS: self.http_options()},
        });
        merge(&mut cluster, thresholds(100_000, 100_000, 100_000));
        merge(&mut cluster, self.patch.clone());
        cluster
    }

    fn http_options(&self) -> Value {
        let protocol = if self.http2 { "http2_protocol_options" } else { "http_protocol_options" };
        let options = json!({"explicit_http_config": {protocol: {}}});
        typed("", HTTP_OPTIONS, options)["typed_config"].clone()
    }
}

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn thresholds(connections: u32, pending: u32, requests: u32) -> Value {
    json!({"circuit_breakers": {"thresholds": [{
        "max_connections": connections,
        "max_pending_requests": pending,
        "max_requests": requests,
        "max_retries": 100_000,
    }]}})
}
