//! Envoy attributes: read-only and lazy, because each read is a host call.
//!
//! A path is its segments joined by NUL. A value comes as the host serialises it: text as it is, numbers, timestamps and
//! durations as 8 bytes little-endian (times in nanoseconds), a boolean as one byte.

use crate::http::headers::Header;
use crate::span::model::Kind;
use crate::span::redact::safe_text;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longest text that is taken from an attribute, in bytes.
pub const MAX_TEXT: usize = 4096;

/// Names and values, both as bytes.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What Envoy knows of a request. Every method is a host call: ask for what is needed, once.
pub trait Attributes {
    /// The raw bytes of an attribute; `None` if it is absent or cannot be serialised.
    fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>>;
    /// An attribute that is a map of texts, such as filter metadata; `None` if it is absent or is no such map.
    fn get_map(&self, path: &[u8]) -> Option<Pairs>;
    /// A span of this kind is about to be built. A host that can read its attributes in one call should do so now.
    fn expect_span(&self, _: Kind) {}
    /// The request has ended, and how ([`path::RESPONSE_FLAGS`]) and how long it lasted ([`path::REQUEST_DURATION`]) is about to
    /// be asked. A host that can read both in one call should do so now.
    fn expect_end(&self) {}
    /// The request headers, names in lower case; empty if there are none.
    fn request_headers(&self) -> Vec<Header<'_>>;
    /// The response headers, likewise.
    fn response_headers(&self) -> Vec<Header<'_>>;
    /// The response trailers, likewise.
    fn response_trailers(&self) -> Vec<Header<'_>>;
}

/// Attributes from memory: what tests and `sidespan explain` use in place of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Raw values by path (segments joined by NUL).
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Maps of texts by path.
    pub maps: BTreeMap<Vec<u8>, Pairs>,
    /// Request headers as they are when the request ends.
    pub request: Pairs,
    /// Response headers.
    pub response: Pairs,
    /// Response trailers.
    pub trailers: Pairs,
}

/// Attributes that are asked from the host at most once per span.
pub struct Once<'a> {
    host: &'a dyn Attributes,
    seen: Vec<(&'a [u8], Option<Cow<'a, [u8]>>)>,
}

/// Paths of the attributes that spans read (Envoy, "Attributes"; names since 1.29).
pub mod path {
    /// Start of the request: nanoseconds since the epoch.
    pub const REQUEST_TIME: &[u8] = b"request\0time";
    /// First to last byte in nanoseconds; only when the request has ended.
    pub const REQUEST_DURATION: &[u8] = b"request\0duration";
    /// `HTTP/1.1`, `HTTP/2`.
    pub const REQUEST_PROTOCOL: &[u8] = b"request\0protocol";
    /// Bytes of the request body.
    pub const REQUEST_SIZE: &[u8] = b"request\0size";
    /// `x-request-id`.
    pub const REQUEST_ID: &[u8] = b"request\0id";
    /// HTTP status; not in the response-headers callback.
    pub const RESPONSE_CODE: &[u8] = b"response\0code";
    /// `via_upstream`, `route_not_found`.
    pub const RESPONSE_CODE_DETAILS: &[u8] = b"response\0code_details";
    /// One bit per response flag.
    pub const RESPONSE_FLAGS: &[u8] = b"response\0flags";
    /// Bytes of the response body.
    pub const RESPONSE_SIZE: &[u8] = b"response\0size";
    /// Downstream peer, `address:port`.
    pub const SOURCE_ADDRESS: &[u8] = b"source\0address";
    /// Where the downstream connected to, `address:port`.
    pub const DESTINATION_ADDRESS: &[u8] = b"destination\0address";
    /// The first URI SAN of the downstream's certificate.
    pub const CONNECTION_URI_SAN_PEER: &[u8] = b"connection\0uri_san_peer_certificate";
    /// The first URI SAN of our certificate towards the downstream.
    pub const CONNECTION_URI_SAN_LOCAL: &[u8] = b"connection\0uri_san_local_certificate";
    /// Subject of the downstream's certificate.
    pub const CONNECTION_SUBJECT_PEER: &[u8] = b"connection\0subject_peer_certificate";
    /// Subject of our certificate towards the downstream.
    pub const CONNECTION_SUBJECT_LOCAL: &[u8] = b"connection\0subject_local_certificate";
    /// `TLSv1.3`.
    pub const CONNECTION_TLS_VERSION: &[u8] = b"connection\0tls_version";
    /// Server name of the TLS handshake.
    pub const CONNECTION_REQUESTED_SERVER_NAME: &[u8] = b"connection\0requested_server_name";
    /// Downstream connection.
    pub const CONNECTION_ID: &[u8] = b"connection\0id";
    /// Why the downstream connection ended.
    pub const CONNECTION_TERMINATION_DETAILS: &[u8] = b"connection\0termination_details";
    /// Upstream host, `address:port`.
    pub const UPSTREAM_ADDRESS: &[u8] = b"upstream\0address";
    /// Our side of the upstream connection, `address:port`.
    pub const UPSTREAM_LOCAL_ADDRESS: &[u8] = b"upstream\0local_address";
    /// Why the upstream connection failed.
    pub const UPSTREAM_TRANSPORT_FAILURE_REASON: &[u8] = b"upstream\0transport_failure_reason";
    /// Retries and hedges included; 0 if no upstream was tried.
    pub const UPSTREAM_REQUEST_ATTEMPT_COUNT: &[u8] = b"upstream\0request_attempt_count";
    /// The first URI SAN of the upstream's certificate.
    pub const UPSTREAM_URI_SAN_PEER: &[u8] = b"upstream\0uri_san_peer_certificate";
    /// Subject of the upstream's certificate.
    pub const UPSTREAM_SUBJECT_PEER: &[u8] = b"upstream\0subject_peer_certificate";
    /// `TLSv1.3`.
    pub const UPSTREAM_TLS_VERSION: &[u8] = b"upstream\0tls_version";
    /// `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub const CLUSTER_NAME: &[u8] = b"xds\0cluster_name";
    /// Name of the matched route.
    pub const ROUTE_NAME: &[u8] = b"xds\0route_name";
    /// Name of the matched virtual host.
    pub const VIRTUAL_HOST_NAME: &[u8] = b"xds\0virtual_host_name";
    /// Name of the matched filter chain.
    pub const FILTER_CHAIN_NAME: &[u8] = b"xds\0filter_chain_name";
    /// 0 unspecified, 1 inbound, 2 outbound.
    pub const LISTENER_DIRECTION: &[u8] = b"xds\0listener_direction";
    /// The caller's namespace, as Istio's peer exchange found it.
    pub const DOWNSTREAM_PEER_NAMESPACE: &[u8] = b"filter_state\0downstream_peer\0NAMESPACE";
    /// The caller's workload.
    pub const DOWNSTREAM_PEER_WORKLOAD: &[u8] = b"filter_state\0downstream_peer\0WORKLOAD_NAME";
    /// The callee's namespace; only when the request has ended.
    pub const UPSTREAM_PEER_NAMESPACE: &[u8] = b"filter_state\0upstream_peer\0NAMESPACE";
    /// The callee's workload.
    pub const UPSTREAM_PEER_WORKLOAD: &[u8] = b"filter_state\0upstream_peer\0WORKLOAD_NAME";
    /// What the RBAC filter found: a map of texts.
    pub const RBAC_METADATA: &[u8] = b"metadata\0filter_metadata\0envoy.filters.http.rbac";
}

// === helpers ===

/// A number, timestamp or duration: 8 bytes little-endian.
pub fn int(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_le_bytes)
}

/// An unsigned number: 8 bytes little-endian.
pub fn uint(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// A boolean: one byte.
pub fn boolean(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [byte] => Some(*byte != 0),
        _ => None,
    }
}

/// Text of at most [`MAX_TEXT`] bytes; what is not UTF-8 and control characters become U+FFFD.
pub fn text(bytes: &[u8]) -> String {
    safe_text(bytes, MAX_TEXT)
}

// === impl Recorded ===

impl Recorded {
    /// Adds raw bytes under a path such as `path::REQUEST_TIME`.
    pub fn set(&mut self, path: &[u8], value: impl Into<Vec<u8>>) -> &mut Self {
        self.values.insert(path.to_vec(), value.into());
        self
    }

    /// Adds a number, a time or a duration.
    pub fn set_int(&mut self, path: &[u8], value: i64) -> &mut Self {
        self.set(path, value.to_le_bytes())
    }

    /// Adds a boolean.
    pub fn set_bool(&mut self, path: &[u8], value: bool) -> &mut Self {
        self.set(path, [u8::from(value)])
    }
}

impl Attributes for Recorded {
    fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.values.get(path).map(Cow::from)
    }

    fn get_map(&self, path: &[u8]) -> Option<Pairs> {
        self.maps.get(path).cloned()
    }

    fn request_headers(&self) -> Vec<Header<'_>> {
        view(&self.request)
    }

    fn response_headers(&self) -> Vec<Header<'_>> {
        view(&self.response)
    }

    fn response_trailers(&self) -> Vec<Header<'_>> {
        view(&self.trailers)
    }
}

fn view(pairs: &Pairs) -> Vec<Header<'_>> {
    pairs.iter().map(|(name, value)| Header::new(name, value)).collect()
}

// === impl Once ===

impl<'a> Once<'a> {
    /// Nothing is read yet.
    pub fn new(host: &'a dyn Attributes) -> Self {
        Self { host, seen: Vec::new() }
    }

    /// The raw bytes, from the host the first time, then from memory.
    pub fn get(&mut self, path: &'a [u8]) -> Option<&[u8]> {
        let at = match self.seen.iter().position(|(known, _)| *known == path) {
            Some(at) => at,
            None => {
                self.seen.push((path, self.host.get(path)));
                self.seen.len().saturating_sub(1)
            }
        };
        self.seen.get(at).and_then(|(_, value)| value.as_deref())
    }

    /// Text that is not empty.
    pub fn text(&mut self, path: &'a [u8]) -> Option<String> {
        self.get(path).filter(|value| !value.is_empty()).map(text)
    }

    /// A number.
    pub fn int(&mut self, path: &'a [u8]) -> Option<i64> {
        self.get(path).and_then(int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn numbers_are_eight_bytes_and_booleans_one() {
        assert_eq!(int(&(-5i64).to_le_bytes()), Some(-5));
        assert_eq!(uint(&7u64.to_le_bytes()), Some(7));
        assert_eq!(int(b"1234"), None);
        assert_eq!((boolean(&[1]), boolean(&[0]), boolean(&[])), (Some(true), Some(false), None));
    }

    #[test]
    fn the_host_is_asked_once_per_attribute_also_for_an_absent_one() {
        struct Counting(Cell<u32>);
        impl Attributes for Counting {
            fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
                self.0.set(self.0.get() + 1);
                (path == b"a").then_some(Cow::Borrowed(b"1"))
            }
            fn get_map(&self, _: &[u8]) -> Option<Pairs> {
                None
            }
            fn request_headers(&self) -> Vec<Header<'_>> {
                Vec::new()
            }
            fn response_headers(&self) -> Vec<Header<'_>> {
                Vec::new()
            }
            fn response_trailers(&self) -> Vec<Header<'_>> {
                Vec::new()
            }
        }
        let host = Counting(Cell::new(0));
        let mut once = Once::new(&host);
        for _ in 0..3 {
            assert_eq!(once.get(b"a"), Some(&b"1"[..]));
            assert_eq!(once.get(b"b"), None);
        }
        assert_eq!(host.0.get(), 2);
    }
}
