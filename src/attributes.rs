//! Envoy's attributes and header maps, read when they are asked for.

use crate::abi::{self, Map};
use crate::batch_read::BatchRead;
use crate::expressions::Expressions;
use crate::marks;
use crate::pairs::decode_pairs;
use sidespan_core::http::headers::Header;
use sidespan_core::sampling::late_keep::Mark;
use sidespan_core::span::Kind;
use sidespan_core::span::attributes::{Attributes, Pairs};
use sidespan_core::stream::{MarkWritten, StreamHost};
use std::borrow::Cow;
use std::cell::OnceCell;

/// Envoy, as the current callback sees it. Each header map is copied into the VM at most once.
#[derive(Default)]
pub(crate) struct Live<'a> {
    /// Without them every attribute is read by itself.
    expressions: Option<&'a Expressions>,
    batch: OnceCell<Option<BatchRead>>,
    end: OnceCell<Option<BatchRead>>,
    request: OnceCell<Vec<u8>>,
    response: OnceCell<Vec<u8>>,
    trailers: OnceCell<Vec<u8>>,
}

// === impl Live ===

impl<'a> Live<'a> {
    /// Where a span may be built.
    pub(crate) fn new(expressions: &'a Expressions) -> Self {
        Self { expressions: Some(expressions), ..Self::default() }
    }
}

impl Attributes for Live<'_> {
    fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        let known = [&self.batch, &self.end].into_iter().find_map(|read| read.get()?.as_ref()?.get(path));
        known.map_or_else(|| abi::property(path).ok().map(Cow::from), |value| value.map(Cow::from))
    }

    fn get_map(&self, path: &[u8]) -> Option<Pairs> {
        let map = self.get(path)?;
        Some(decode_pairs(&map).iter().map(|pair| (pair.name.to_vec(), pair.value.to_vec())).collect())
    }

    fn expect_span(&self, kind: Kind) {
        self.batch.get_or_init(|| self.expressions?.evaluate(kind));
    }

    fn expect_end(&self) {
        if self.batch.get().is_none() {
            self.end.get_or_init(|| self.expressions?.evaluate_end());
        }
    }

    fn request_headers(&self) -> Vec<Header<'_>> {
        read(&self.request, Map::Request)
    }

    fn response_headers(&self) -> Vec<Header<'_>> {
        read(&self.response, Map::Response)
    }

    fn response_trailers(&self) -> Vec<Header<'_>> {
        read(&self.trailers, Map::ResponseTrailers)
    }
}

fn read(block: &OnceCell<Vec<u8>>, map: Map) -> Vec<Header<'_>> {
    decode_pairs(block.get_or_init(|| abi::pairs(map).unwrap_or_default()))
}

impl StreamHost for Live<'_> {
    fn attributes(&self) -> &dyn Attributes {
        self
    }

    fn now_ns(&self) -> u64 {
        abi::now_ns().unwrap_or_default()
    }

    fn read_mark(&self, randomness: u64) -> Option<Mark> {
        marks::read(randomness)
    }

    fn write_mark(&self, randomness: u64, mark: Mark) -> MarkWritten {
        marks::write(randomness, mark)
    }
}
