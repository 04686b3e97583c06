//! What only a proxy knows, under names of our own: `envoy.*` for Envoy's words, `istio.*` for Istio's.
//!
//! | attribute | Envoy's native tracer, access log | when |
//! |---|---|---|
//! | `envoy.response_flags` | `response_flags` | some flag is set |
//! | `envoy.response_code_details` | `%RESPONSE_CODE_DETAILS%` | known |
//! | `envoy.upstream_cluster` | `upstream_cluster`, `upstream_cluster.name` | a route was found |
//! | `envoy.upstream_address` | `upstream_address` | a host was picked |
//! | `envoy.upstream_transport_failure_reason` | `%UPSTREAM_TRANSPORT_FAILURE_REASON%` | the connection failed |
//! | `envoy.upstream_request_attempt_count` | `retry.count` | SERVER, more than one attempt |
//! | `envoy.route_name` | `%ROUTE_NAME%` | the route has a name |
//! | `envoy.request_id` | `guid:x-request-id` | header present |
//! | `envoy.client_trace_id` | `guid:x-client-trace-id` | header present |
//! | `envoy.downstream_cluster` | `downstream_cluster` | header present |
//! | `istio.source_principal`, `istio.destination_principal` | SAN of the mTLS peer | SERVER, CLIENT |
//! | `istio.source_workload`, `istio.source_namespace` | peer exchange | SERVER |
//! | `istio.destination_workload`, `istio.destination_namespace` | peer exchange | CLIENT |
//! | `istio.destination_service` | from the cluster's name | CLIENT |
//!
//! The native tracer's other tags have names in the conventions: `http.method`, `http.url`, `http.status_code`,
//! `http.protocol`, `user_agent`, `request_size`, `response_size`, `peer.address`, `grpc.path`, `grpc.authority`,
//! `grpc.status_code`, `grpc.timeout`, `grpc.content_type` (see `semconv`); `error`, `error.reason` and `grpc.message` are
//! the status, `error.type` and the details; `node_id` and `zone` are the resource's `envoy.node_id` and
//! `cloud.availability_zone`. `component=proxy` says nothing that the scope's name does not.

use crate::propagation::headers;
use crate::span::Kind;
use crate::span::attributes::{Once, path};
use crate::span::build::Call;
use crate::span::limits::Collector;
use crate::span::status;

/// Response flags after which Envoy may know why a connection failed: UH, LR, UR, UF, UC, URX.
const CONNECTION_FLAGS: u64 = (1 << 1) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 15);

/// Headers that are attributes of every span.
const HEADERS: &[(&str, &str)] = &[
    ("x-request-id", "envoy.request_id"),
    ("x-client-trace-id", "envoy.client_trace_id"),
    ("x-envoy-downstream-service-cluster", "envoy.downstream_cluster"),
];

/// Adds them.
pub fn add<'a>(all: &mut Collector, call: &Call<'a>, once: &mut Once<'a>) {
    all.set_some("envoy.response_flags", status::short_flags(call.outcome.flags));
    all.set_some("envoy.response_code_details", call.explanation.details.clone());
    let cluster = once.text(path::CLUSTER_NAME);
    if call.kind == Kind::Client {
        all.set_some("istio.destination_service", cluster.as_deref().and_then(service_of));
    }
    all.set_some("envoy.upstream_cluster", cluster);
    all.set_some("envoy.upstream_address", once.text(path::UPSTREAM_ADDRESS));
    if call.outcome.flags.0 & CONNECTION_FLAGS != 0 {
        let reason = once.get(path::UPSTREAM_TRANSPORT_FAILURE_REASON).filter(|reason| !reason.is_empty());
        all.set_some("envoy.upstream_transport_failure_reason", reason.map(|reason| call.text(reason)));
    }
    if call.kind == Kind::Server && call.outcome.attempts > 1 {
        all.set("envoy.upstream_request_attempt_count", i64::from(call.outcome.attempts));
    }
    all.set_some("envoy.route_name", once.text(path::ROUTE_NAME));
    for (header, key) in HEADERS {
        let value = headers::first(&call.request, header.as_bytes()).filter(|value| !value.is_empty());
        all.set_some(*key, value.map(|value| call.text(value)));
    }
    peer(all, call, once);
}

/// The other side: its certificate's identity, and in Istio its workload (known outbound only when the request has ended).
fn peer<'a>(all: &mut Collector, call: &Call<'a>, once: &mut Once<'a>) {
    let (keys, principal, workload, namespace, newer) = match call.kind {
        Kind::Server => (
            ["istio.source_principal", "istio.source_workload", "istio.source_namespace"],
            path::CONNECTION_URI_SAN_PEER,
            path::DOWNSTREAM_PEER_WORKLOAD,
            path::DOWNSTREAM_PEER_NAMESPACE,
            [path::DOWNSTREAM_PEER_OBJ_WORKLOAD, path::DOWNSTREAM_PEER_OBJ_NAMESPACE],
        ),
        Kind::Client => (
            ["istio.destination_principal", "istio.destination_workload", "istio.destination_namespace"],
            path::UPSTREAM_URI_SAN_PEER,
            path::UPSTREAM_PEER_WORKLOAD,
            path::UPSTREAM_PEER_NAMESPACE,
            [path::UPSTREAM_PEER_OBJ_WORKLOAD, path::UPSTREAM_PEER_OBJ_NAMESPACE],
        ),
    };
    let [principal_key, workload_key, namespace_key] = keys;
    all.set_some(principal_key, once.text(principal));
    if !call.identity.istio {
        return;
    }
    let [newer_workload, newer_namespace] = newer;
    match once.text(workload) {
        Some(name) => {
            all.set(workload_key, name);
            all.set_some(namespace_key, once.text(namespace));
        }
        // One more read tells a peer that is kept under the newer name from none.
        None => {
            if let Some(name) = once.text(newer_workload) {
                all.set(workload_key, name);
                all.set_some(namespace_key, once.text(newer_namespace));
            }
        }
    }
}

/// `outbound|9080|v1|reviews.default.svc.cluster.local` → the service.
fn service_of(cluster: &str) -> Option<String> {
    let host = cluster.strip_prefix("outbound|")?.rsplit('|').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}
