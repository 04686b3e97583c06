//! Envoy's attributes and header maps, read when asked for.

use super::abi::{self, Map};
use crate::span::attributes::Attributes;
use std::cell::OnceCell;

/// Reads through the ABI; each header map crosses at most once.
#[derive(Default)]
pub struct Live {
    request: OnceCell<Vec<u8>>,
    response: OnceCell<Vec<u8>>,
    trailers: OnceCell<Vec<u8>>,
}

impl Attributes for Live {
    fn get(&self, path: &[u8]) -> Option<Vec<u8>> {
        abi::property(path).ok()
    }

    fn request_headers(&self) -> Vec<u8> {
        self.request.get_or_init(|| block(Map::Request)).clone()
    }

    fn response_headers(&self) -> Vec<u8> {
        self.response.get_or_init(|| block(Map::Response)).clone()
    }

    fn response_trailers(&self) -> Vec<u8> {
        self.trailers.get_or_init(|| block(Map::ResponseTrailers)).clone()
    }
}

fn block(map: Map) -> Vec<u8> {
    abi::pairs(map).unwrap_or_default()
}
