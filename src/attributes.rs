//! Envoy's attributes and header maps, read when asked for.

use crate::abi::{self, Map};
use crate::expressions::Expressions;
use sidespan_core::span::Kind;
use sidespan_core::span::attributes::Attributes;
use sidespan_core::span::batch_read::BatchRead;
use std::borrow::Cow;
use std::cell::OnceCell;

/// Reads through the ABI; each header map crosses at most once.
#[derive(Default)]
pub struct Live<'a> {
    /// Without them every attribute is read by itself.
    expressions: Option<&'a Expressions>,
    gathered: OnceCell<Option<BatchRead>>,
    request: OnceCell<Vec<u8>>,
    response: OnceCell<Vec<u8>>,
    trailers: OnceCell<Vec<u8>>,
}

// === impl Live ===

impl<'a> Live<'a> {
    /// Where a span may be built.
    pub fn new(expressions: &'a Expressions) -> Self {
        Self { expressions: Some(expressions), ..Self::default() }
    }
}

impl Attributes for Live<'_> {
    fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        let known = self.gathered.get().and_then(Option::as_ref).and_then(|gathered| gathered.get(path));
        known.map_or_else(|| abi::property(path).ok().map(Cow::from), |value| value.map(Cow::from))
    }

    fn expect_span(&self, kind: Kind) {
        self.gathered.get_or_init(|| self.expressions?.evaluate(kind));
    }

    fn request_headers(&self) -> Cow<'_, [u8]> {
        self.request.get_or_init(|| block(Map::Request)).into()
    }

    fn response_headers(&self) -> Cow<'_, [u8]> {
        self.response.get_or_init(|| block(Map::Response)).into()
    }

    fn response_trailers(&self) -> Cow<'_, [u8]> {
        self.trailers.get_or_init(|| block(Map::ResponseTrailers)).into()
    }
}

fn block(map: Map) -> Vec<u8> {
    abi::pairs(map).unwrap_or_default()
}
