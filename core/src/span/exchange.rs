//! Everything that is known about one request that has ended: the input of all rules that add attributes.

use super::attributes::Attributes;
use super::identity::Identity;
use super::model::Kind;
use super::name::NameTarget;
use super::original_request::OriginalRequest;
use super::redact::safe_text;
use super::settings::Settings;
use super::side::Side;
use super::status::{ErrorStatus, Explanation};
use crate::http::headers::{self, Header};
use crate::id::TraceId;
use crate::sampling::outcome::Outcome;

/// A request that has ended, with its response.
pub struct Exchange<'a> {
    pub(super) settings: &'a Settings,
    pub(super) identity: &'a Identity,
    /// The host, for attributes that are read at most once in any case; others are read through `Once`.
    pub(super) attributes: &'a dyn Attributes,
    pub(super) original: &'a OriginalRequest,
    pub(super) outcome: &'a Outcome,
    pub(super) kind: Kind,
    pub(super) trace_id: TraceId,
    pub(super) target: NameTarget<'a>,
    pub(super) rpc_method: Option<&'a str>,
    pub(super) status: ErrorStatus,
    pub(super) explanation: Explanation,
    pub(super) request: Vec<Header<'a>>,
    pub(super) response: Vec<Header<'a>>,
    pub(super) trailers: Vec<Header<'a>>,
}

// === impl Exchange ===

impl<'a> Exchange<'a> {
    /// The span's name.
    pub fn name(&self) -> String {
        if self.outcome.grpc {
            // Semantic conventions for RPC, "Name": the method, or the system where the method is not known.
            return self.rpc_method.unwrap_or("grpc").to_owned();
        }
        self.target.name(self.original.method())
    }

    /// One of the header maps.
    pub fn headers(&self, side: Side) -> &[Header<'a>] {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
            Side::Trailer => &self.trailers,
        }
    }

    /// The value of a header as safe text: pseudo-headers of the request as they came in, URLs without secrets.
    pub fn header(&self, side: Side, name: &str) -> Option<String> {
        let value = match (side, name) {
            (Side::Request, ":path") => Some(self.original.target()).filter(|path| !path.is_empty()),
            (Side::Request, ":method") => Some(self.original.method()).filter(|method| !method.is_empty()),
            (Side::Request, ":authority" | "host") => Some(self.original.authority()).filter(|host| !host.is_empty()),
            _ => headers::first(self.headers(side), name.as_bytes()),
        };
        value.map(|value| self.header_text(name, value))
    }

    /// A header's value as safe text.
    pub fn header_text(&self, name: &str, value: &[u8]) -> String {
        match name {
            ":path" | "x-envoy-original-path" | "referer" | "location" | "content-location" => self.url(value),
            _ => self.text(value),
        }
    }

    /// A URL or path without secrets, as safe text.
    pub fn url(&self, bytes: &[u8]) -> String {
        self.settings.redaction.target(bytes, self.settings.limits.value_bytes())
    }

    /// Any bytes as safe text.
    pub fn text(&self, bytes: &[u8]) -> String {
        safe_text(bytes, self.settings.limits.value_bytes())
    }
}
