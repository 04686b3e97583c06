//! The parts of a request that are copied when it comes in and kept until it ends.
//!
//! A route may rewrite path and host, and the headers at the end of the request are then the rewritten ones. So the values of
//! `url.*` and `server.*` are copied early, in one allocation of bounded size.

use super::model::Kind;
use crate::config::Direction;
use crate::http::authority::without_userinfo;
use crate::http::headers::{self, Header};

/// Longest `:path` that is copied, in bytes, with its query.
pub(super) const MAX_PATH: usize = 4096;
/// Longest `:authority` that is copied, in bytes (a DNS name has at most 253).
pub(super) const MAX_AUTHORITY: usize = 264;
/// Longest method that is copied, in bytes: a longer one is recorded as `_OTHER`.
pub(super) const MAX_METHOD: usize = 32;

/// A copy of method, authority and path, of bounded size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRequest {
    /// The side of the workload on which the request was seen.
    pub direction: Direction,
    /// The content type is `application/grpc` or a subtype of it.
    pub grpc: bool,
    /// The client used `https`, as far as known.
    pub https: bool,
    /// The filter saw the request when it came in. If not, nothing was propagated.
    pub seen: bool,
    /// Method, authority and path, one after the other.
    text: Box<[u8]>,
    method_end: u16,
    authority_end: u16,
}

// === impl OriginalRequest ===

impl OriginalRequest {
    /// Copies from the headers of a request that comes in.
    pub fn new(direction: Direction, headers: &[Header<'_>]) -> Self {
        let method = cut(headers::first(headers, b":method").unwrap_or_default(), MAX_METHOD);
        let authority = headers::first(headers, b":authority").or_else(|| headers::first(headers, b"host"));
        let authority = cut(authority.unwrap_or_default(), MAX_AUTHORITY);
        let path = cut(headers::first(headers, b":path").unwrap_or_default(), MAX_PATH);
        let text: Box<[u8]> = [method, authority, path].concat().into();
        let method_end = method.len();
        let authority_end = method_end.saturating_add(authority.len());
        Self {
            direction,
            grpc: headers::first(headers, b"content-type").is_some_and(is_grpc),
            https: scheme(direction, headers).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")),
            seen: true,
            text,
            method_end: u16::try_from(method_end).unwrap_or_default(),
            authority_end: u16::try_from(authority_end).unwrap_or_default(),
        }
    }

    /// Copies from the headers at the end of a request that was rejected before it reached this filter.
    pub fn at_end(direction: Direction, headers: &[Header<'_>]) -> Self {
        Self { seen: false, ..Self::new(direction, headers) }
    }

    /// The method, which is case-sensitive; empty if there was none.
    pub fn method(&self) -> &[u8] {
        self.text.get(..usize::from(self.method_end)).unwrap_or_default()
    }

    /// Host and port (if there is one), without credentials.
    pub fn authority(&self) -> &[u8] {
        without_userinfo(
            self.text.get(usize::from(self.method_end)..usize::from(self.authority_end)).unwrap_or_default(),
        )
    }

    /// Path and query, as they came.
    pub fn target(&self) -> &[u8] {
        self.text.get(usize::from(self.authority_end)..).unwrap_or_default()
    }

    /// Path without query and fragment, and without scheme and authority if it was written in absolute form.
    pub fn path(&self) -> &[u8] {
        self.split().0
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.split().1
    }

    /// The scheme that the client used.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The kind of the span. A gateway is a server to its clients.
    pub fn kind(&self) -> Kind {
        match self.direction {
            Direction::Inbound | Direction::Gateway => Kind::Server,
            Direction::Outbound => Kind::Client,
        }
    }

    fn split(&self) -> (&[u8], Option<&[u8]>) {
        let target = self.target().split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let path = parts.next().unwrap_or_default();
        (origin_form(path), parts.next())
    }
}

/// The first `limit` bytes.
fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    bytes.get(..limit).unwrap_or(bytes)
}

/// `application/grpc`, with any suffix such as `+proto`; gRPC-Web is plain HTTP (its status is not in trailers).
fn is_grpc(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// For a server the scheme that the first client used (`x-forwarded-proto`); for a client the scheme of its own request.
fn scheme<'a>(direction: Direction, headers: &[Header<'a>]) -> Option<&'a [u8]> {
    let forwarded = headers::first(headers, b"x-forwarded-proto").filter(|_| direction != Direction::Outbound);
    forwarded.or_else(|| headers::first(headers, b":scheme"))
}

/// The path of a target in absolute form (RFC 9112 section 3.2.2): of `http://user:secret@host/path` it is `/path`.
fn origin_form(path: &[u8]) -> &[u8] {
    if path.first().is_none_or(|byte| *byte == b'/' || *byte == b'*') {
        return path;
    }
    let Some(mark) = path.windows(3).position(|window| window == b"://") else { return path };
    let rest = path.get(mark.saturating_add(3)..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'/').and_then(|slash| rest.get(slash..)).unwrap_or(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(direction: Direction, pairs: &[(&str, &str)]) -> OriginalRequest {
        let headers: Vec<_> = pairs.iter().map(|(name, value)| Header::new(*name, *value)).collect();
        OriginalRequest::new(direction, &headers)
    }

    #[test]
    fn method_authority_path_and_query_are_told_apart() {
        let table: &[(&str, &str, Option<&str>)] = &[
            ("/a/b?x=1&y=2", "/a/b", Some("x=1&y=2")),
            ("/a", "/a", None),
            ("/a?", "/a", Some("")),
            ("/a?x=1?2#top", "/a", Some("x=1?2")),
            ("*", "*", None),
            ("", "", None),
            ("http://user:secret@host/a?b=c", "/a", Some("b=c")),
            ("http://user:secret@host", "/", None),
        ];
        for (target, path, query) in table {
            let request =
                request(Direction::Inbound, &[(":method", "GET"), (":path", target), (":authority", "u:p@shop:80")]);
            assert_eq!(request.method(), b"GET");
            assert_eq!(request.authority(), b"shop:80");
            assert_eq!((request.path(), request.query()), (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        }
    }

    #[test]
    fn a_server_takes_the_scheme_of_the_client_and_a_client_its_own() {
        let pairs = [(":scheme", "http"), ("x-forwarded-proto", "https")];
        assert_eq!(request(Direction::Inbound, &pairs).scheme(), "https");
        assert_eq!(request(Direction::Gateway, &pairs).scheme(), "https");
        assert_eq!(request(Direction::Outbound, &pairs).scheme(), "http");
    }

    #[test]
    fn copies_are_bounded() {
        let long = "x".repeat(60_000);
        let request = request(Direction::Inbound, &[(":method", &long), (":path", &long), (":authority", &long)]);
        assert_eq!(request.text.len(), MAX_METHOD + MAX_AUTHORITY + MAX_PATH);
        assert_eq!(request.target().len(), MAX_PATH);
    }

    #[test]
    fn grpc_is_told_by_the_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(request(Direction::Inbound, &[("content-type", value)]).grpc, expected, "{value}");
        }
    }
}
