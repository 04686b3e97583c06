//! What only a proxy knows, under Envoy's own words.
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
//!
//! The native tracer's other tags have names in the conventions: `http.method`, `http.url`, `http.status_code`,
//! `http.protocol`, `user_agent`, `request_size`, `response_size`, `peer.address`, `grpc.path`, `grpc.authority`,
//! `grpc.status_code`, `grpc.timeout`, `grpc.content_type` (see `semconv`); `error`, `error.reason` and `grpc.message` are
//! the status, `error.type` and the details; `node_id` and `zone` are the resource's `envoy.node_id` and
//! `cloud.availability_zone`. `component=proxy` says nothing that the scope's name does not.

use super::attributes::{Once, path};
use super::exchange::Exchange;
use super::limits::BoundedAttributes;
use super::model::Kind;
use super::status;
use crate::http::headers;
use crate::sampling::response_flags::ResponseFlags;

/// Headers that are attributes of every span.
const HEADERS: &[(&str, &str)] = &[
    ("x-request-id", "envoy.request_id"),
    ("x-client-trace-id", "envoy.client_trace_id"),
    ("x-envoy-downstream-service-cluster", "envoy.downstream_cluster"),
];

/// Adds the attributes of the table above.
pub(super) fn add<'a>(all: &mut BoundedAttributes, exchange: &Exchange<'a>, once: &mut Once<'a>) {
    all.set_some("envoy.response_flags", status::short_flags(exchange.outcome.flags));
    all.set_some("envoy.response_code_details", exchange.explanation.details.clone());
    all.set_some("envoy.upstream_cluster", once.text(path::CLUSTER_NAME));
    all.set_some("envoy.upstream_address", once.text(path::UPSTREAM_ADDRESS));
    if exchange.outcome.flags.any(ResponseFlags::CONNECTION_FAILURE) {
        let reason = once.get(path::UPSTREAM_TRANSPORT_FAILURE_REASON).filter(|reason| !reason.is_empty());
        all.set_some("envoy.upstream_transport_failure_reason", reason.map(|reason| exchange.text(reason)));
    }
    if exchange.kind == Kind::Server && exchange.outcome.attempts > 1 {
        all.set("envoy.upstream_request_attempt_count", i64::from(exchange.outcome.attempts));
    }
    all.set_some("envoy.route_name", once.text(path::ROUTE_NAME));
    for (header, key) in HEADERS {
        let value = headers::first(&exchange.request, header.as_bytes()).filter(|value| !value.is_empty());
        all.set_some(*key, value.map(|value| exchange.text(value)));
    }
}
