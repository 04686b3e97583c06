//! The stream context: Envoy's callbacks become calls of the core, and the edits that it returns are applied.

use crate::abi::{self, Map};
use crate::attributes::Live;
use crate::pairs::decode_pairs;
use crate::shared::Shared;
use sidespan_core::http::headers::HeaderEdit;
use sidespan_core::span::attributes::Attributes;
use sidespan_core::stream::Stream;
use std::rc::Rc;

/// One request through one listener. It never pauses a stream: every callback answers `Continue`.
pub(crate) struct HttpStream {
    shared: Option<Rc<Shared>>,
    stream: Option<Stream>,
}

impl HttpStream {
    /// `None`: there is no usable configuration, and traffic passes untouched.
    pub(crate) fn new(shared: Option<Rc<Shared>>) -> Self {
        Self { shared, stream: None }
    }

    /// `on_request_headers`.
    pub(crate) fn request_headers(&mut self) -> Option<()> {
        let shared = self.shared.as_ref()?;
        let block = abi::pairs(Map::Request).ok()?;
        let headers = decode_pairs(&block);
        let direction = shared.direction(&Live::default());
        let live = Live::default();
        let (stream, edits) = shared
            .with_entropy(|entropy, stats| Stream::start(&shared.plan, direction, &headers, entropy, &live, stats))?;
        apply(Map::Request, &edits);
        self.stream = Some(stream);
        Some(())
    }

    /// `on_response_headers`.
    pub(crate) fn response_headers(&mut self, end_of_stream: bool) -> Option<()> {
        let shared = self.shared.as_ref()?;
        let stream = self.stream.as_mut()?;
        let block = abi::pairs(Map::Response).ok()?;
        let headers = decode_pairs(&block);
        let edits =
            shared.with_stats(|stats| stream.response_headers(&headers, end_of_stream, &Live::default(), stats))?;
        apply(Map::Response, &edits);
        Some(())
    }

    /// `on_log`: the request has ended.
    pub(crate) fn log(&mut self) -> Option<()> {
        let shared = self.shared.take()?;
        let live = Live::new(&shared.expressions);
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let headers = live.request_headers();
                let direction = shared.direction(&live);
                let plan = &shared.plan;
                shared
                    .with_entropy(|entropy, stats| Stream::at_end(plan, direction, &headers, entropy, &live, stats))?
            }
        };
        let finished = shared.with_stats(|stats| stream.finish(&live, stats))??;
        shared.record(finished);
        Some(())
    }
}

fn apply(map: Map, edits: &[HeaderEdit]) {
    for edit in edits {
        let answer = match edit {
            HeaderEdit::Remove(name) => abi::remove_header(map, name),
            HeaderEdit::Set(name, value) => abi::replace_header(map, name, value),
            HeaderEdit::Add(name, value) => abi::add_header(map, name, value),
        };
        if let Err(failed) = answer {
            log::debug!("header {} could not be changed: status {}", edit.name(), failed.0);
        }
    }
}
