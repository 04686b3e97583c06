//! Makes the span of a request that has ended.
//!
//! Host reads per exported span, each at most once: the request headers; `response.code_details`, `request.protocol`,
//! `request.size`, `response.size`, `upstream.address`, `upstream.request_attempt_count`, `xds.cluster_name`,
//! `xds.route_name`; SERVER: `source.address` and the peer's SAN of the connection; CLIENT: the peer's SAN upstream; in Istio
//! two leaves of the peer (one or two more where it is kept under its newer name), SERVER one for policies in dry run; after a
//! connection failure the reason; after a gRPC error trailers, and response headers if they do not explain it. So 11
//! (CLIENT: 10), in Istio 14 (12), and whatever `customTags` and captured response headers ask for.

use super::attributes::{Attributes, Once, path, uint};
use super::environment::Environment;
use super::exchange::Exchange;
use super::identity::Identity;
use super::limits::BoundedAttributes;
use super::model::{Attribute, Ids, Kind, Span};
use super::name::{NameTarget, SpanNames};
use super::original_request::OriginalRequest;
use super::redact::safe_text;
use super::settings::Settings;
use super::side::Side;
use super::status::{self, Explanation};
use super::tags::Tag;
use super::{captured, envoy, istio, semconv};
use crate::config::Config;
use crate::http::headers::{self, Header};
use crate::http::percent;
use crate::sampling::outcome::Outcome;

/// Longest status message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Makes the spans of one configuration. It remembers the names that it has given, so that there are only so many.
#[derive(Debug)]
pub struct SpanBuilder {
    settings: Settings,
    names: SpanNames,
    tags: Vec<Tag>,
    /// A tag or a captured header needs them.
    reads_response_headers: bool,
    reads_response_trailers: bool,
}

/// A request that has ended and whose span is kept.
pub struct EndedRequest<'a> {
    /// The request as it came in.
    pub original: &'a OriginalRequest,
    /// The ids of its span.
    pub ids: Ids,
    /// What is known of its end. `attempts` may be 0 where the decision did not need them; `duration_ns` is not used.
    pub outcome: &'a Outcome,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Why the span is kept.
    pub reason: &'static str,
}

/// The header maps that the span needs; a map that is not needed is not read.
struct HeaderMaps<'a> {
    request: Vec<Header<'a>>,
    response: Vec<Header<'a>>,
    trailers: Vec<Header<'a>>,
}

// A configuration in force, and so this, may be shared by several threads.
const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SpanBuilder>();
    is_send_and_sync::<Identity>();
};

// === impl SpanBuilder ===

impl SpanBuilder {
    /// Compiles a configuration that is valid. Literals and environment variables of tags are resolved here.
    pub fn new(config: &Config, environment: &Environment) -> Self {
        let settings = Settings::new(config);
        let tags: Vec<_> = config.custom_tags.iter().filter_map(|(key, tag)| Tag::new(key, tag, environment)).collect();
        let captures_response = settings.captured.iter().any(|captured| captured.side == Side::Response);
        Self {
            settings,
            names: SpanNames::new(&config.spans.path_templates),
            reads_response_headers: captures_response || tags.iter().any(|tag| tag.needs(Side::Response)),
            reads_response_trailers: tags.iter().any(|tag| tag.needs(Side::Trailer)),
            tags,
        }
    }

    /// Makes the span. Reads what it needs from `attributes`, each attribute at most once.
    pub fn build(&self, identity: &Identity, request: EndedRequest<'_>, attributes: &dyn Attributes) -> Span {
        let mut once = Once::new(attributes);
        let outcome = &complete(&request, &mut once);
        let EndedRequest { original, ids, start_ns, end_ns, reason, .. } = request;
        let HeaderMaps { request, response, trailers } = self.read_headers(original.kind(), outcome, attributes);
        let explanation = explain(&response, &trailers, &mut once);
        let (target, rpc_method) = self.target(original, outcome);
        let exchange = Exchange {
            settings: &self.settings,
            identity,
            attributes,
            original,
            outcome,
            kind: original.kind(),
            trace_id: ids.trace_id,
            target,
            rpc_method,
            status: status::classify(original.kind(), outcome, &explanation, self.settings.client_gone_is_error),
            explanation,
            request,
            response,
            trailers,
        };
        let (attributes, dropped_attributes) = self.attributes(&exchange, reason, &mut once);
        Span {
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            parent: ids.parent,
            flags: ids.flags,
            name: exchange.name(),
            kind: exchange.kind,
            start_ns,
            end_ns: end_ns.max(start_ns),
            attributes,
            dropped_attributes,
            links: ids.links,
            status: exchange.status.status,
        }
    }

    /// Trailers and response headers are read where they can explain a gRPC error, or where the configuration needs them.
    fn read_headers<'a>(&self, kind: Kind, outcome: &Outcome, host: &'a dyn Attributes) -> HeaderMaps<'a> {
        let failed = outcome.grpc && {
            let gone_is_error = self.settings.client_gone_is_error;
            status::classify(kind, outcome, &Explanation::default(), gone_is_error).error_type.is_some()
        };
        let trailers = match failed || self.reads_response_trailers {
            true => host.response_trailers(),
            false => Vec::new(),
        };
        let explained = grpc_message(&trailers).is_some();
        let response = match (failed && !explained) || self.reads_response_headers {
            true => host.response_headers(),
            false => Vec::new(),
        };
        HeaderMaps { request: host.request_headers(), response, trailers }
    }

    /// What of the path may be in the name: the target of an HTTP request, or the method of a gRPC call.
    fn target<'a>(&'a self, original: &'a OriginalRequest, outcome: &Outcome) -> (NameTarget<'a>, Option<&'a str>) {
        let proven = is_proven(outcome);
        if outcome.grpc {
            (NameTarget::None, self.names.grpc(original.path(), proven))
        } else {
            (self.names.http(original.path(), proven), None)
        }
    }

    /// All attributes, and how many did not fit the limits.
    fn attributes<'a>(
        &'a self,
        exchange: &Exchange<'a>,
        reason: &'static str,
        once: &mut Once<'a>,
    ) -> (Vec<Attribute>, u32) {
        let mut all = BoundedAttributes::new(self.settings.limits);
        all.set("sidespan.sampling.reason", reason);
        semconv::add(&mut all, exchange, once);
        envoy::add(&mut all, exchange, once);
        istio::add(&mut all, exchange, once);
        // After our own attributes: an operator's tag may replace any of them.
        for tag in &self.tags {
            all.set_some(tag.key.clone(), tag.value(exchange, once));
        }
        captured::add_headers(&mut all, exchange);
        captured::add_baggage(&mut all, exchange);
        all.finish()
    }
}

/// The outcome with what the decision did not need to know.
fn complete(request: &EndedRequest<'_>, once: &mut Once<'_>) -> Outcome {
    let outcome = request.outcome;
    Outcome {
        // Either may have seen the content type, whichever callback ran.
        grpc: outcome.grpc || request.original.grpc,
        attempts: if outcome.attempts > 0 { outcome.attempts } else { attempts(once) },
        duration_ns: request.end_ns.saturating_sub(request.start_ns),
        ..*outcome
    }
}

fn attempts(once: &mut Once<'_>) -> u32 {
    let count = once.get(path::UPSTREAM_REQUEST_ATTEMPT_COUNT).and_then(uint).unwrap_or_default();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn explain(response: &[Header<'_>], trailers: &[Header<'_>], once: &mut Once<'_>) -> Explanation {
    let details = once.get(path::RESPONSE_CODE_DETAILS).filter(|details| !details.is_empty());
    Explanation {
        details: details.map(|details| safe_text(details, MAX_MESSAGE)),
        grpc_message: grpc_message(trailers).or_else(|| grpc_message(response)),
    }
}

/// Whether a server knew the path. A 4xx may come from a scanner; so may UNIMPLEMENTED and what comes before the method is
/// looked at (PERMISSION_DENIED, UNAUTHENTICATED).
fn is_proven(outcome: &Outcome) -> bool {
    if outcome.grpc {
        return status::grpc_code(outcome).is_some_and(|code| !matches!(code, 7 | 12 | 16));
    }
    status::http_status(outcome).is_some_and(|status| !(400..500).contains(&status))
}

/// The header `grpc-message`, which is percent-encoded (gRPC over HTTP/2, "Status-Message").
fn grpc_message(headers: &[Header<'_>]) -> Option<String> {
    let message = headers::first(headers, b"grpc-message").filter(|message| !message.is_empty())?;
    let message = message.get(..MAX_MESSAGE.saturating_mul(3)).unwrap_or(message);
    Some(safe_text(&percent::decode(message), MAX_MESSAGE))
}
