//! Envoy's own tracer on every listener of a mesh, as Istio configures it.

use crate::bootstrap::{Bootstrap, Cluster, Listener, Node, Tracer};
use crate::receiver::Receiver;
use serde_json::json;

/// Which tracer, what share of the requests it samples, and where its spans go.
#[derive(Clone, Debug)]
pub struct NativeTracing {
    protocol: Protocol,
    percentage: f64,
    receiver: u16,
    spawns_upstream_spans: bool,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    OpenTelemetry,
    Zipkin,
}

/// The cluster of the receiver.
const CLUSTER: &str = "native-tracing";

// === impl NativeTracing ===

impl NativeTracing {
    /// OpenTelemetry: W3C headers, OTLP over HTTP.
    pub fn opentelemetry(receiver: &Receiver, percentage: f64) -> Self {
        Self::new(Protocol::OpenTelemetry, receiver, percentage)
    }

    /// Zipkin: B3 headers, 128-bit trace ids, a span of its own for each side of a call.
    pub fn zipkin(receiver: &Receiver, percentage: f64) -> Self {
        Self::new(Protocol::Zipkin, receiver, percentage)
    }

    /// A second span for each request that is sent upstream, whose id the next hop receives. (Istio has it at gateways only.)
    #[must_use]
    pub fn with_upstream_spans(mut self) -> Self {
        self.spawns_upstream_spans = true;
        self
    }

    fn new(protocol: Protocol, receiver: &Receiver, percentage: f64) -> Self {
        Self { protocol, percentage, receiver: receiver.port(), spawns_upstream_spans: false }
    }

    /// The listener with the tracer. The service name is the cluster of the node, as in Istio.
    pub(super) fn listener(&self, listener: Listener, node: &Node) -> Listener {
        let cluster = CLUSTER.to_owned();
        let tracer = match self.protocol {
            Protocol::OpenTelemetry => {
                let service = node.to_json()["cluster"].as_str().unwrap_or_default().to_owned();
                Tracer::OpenTelemetry { cluster, service }
            }
            Protocol::Zipkin => Tracer::Zipkin { cluster },
        };
        let listener = listener.tracer(&tracer, self.percentage);
        match self.spawns_upstream_spans {
            true => listener.manager(json!({"tracing": {"spawn_upstream_span": true}})),
            false => listener,
        }
    }

    /// The bootstrap with the cluster of the receiver. A span is sent when it ends: nobody has to wait for a timer.
    pub(super) fn bootstrap(&self, bootstrap: Bootstrap) -> Bootstrap {
        let bootstrap = bootstrap.cluster(Cluster::new(CLUSTER, self.receiver));
        bootstrap.runtime("tracing.opentelemetry.min_flush_spans", 1).runtime("tracing.zipkin.min_flush_spans", 1)
    }
}
