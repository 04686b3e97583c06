//! Envoy's numbers of attributes, by the paths that the core asks for.
//!
//! The numbers are the order of `envoy_dynamic_module_type_attribute_id` in Envoy's abi.h, equal in 1.38, 1.39 and 1.40.

use sidespan_core::span::attributes::path;

/// Where the value of a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A text.
    Text(u32),
    /// A number.
    Int(u32),
    /// A boolean that is false for a connection without TLS.
    Bool(u32),
    /// An address, and its port where the address comes without it.
    Address(u32, u32),
}

/// The source of a path.
pub(crate) fn source(asked: &[u8]) -> Option<Source> {
    TABLE.iter().find(|(known, _)| *known == asked).map(|(_, source)| *source)
}

/// What every request asks for stands first.
const TABLE: &[(&[u8], Source)] = &[
    (path::RESPONSE_FLAGS, Source::Int(17)),
    (path::LISTENER_DIRECTION, Source::Int(59)),
    (path::RESPONSE_CODE, Source::Int(15)),
    (path::RESPONSE_CODE_DETAILS, Source::Text(16)),
    (path::REQUEST_PROTOCOL, Source::Text(10)),
    (path::REQUEST_SIZE, Source::Int(13)),
    (path::REQUEST_ID, Source::Text(9)),
    (path::RESPONSE_SIZE, Source::Int(21)),
    (path::SOURCE_ADDRESS, Source::Address(24, 25)),
    (path::DESTINATION_ADDRESS, Source::Address(26, 27)),
    (path::CONNECTION_ID, Source::Int(28)),
    (b"connection\0mtls", Source::Bool(29)),
    (path::CONNECTION_REQUESTED_SERVER_NAME, Source::Text(30)),
    (path::CONNECTION_TLS_VERSION, Source::Text(31)),
    (path::CONNECTION_SUBJECT_LOCAL, Source::Text(32)),
    (path::CONNECTION_SUBJECT_PEER, Source::Text(33)),
    (path::CONNECTION_URI_SAN_LOCAL, Source::Text(36)),
    (path::CONNECTION_URI_SAN_PEER, Source::Text(37)),
    (path::CONNECTION_TERMINATION_DETAILS, Source::Text(40)),
    (path::UPSTREAM_ADDRESS, Source::Address(41, 42)),
    (path::UPSTREAM_TLS_VERSION, Source::Text(43)),
    (path::UPSTREAM_SUBJECT_PEER, Source::Text(45)),
    (path::UPSTREAM_URI_SAN_PEER, Source::Text(49)),
    (path::UPSTREAM_LOCAL_ADDRESS, Source::Text(51)),
    (path::UPSTREAM_TRANSPORT_FAILURE_REASON, Source::Text(52)),
    (path::UPSTREAM_REQUEST_ATTEMPT_COUNT, Source::Int(53)),
    (path::ROUTE_NAME, Source::Text(61)),
    (path::VIRTUAL_HOST_NAME, Source::Text(63)),
    (path::FILTER_CHAIN_NAME, Source::Text(66)),
];
