//! Beside Envoy's own tracer, at the end of a request: its ids become those of the span.

use super::native::Native;
use super::state::Stream;
use crate::http::headers;
use crate::propagation::{Extracted, TraceHeaders};
use crate::sampling::{Reason, Strata};
use crate::span::attributes::{Attributes, path};

/// Envoy's decision, which it notes in the version digit of the UUID (`UuidRequestIdConfig`, "pack_trace_reason"): 4 not traced,
/// 9 sampled, a forced by the service, b asked for by the client.
fn is_traced(request_id: &[u8]) -> bool {
    request_id.len() == 36 && matches!(request_id.get(14), Some(b'9' | b'a' | b'b'))
}

// === impl Stream ===

impl Stream {
    /// Whether a native tracer begins the trace here, with an id that is not known yet.
    pub(super) fn has_unknown_trace(&self) -> bool {
        self.native.as_ref().is_some_and(Native::is_open) && self.incoming.extracted.is_none()
    }

    /// Whether only the rate of the native tracer can keep the request.
    pub(super) fn is_left_to_native(&self, strata: &Strata) -> bool {
        self.native.is_some() && strata.is_empty() && self.head().is_none_or(|head| head.reason != Reason::Debug)
    }

    /// Whether the native tracer has sampled the request, and so exports it.
    pub(super) fn is_exported_by_native(&self, attributes: &dyn Attributes) -> bool {
        let Some(native) = &self.native else { return false };
        native.has_sampled() || (!native.has_sent() && self.is_exported_unsent(native, attributes))
    }

    /// The same for a request that never went upstream, so that nobody wrote its flag anywhere: both the caller and Envoy must
    /// have wanted it. Only of a tracer that has been seen at work: Envoy notes its decision also where it has none.
    fn is_exported_unsent(&self, native: &Native, attributes: &dyn Attributes) -> bool {
        let at_work = self.plan.native_format().is_some();
        if !at_work || native.caller_refuses() || self.went_upstream(attributes) {
            return false;
        }
        headers::first(&attributes.request_headers(), b"x-request-id").is_some_and(is_traced)
    }

    /// Whether a host was chosen for the request. What an earlier filter or a route answers has none.
    pub(super) fn went_upstream(&self, attributes: &dyn Attributes) -> bool {
        self.original.seen && attributes.get(path::UPSTREAM_ADDRESS).is_some_and(|address| !address.is_empty())
    }

    /// Takes the ids that the native tracer sent upstream, once. False if it sent none, or is not on.
    pub(super) fn adopt(&mut self, attributes: &dyn Attributes) -> bool {
        let Some(native) = &mut self.native else { return false };
        if native.is_open() {
            let headers = attributes.request_headers();
            if let Some((sent, parent)) = native.compare(&TraceHeaders::new(&headers)) {
                self.take_over(sent, parent);
            }
        }
        self.native.as_ref().is_some_and(Native::has_sent)
    }

    fn take_over(&mut self, sent: Extracted, parent: Option<Extracted>) {
        self.plan.learn_native_format(sent.format);
        self.trace_id = sent.trace_id;
        self.span_id = sent.span_id.unwrap_or(self.span_id);
        // Envoy's tracers drop the random flag.
        self.random = parent.as_ref().map_or(sent.random, |parent| parent.random);
        self.trace_state = sent.trace_state;
        self.incoming.extracted = parent;
        let Some(native) = &self.native else { return };
        let head = native.head(self.trace_id, &self.trace_state);
        if let Some(sampling) = self.sampling_mut() {
            sampling.head = head;
        }
    }
}
