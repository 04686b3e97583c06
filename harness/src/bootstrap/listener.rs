//! A listener with an HTTP connection manager.

use super::json::{socket_address, typed};
use super::{Filter, Identity, Plugin, Route, VirtualHost};
use crate::support::merge;
use serde_json::{Value, json};

/// A listener on 127.0.0.1 and a free port; HTTP/1.1 and HTTP/2 by what the client speaks.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    direction: Direction,
    hosts: Vec<VirtualHost>,
    filters: Vec<Filter>,
    manager: Value,
    transport: Option<Value>,
    patch: Value,
}

/// `traffic_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
    /// A gateway, or an Envoy outside any mesh.
    Unspecified,
}

/// A native tracer of Envoy.
#[derive(Clone, Debug)]
pub enum Tracer {
    /// OTLP over HTTP to `/v1/traces` of a cluster.
    OpenTelemetry {
        /// The receiver's cluster.
        cluster: String,
        /// `service.name`.
        service: String,
    },
    /// Zipkin v2 JSON to `/api/v2/spans` of a cluster.
    Zipkin {
        /// The receiver's cluster.
        cluster: String,
    },
    /// A `tracing` block without provider: `NullTracer`, Istio's default.
    Null,
}

// === impl Listener ===

impl Listener {
    /// Without routes every request is answered 404.
    pub fn new(name: &str, direction: Direction) -> Self {
        Self {
            name: name.to_owned(),
            direction,
            hosts: Vec::new(),
            filters: Vec::new(),
            manager: json!({}),
            transport: None,
            patch: json!({}),
        }
    }

    /// To the workload: everything goes to one cluster.
    pub fn inbound(cluster: &str) -> Self {
        Self::new("inbound", Direction::Inbound).route(Route::cluster("/", cluster))
    }

    /// From the workload: everything goes to one cluster.
    pub fn outbound(cluster: &str) -> Self {
        Self::new("outbound", Direction::Outbound).route(Route::cluster("/", cluster))
    }

    /// Name, by which [`crate::Envoy::port`] knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds a route for any host, after those already there.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        match self.hosts.first_mut() {
            Some(host) => host.push(route),
            None => self.hosts.push(VirtualHost::any([route])),
        }
        self
    }

    /// Adds hosts with routes of their own.
    #[must_use]
    pub fn virtual_host(mut self, host: VirtualHost) -> Self {
        self.hosts.push(host);
        self
    }

    /// Adds an HTTP filter after those already there; the router is always last.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// Writes an access log to `file`, relative to Envoy's directory ([`crate::Envoy::file`]), one line a request.
    #[must_use]
    pub fn access_log(self, file: &str, format: &str) -> Self {
        let source = json!({"text_format_source": {"inline_string": format!("{format}\n")}});
        let log = json!({"path": file, "log_format": source});
        let entry = typed("file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", log);
        self.manager(json!({"access_log": [entry]}))
    }

    /// TLS with a certificate of the callee; the caller may show one of the same authority.
    #[must_use]
    pub fn tls(mut self, identity: &Identity) -> Self {
        self.transport = Some(identity.downstream());
        self
    }

    /// Turns a native tracer on, at a percentage of requests.
    #[must_use]
    pub fn tracer(self, tracer: &Tracer, percentage: f64) -> Self {
        let mut tracing = json!({"random_sampling": {"value": percentage}});
        merge(&mut tracing, tracer.to_json());
        self.manager(json!({ "tracing": tracing }))
    }

    /// Largest request header block in KiB (Envoy's default: 60) and most header lines (default: 100).
    #[must_use]
    pub fn header_limits(self, kibibytes: u32, count: u32) -> Self {
        let options = json!({"max_headers_count": count});
        self.manager(json!({"max_request_headers_kb": kibibytes, "common_http_protocol_options": options}))
    }

    /// Merges any JSON into the HTTP connection manager.
    #[must_use]
    pub fn manager(mut self, patch: Value) -> Self {
        merge(&mut self.manager, patch);
        self
    }

    /// Merges any JSON into the listener.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        merge(&mut self.patch, patch);
        self
    }

    /// The listener as Envoy reads it.
    pub fn to_json(&self) -> Value {
        let mut chain = json!({"filters": [typed("hcm", MANAGER, self.manager_json())]});
        if let Some(transport) = &self.transport {
            merge(&mut chain, json!({"transport_socket": transport}));
        }
        let mut listener = json!({
            "name": self.name,
            "traffic_direction": self.direction.word(),
            "address": socket_address(0),
            "filter_chains": [chain],
        });
        merge(&mut listener, self.patch.clone());
        listener
    }

    pub(crate) fn files(&self) -> Vec<(String, Value)> {
        self.plugins().filter_map(Plugin::discovery_file).collect()
    }

    /// Environment variables that Envoy must be started with.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plugins().flat_map(Plugin::variables_of_the_process)
    }

    fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.filters.iter().filter_map(|filter| match filter {
            Filter::Plugin(plugin) => Some(plugin),
            Filter::Raw(_) => None,
        })
    }

    fn manager_json(&self) -> Value {
        let mut filters: Vec<Value> = self.filters.iter().map(Filter::to_json).collect();
        filters.push(typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", json!({})));
        let mut manager = json!({
            "stat_prefix": self.name,
            "codec_type": "AUTO",
            "http_filters": filters,
            "use_remote_address": self.direction == Direction::Unspecified,
            "route_config": {
                "name": format!("{}-routes", self.name),
                "virtual_hosts": self.hosts.iter().map(VirtualHost::to_json).collect::<Vec<_>>(),
                "ignore_port_in_host_matching": true,
                "validate_clusters": false,
            },
        });
        merge(&mut manager, self.manager.clone());
        manager
    }
}

const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

// === impl Direction ===

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::Inbound => "INBOUND",
            Self::Outbound => "OUTBOUND",
            Self::Unspecified => "UNSPECIFIED",
        }
    }
}

// === impl Tracer ===

impl Tracer {
    fn to_json(&self) -> Value {
        match self {
            Self::Null => json!({}),
            Self::OpenTelemetry { cluster, service } => {
                let uri = json!({"uri": "http://collector/v1/traces", "cluster": cluster, "timeout": "1s"});
                let config = json!({"http_service": {"http_uri": uri}, "service_name": service});
                json!({"provider": typed("envoy.tracers.opentelemetry", "envoy.config.trace.v3.OpenTelemetryConfig", config)})
            }
            Self::Zipkin { cluster } => {
                let config = json!({
                    "collector_cluster": cluster,
                    "collector_endpoint": "/api/v2/spans",
                    "collector_endpoint_version": "HTTP_JSON",
                    "trace_id_128bit": true,
                    "shared_span_context": false,
                });
                json!({"provider": typed("envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", config)})
            }
        }
    }
}
