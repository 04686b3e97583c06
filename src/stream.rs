//! One stream: callbacks of Envoy become calls of `filter.rs`, and what it answers is applied.

use crate::abi::{self, Map};
use crate::active::Active;
use crate::attributes::Live;
use sidespan_core::filter::Stream;
use sidespan_core::http::headers::HeaderEdit;
use sidespan_core::propagation::headers::decode_pairs;
use sidespan_core::span::attributes::Attributes;
use std::rc::Rc;

/// One request through one listener. It never pauses a stream: every callback answers `Continue`.
pub struct HttpStream {
    active: Option<Rc<Active>>,
    stream: Option<Stream>,
}

impl HttpStream {
    /// `None`: no usable configuration, traffic passes untouched.
    pub fn new(active: Option<Rc<Active>>) -> Self {
        Self { active, stream: None }
    }

    /// Request headers have come.
    pub fn request_headers(&mut self) -> Option<()> {
        let active = self.active.clone()?;
        let block = abi::pairs(Map::Request).ok()?;
        let headers = decode_pairs(&block);
        let direction = active.direction(&Live::default());
        let (stream, edits) =
            active.with_entropy(|entropy, stats| Stream::start(&active.plan, direction, &headers, entropy, stats))?;
        apply(Map::Request, &edits);
        self.stream = Some(stream);
        Some(())
    }

    /// Response headers have come.
    pub fn response_headers(&mut self, end_of_stream: bool) -> Option<()> {
        let active = self.active.clone()?;
        let stream = self.stream.as_mut()?;
        let block = abi::pairs(Map::Response).ok()?;
        let headers = decode_pairs(&block);
        let edits = active.with_world(&Live::default(), |world| {
            stream.response_headers(&active.plan, &headers, end_of_stream, world)
        })?;
        apply(Map::Response, &edits);
        Some(())
    }

    /// The request has ended.
    pub fn log(&mut self) -> Option<()> {
        let active = self.active.take()?;
        let live = Live::new(&active.expressions);
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let block = live.request_headers();
                let headers = decode_pairs(&block);
                let direction = active.direction(&live);
                active
                    .with_entropy(|entropy, stats| Stream::at_end(&active.plan, direction, &headers, entropy, stats))?
            }
        };
        let finished = active.with_world(&live, |world| stream.finish(&active.plan, world))??;
        active.record(finished);
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
