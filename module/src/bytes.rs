//! Header pairs that outlive the hook in which they came.

use crate::abi::HeaderPair;
use sidespan_core::http::headers::Header;

/// Names and values, copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

// === impl Pairs ===

impl Pairs {
    /// Copies what Envoy hands to a hook.
    ///
    /// # Safety
    /// `headers` must be null, or point to `count` headers whose bytes are readable.
    pub(crate) unsafe fn copy(headers: *const HeaderPair, count: usize) -> Self {
        if headers.is_null() || count == 0 {
            return Self::default();
        }
        // SAFETY: the caller says that there are so many headers; null was excluded.
        let headers = unsafe { std::slice::from_raw_parts(headers, count) };
        let pair = |header: &HeaderPair| {
            // SAFETY: the caller says that the bytes are readable.
            unsafe { (header.name.bytes().to_vec(), header.value.bytes().to_vec()) }
        };
        Self(headers.iter().map(pair).collect())
    }

    /// Copies headers.
    #[cfg(test)]
    pub(crate) fn new<'a>(headers: impl IntoIterator<Item = Header<'a>>) -> Self {
        Self(headers.into_iter().map(|header| (header.name.to_vec(), header.value.to_vec())).collect())
    }

    /// As the core reads them.
    pub(crate) fn view(&self) -> Vec<Header<'_>> {
        self.0.iter().map(|(name, value)| Header { name, value }).collect()
    }
}
