//! Draft, outcome and attributes → span.
//!
//! Host reads per exported span, each at most once: the request headers; `response.code_details`, `request.protocol`,
//! `request.size`, `response.size`, `upstream.address`, `upstream.request_attempt_count`, `xds.cluster_name`,
//! `xds.route_name`; SERVER: `source.address` and the peer's SAN of the connection; CLIENT: the peer's SAN upstream; in Istio
//! two leaves of the peer (one or two more where it is kept under its newer name), SERVER one for policies in dry run; after a connection failure the reason; after
//! a gRPC error trailers, and response headers if they do not explain it. So 11 (CLIENT: 10), in Istio 14 (12), and whatever `customTags` and captured response headers ask for.

use crate::http::headers::{self, Header};
use crate::http::percent;
use crate::id::TraceId;
use crate::propagation::headers::decode_pairs;
use crate::sampling::outcome::Outcome;
use crate::span::attributes::{Once, path, uint};
use crate::span::limits::Collector;
use crate::span::name::Target;
use crate::span::redact::safe_text;
use crate::span::status::{self, Explanation, Verdict};
use crate::span::{Attributes, Draft, Identity, Ids, Kind, Recipe, Span, captured, envoy, istio, semconv};
use std::borrow::Cow;

/// Longest status message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// A header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Request headers.
    Request,
    /// Response headers.
    Response,
    /// Response trailers.
    Trailer,
}

/// Everything that the rules of this room look at.
pub struct Call<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) identity: &'a Identity,
    /// For what is asked at most once in any case.
    pub(super) attributes: &'a dyn Attributes,
    pub(super) draft: &'a Draft,
    pub(super) outcome: &'a Outcome,
    pub(super) kind: Kind,
    pub(super) trace_id: TraceId,
    pub(super) target: Target<'a>,
    pub(super) rpc_method: Option<&'a str>,
    pub(super) verdict: Verdict,
    pub(super) explanation: Explanation,
    pub(super) request: Vec<Header<'a>>,
    pub(super) response: Vec<Header<'a>>,
    pub(super) trailers: Vec<Header<'a>>,
}

/// Header blocks as the host gave them; what is not needed is not read.
struct Blocks<'a> {
    request: Cow<'a, [u8]>,
    response: Cow<'a, [u8]>,
    trailers: Cow<'a, [u8]>,
}

/// Makes the span of a request that has ended. `times` are start and end in nanoseconds since the epoch; `reason` is the
/// stratum that kept it.
#[allow(clippy::too_many_arguments)]
pub fn build(
    recipe: &Recipe,
    identity: &Identity,
    draft: &Draft,
    ids: Ids,
    outcome: &Outcome,
    attributes: &dyn Attributes,
    times: (u64, u64),
    reason: &'static str,
) -> Span {
    let mut once = Once::new(attributes);
    let outcome = &Outcome {
        // Either may have seen the content type, whichever callback ran.
        grpc: outcome.grpc || draft.grpc,
        // What did not matter for the decision may not have been read.
        attempts: if outcome.attempts > 0 { outcome.attempts } else { attempts(&mut once) },
        duration_ns: times.1.saturating_sub(times.0),
        ..*outcome
    };
    let blocks = Blocks::read(recipe, draft.kind(), outcome, attributes);
    let call = call(recipe, identity, attributes, draft, &ids, outcome, &blocks, &mut once);
    let mut all = Collector::new(recipe.limits);
    all.set("sidespan.sampling.reason", reason);
    semconv::add(&mut all, &call, &mut once);
    envoy::add(&mut all, &call, &mut once);
    istio::add(&mut all, &call, &mut once);
    // After our own: an operator's tag may replace any of them.
    for tag in &recipe.tags {
        all.set_some(tag.key.clone(), tag.value(&call, &mut once));
    }
    captured::add_headers(&mut all, &call);
    captured::add_baggage(&mut all, &call);
    let (attributes, dropped_attributes) = all.finish();
    Span {
        trace_id: ids.trace_id,
        span_id: ids.span_id,
        parent: ids.parent,
        flags: ids.flags,
        name: call.name(),
        kind: call.kind,
        start_ns: times.0,
        end_ns: times.1.max(times.0),
        attributes,
        dropped_attributes,
        links: ids.links,
        status: call.verdict.status,
    }
}

#[allow(clippy::too_many_arguments)]
fn call<'a>(
    recipe: &'a Recipe,
    identity: &'a Identity,
    attributes: &'a dyn Attributes,
    draft: &'a Draft,
    ids: &Ids,
    outcome: &'a Outcome,
    blocks: &'a Blocks<'a>,
    once: &mut Once<'a>,
) -> Call<'a> {
    let kind = draft.kind();
    let (response, trailers) = (decode_pairs(&blocks.response), decode_pairs(&blocks.trailers));
    let explanation = Explanation {
        details: once.get(path::RESPONSE_CODE_DETAILS).filter(|d| !d.is_empty()).map(|d| safe_text(d, MAX_MESSAGE)),
        grpc_message: grpc_message(&trailers).or_else(|| grpc_message(&response)),
    };
    let grpc = outcome.grpc;
    Call {
        recipe,
        identity,
        attributes,
        draft,
        outcome,
        kind,
        trace_id: ids.trace_id,
        target: if grpc { Target::None } else { recipe.names.http(draft.path(), is_proven(outcome)) },
        rpc_method: if grpc { recipe.names.grpc(draft.path(), is_proven(outcome)) } else { None },
        verdict: status::judge(kind, outcome, &explanation, recipe.client_gone_is_error),
        explanation,
        request: decode_pairs(&blocks.request),
        response,
        trailers,
    }
}

fn attempts(once: &mut Once<'_>) -> u32 {
    let count = once.get(path::UPSTREAM_REQUEST_ATTEMPT_COUNT).and_then(uint).unwrap_or_default();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether a server knew the path. A 4xx may come from a scanner; so may UNIMPLEMENTED and what comes before the method is
/// looked at (PERMISSION_DENIED, UNAUTHENTICATED).
fn is_proven(outcome: &Outcome) -> bool {
    if outcome.grpc {
        return status::grpc_code(outcome).is_some_and(|code| !matches!(code, 7 | 12 | 16));
    }
    status::http_status(outcome).is_some_and(|status| !(400..500).contains(&status))
}

/// gRPC over HTTP/2: percent-encoded text.
fn grpc_message(headers: &[Header<'_>]) -> Option<String> {
    let message = headers::first(headers, b"grpc-message").filter(|message| !message.is_empty())?;
    let message = message.get(..MAX_MESSAGE.saturating_mul(3)).unwrap_or(message);
    Some(safe_text(&percent::decode(message), MAX_MESSAGE))
}

// === impl Blocks ===

impl<'a> Blocks<'a> {
    fn read(recipe: &Recipe, kind: Kind, outcome: &Outcome, attributes: &'a dyn Attributes) -> Self {
        let failed = outcome.grpc && {
            let verdict = status::judge(kind, outcome, &Explanation::default(), recipe.client_gone_is_error);
            verdict.error_type.is_some()
        };
        let read = |wanted: bool, block: &dyn Fn() -> Cow<'a, [u8]>| if wanted { block() } else { Cow::default() };
        let trailers = read(failed || recipe.reads_response_trailers, &|| attributes.response_trailers());
        let explained = grpc_message(&decode_pairs(&trailers)).is_some();
        let response = read((failed && !explained) || recipe.reads_response_headers, &|| attributes.response_headers());
        Self { request: attributes.request_headers(), response, trailers }
    }
}

// === impl Call ===

impl<'a> Call<'a> {
    /// The span's name.
    pub fn name(&self) -> String {
        if self.outcome.grpc {
            // RPC spans, "Name": the method, else the system.
            return self.rpc_method.unwrap_or("grpc").to_owned();
        }
        self.target.name(self.draft.method())
    }

    /// One of the header maps.
    pub fn headers(&self, side: Side) -> &[Header<'a>] {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
            Side::Trailer => &self.trailers,
        }
    }
}
