//! A request as the core asks for it: Envoy's attributes, the clock, marks.

use crate::abi::{Map, Metadata};
use crate::attribute_ids::{Source, metadata, source};
use crate::clock::{self, Times};
use crate::filter::Filter;
use crate::{marks, node, peer};
use sidespan_core::http::headers::Header;
use sidespan_core::sampling::late_keep::Mark;
use sidespan_core::span::attributes::{Attributes, Pairs, path};
use sidespan_core::stream::{MarkWritten, StreamHost};
use std::borrow::Cow;
use std::cell::OnceCell;

const FILTER_STATE: &[u8] = b"filter_state\0";

/// The request of the hook that runs.
pub(crate) struct Live<'a> {
    filter: &'a Filter<'a>,
    times: Times,
    /// The request has ended, so its duration is known.
    ended: bool,
    /// What Envoy tells of its start and duration, read at most once.
    told: OnceCell<(Option<u64>, Option<u64>)>,
}

// === impl Live ===

impl<'a> Live<'a> {
    /// A request that goes on.
    pub(crate) fn new(filter: &'a Filter<'a>, times: Times) -> Self {
        Self { filter, times, ended: false, told: OnceCell::new() }
    }

    /// A request that has ended.
    pub(crate) fn ended(filter: &'a Filter<'a>, times: Times) -> Self {
        Self { ended: true, ..Self::new(filter, times) }
    }

    fn told(&self) -> (Option<u64>, Option<u64>) {
        *self.told.get_or_init(|| self.filter.times())
    }

    fn start_ns(&self) -> u64 {
        self.told().0.unwrap_or(self.times.start_ns)
    }

    fn duration_ns(&self) -> Option<u64> {
        self.ended.then(|| self.told().1.unwrap_or_else(|| self.times.elapsed_ns()))
    }

    /// What is no attribute with a number: filter state, metadata, the node.
    fn other(&self, asked: &[u8]) -> Option<Cow<'_, [u8]>> {
        if let Some(rest) = asked.strip_prefix(FILTER_STATE) {
            let mut segments = rest.splitn(2, |byte| *byte == 0);
            let state = self.filter.filter_state(segments.next()?)?;
            return match segments.next() {
                Some(field) => peer::field(state, field).map(Cow::Borrowed),
                None => Some(Cow::Borrowed(state)),
            };
        }
        if let Some((from, rest)) = metadata(asked) {
            let mut segments = rest.splitn(2, |byte| *byte == 0);
            return self.filter.metadata_text(from, segments.next()?, segments.next()?).map(Cow::Borrowed);
        }
        node::of_process().get(asked)
    }

    fn address(&self, address: u32, port: u32) -> Option<Cow<'_, [u8]>> {
        let address = self.filter.text(address)?;
        match self.filter.int(port).filter(|_| !address.is_empty()) {
            Some(port) => Some(with_port(address, port)),
            None => Some(Cow::Borrowed(address)),
        }
    }
}

impl Attributes for Live<'_> {
    fn get(&self, asked: &[u8]) -> Option<Cow<'_, [u8]>> {
        match asked {
            path::REQUEST_TIME => return Some(number(self.start_ns())),
            path::REQUEST_DURATION => return self.duration_ns().map(number),
            path::CLUSTER_NAME => return self.filter.cluster_name().map(Cow::Borrowed),
            _ => {}
        }
        match source(asked) {
            Some(Source::Text(id)) => self.filter.text(id).map(Cow::Borrowed),
            Some(Source::Int(id)) => self.filter.int(id).map(number),
            // Envoy knows none for a connection without TLS; CEL says false then.
            Some(Source::Bool(id)) => Some(Cow::Owned(vec![u8::from(self.filter.boolean(id) == Some(true))])),
            Some(Source::Address(address, port)) => self.address(address, port),
            None => self.other(asked),
        }
    }

    fn get_map(&self, asked: &[u8]) -> Option<Pairs> {
        let (_, namespace) = metadata(asked).filter(|(from, _)| *from == Metadata::Dynamic)?;
        let pairs = self.filter.metadata(namespace);
        (!pairs.is_empty()).then(|| pairs.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }

    fn request_headers(&self) -> Vec<Header<'_>> {
        self.filter.headers(Map::Request)
    }

    fn response_headers(&self) -> Vec<Header<'_>> {
        self.filter.headers(Map::Response)
    }

    fn response_trailers(&self) -> Vec<Header<'_>> {
        self.filter.headers(Map::ResponseTrailers)
    }
}

impl StreamHost for Live<'_> {
    fn attributes(&self) -> &dyn Attributes {
        self
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn read_mark(&self, randomness: u64) -> Option<Mark> {
        marks::read(randomness)
    }

    fn write_mark(&self, randomness: u64, mark: Mark) -> MarkWritten {
        marks::write(randomness, mark)
    }
}

/// A number as the core reads it.
fn number(value: u64) -> Cow<'static, [u8]> {
    Cow::Owned(value.to_le_bytes().to_vec())
}

/// `address:port`, with brackets around IPv6 (RFC 3986 section 3.2.2). Some Envoys tell the port with the address already.
fn with_port(address: &[u8], port: u64) -> Cow<'_, [u8]> {
    let suffix = format!(":{port}");
    let colons = address.iter().filter(|byte| **byte == b':').count();
    let complete = address.ends_with(suffix.as_bytes()) && (colons == 1 || address.starts_with(b"["));
    if complete {
        return Cow::Borrowed(address);
    }
    let mut out = Vec::with_capacity(address.len().saturating_add(8));
    if colons > 1 && !address.starts_with(b"[") {
        out.push(b'[');
        out.extend_from_slice(address);
        out.push(b']');
    } else {
        out.extend_from_slice(address);
    }
    out.extend_from_slice(suffix.as_bytes());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_address_has_its_port_once() {
        for (address, expected) in [
            ("10.0.0.1", "10.0.0.1:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("fe80::80", "[fe80::80]:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(with_port(address.as_bytes(), 80), expected.as_bytes(), "{address}");
        }
    }
}
