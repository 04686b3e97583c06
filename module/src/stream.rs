//! One request: Envoy's hooks become calls of the core, and the edits that it returns are applied.

use crate::abi::Map;
use crate::clock::Times;
use crate::entropy;
use crate::filter::Filter;
use crate::filter_config::FilterConfig;
use crate::live::Live;
use sidespan_core::config::Direction;
use sidespan_core::span::attributes::{Attributes, int, path};
use sidespan_core::stream::{Plan, Stream};
use std::sync::Arc;

/// One request through one listener. It never pauses a stream.
pub(crate) struct HttpStream {
    config: Arc<FilterConfig>,
    times: Times,
    state: State,
}

#[allow(clippy::large_enum_variant, reason = "a request is boxed as a whole")]
enum State {
    /// The request headers have not come.
    New,
    Open(Stream),
    /// It has ended, or a hook has failed: nothing more is done.
    Over,
}

// === impl HttpStream ===

impl HttpStream {
    /// A request that begins.
    pub(crate) fn new(config: Arc<FilterConfig>) -> Self {
        Self { config, times: Times::start(), state: State::New }
    }

    /// A hook has failed: from here on, the request passes untouched.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Over;
    }

    /// The request headers have come.
    pub(crate) fn request_headers(&mut self, filter: Filter<'_>) -> Option<()> {
        let plan = self.config.tracer.plan()?;
        let live = Live::new(&filter, self.times);
        let headers = live.request_headers();
        let direction = direction(plan, &live);
        let (stream, edits) =
            self.config.tracer.handover.counting(|stats| {
                entropy::with(|entropy| Stream::start(plan, direction, &headers, entropy, &live, stats))
            });
        drop(headers);
        filter.apply(Map::Request, &edits);
        self.state = State::Open(stream);
        Some(())
    }

    /// The response headers have come.
    pub(crate) fn response_headers(&mut self, filter: Filter<'_>, end_of_stream: bool) -> Option<()> {
        let State::Open(stream) = &mut self.state else { return None };
        let live = Live::new(&filter, self.times);
        let headers = live.response_headers();
        let count = &self.config.tracer.handover;
        let edits = count.counting(|stats| stream.response_headers(&headers, end_of_stream, &live, stats));
        drop(headers);
        filter.apply(Map::Response, &edits);
        Some(())
    }

    /// The request has ended.
    pub(crate) fn complete(&mut self, filter: &Filter<'_>) -> Option<()> {
        let tracer = &self.config.tracer;
        let plan = tracer.plan()?;
        let live = Live::ended(filter, self.times);
        let stream = match std::mem::replace(&mut self.state, State::Over) {
            State::Open(stream) => stream,
            State::Over => return None,
            // What an earlier filter answered did not reach this one.
            State::New => {
                let (headers, direction) = (live.request_headers(), direction(plan, &live));
                tracer.handover.counting(|stats| {
                    entropy::with(|entropy| Stream::at_end(plan, direction, &headers, entropy, &live, stats))
                })
            }
        };
        if let Some(finished) = tracer.handover.counting(|stats| stream.finish(&live, stats)) {
            tracer.record(finished);
        }
        self.config.metrics.report_waiting(filter.pointer());
        Some(())
    }
}

/// The direction of the listener of this request.
fn direction(plan: &Plan, live: &Live<'_>) -> Direction {
    plan.direction(live.get(path::LISTENER_DIRECTION).as_deref().and_then(int))
}
