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
        abi::property(path).ok().filter(|value| !value.is_empty())
    }

    fn request_headers(&self) -> &[u8] {
        self.request.get_or_init(|| abi::pairs(Map::Request).unwrap_or_default())
    }

    fn response_headers(&self) -> &[u8] {
        self.response.get_or_init(|| abi::pairs(Map::Response).unwrap_or_default())
    }

    fn response_trailers(&self) -> &[u8] {
        self.trailers.get_or_init(|| abi::pairs(Map::ResponseTrailers).unwrap_or_default())
    }
}
