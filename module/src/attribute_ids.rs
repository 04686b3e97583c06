//! Envoy's numbers of attributes, by their paths.
//!
//! The numbers are the order of `envoy_dynamic_module_type_attribute_id` in Envoy's abi.h, equal in 1.38, 1.39 and 1.40. Some of
//! them have no value in some versions; they are absent then.

use crate::abi::Metadata;
use sidespan_core::span::attributes::path;

/// Where the value of a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A text.
    Text(u32),
    /// A number.
    Int(u32),
    /// True or false.
    Bool(u32),
    /// An address, and its port where the address comes without it.
    Address(u32, u32),
}

/// The source of a path.
pub(crate) fn source(asked: &[u8]) -> Option<Source> {
    TABLE.iter().find(|(known, _)| *known == asked).map(|(_, source)| *source)
}

/// The metadata that a path names, and the rest of the path: namespace and key.
pub(crate) fn metadata(asked: &[u8]) -> Option<(Metadata, &[u8])> {
    METADATA.iter().find_map(|(prefix, from)| Some((*from, asked.strip_prefix(*prefix)?)))
}

const METADATA: &[(&[u8], Metadata)] = &[
    (b"metadata\0filter_metadata\0", Metadata::Dynamic),
    (b"xds\0route_metadata\0filter_metadata\0", Metadata::Route),
    (b"xds\0cluster_metadata\0filter_metadata\0", Metadata::Cluster),
    (b"xds\0upstream_host_metadata\0filter_metadata\0", Metadata::Host),
];

/// What every request asks for stands first.
const TABLE: &[(&[u8], Source)] = &[
    (path::RESPONSE_FLAGS, Source::Int(17)),
    (path::LISTENER_DIRECTION, Source::Int(59)),
    (path::RESPONSE_CODE, Source::Int(15)),
    (path::RESPONSE_CODE_DETAILS, Source::Text(16)),
    (path::REQUEST_PROTOCOL, Source::Text(10)),
    (path::REQUEST_SIZE, Source::Int(13)),
    (path::RESPONSE_SIZE, Source::Int(21)),
    (path::SOURCE_ADDRESS, Source::Address(24, 25)),
    (path::DESTINATION_ADDRESS, Source::Address(26, 27)),
    (path::UPSTREAM_ADDRESS, Source::Address(41, 42)),
    (path::UPSTREAM_LOCAL_ADDRESS, Source::Text(51)),
    (path::UPSTREAM_REQUEST_ATTEMPT_COUNT, Source::Int(53)),
    (path::UPSTREAM_TRANSPORT_FAILURE_REASON, Source::Text(52)),
    (path::ROUTE_NAME, Source::Text(61)),
    (b"request\0path", Source::Text(0)),
    (b"request\0url_path", Source::Text(1)),
    (b"request\0host", Source::Text(2)),
    (b"request\0scheme", Source::Text(3)),
    (b"request\0method", Source::Text(4)),
    (b"request\0referer", Source::Text(6)),
    (b"request\0useragent", Source::Text(7)),
    (path::REQUEST_ID, Source::Text(9)),
    (b"request\0query", Source::Text(11)),
    (b"request\0total_size", Source::Int(14)),
    (b"response\0grpc_status", Source::Int(18)),
    (b"response\0total_size", Source::Int(22)),
    (b"response\0backend_latency", Source::Int(23)),
    (b"source\0port", Source::Int(25)),
    (b"destination\0port", Source::Int(27)),
    (path::CONNECTION_ID, Source::Int(28)),
    (b"connection\0mtls", Source::Bool(29)),
    (path::CONNECTION_REQUESTED_SERVER_NAME, Source::Text(30)),
    (path::CONNECTION_TLS_VERSION, Source::Text(31)),
    (path::CONNECTION_SUBJECT_LOCAL, Source::Text(32)),
    (path::CONNECTION_SUBJECT_PEER, Source::Text(33)),
    (b"connection\0dns_san_local_certificate", Source::Text(34)),
    (b"connection\0dns_san_peer_certificate", Source::Text(35)),
    (path::CONNECTION_URI_SAN_LOCAL, Source::Text(36)),
    (path::CONNECTION_URI_SAN_PEER, Source::Text(37)),
    (b"connection\0sha256_peer_certificate_digest", Source::Text(38)),
    (b"connection\0transport_failure_reason", Source::Text(39)),
    (path::CONNECTION_TERMINATION_DETAILS, Source::Text(40)),
    (b"upstream\0port", Source::Int(42)),
    (path::UPSTREAM_TLS_VERSION, Source::Text(43)),
    (b"upstream\0subject_local_certificate", Source::Text(44)),
    (path::UPSTREAM_SUBJECT_PEER, Source::Text(45)),
    (b"upstream\0dns_san_local_certificate", Source::Text(46)),
    (b"upstream\0dns_san_peer_certificate", Source::Text(47)),
    (b"upstream\0uri_san_local_certificate", Source::Text(48)),
    (path::UPSTREAM_URI_SAN_PEER, Source::Text(49)),
    (b"upstream\0sha256_peer_certificate_digest", Source::Text(50)),
    (b"upstream\0cx_pool_ready_duration", Source::Int(54)),
    (path::VIRTUAL_HOST_NAME, Source::Text(63)),
    (path::FILTER_CHAIN_NAME, Source::Text(66)),
];
