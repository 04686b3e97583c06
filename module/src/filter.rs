//! One HTTP request of Envoy, while one of its hooks runs.

use crate::abi::{Buffer, FilterPtr, HeaderPair, Map, Metadata, imports, optional};
use sidespan_core::http::headers::{Header, HeaderEdit};
use std::marker::PhantomData;

/// More headers than this are not read: Envoy refuses requests with more than 100 by default.
const MAX_HEADERS: usize = 4096;

/// Envoy's filter of the hook that runs. What it returns lies in Envoy's memory and lives as long as the hook, or until a header
/// of the same map is changed: so [`Filter::apply`] takes it away.
#[derive(Debug)]
pub(crate) struct Filter<'hook> {
    pointer: FilterPtr,
    hook: PhantomData<&'hook ()>,
}

// === impl Filter ===

impl Filter<'_> {
    /// The filter of a hook.
    ///
    /// # Safety
    /// `pointer` must be what Envoy gave to the hook that runs, and the value must not outlive the hook.
    pub(crate) unsafe fn new(pointer: FilterPtr) -> Self {
        Self { pointer, hook: PhantomData }
    }

    pub(crate) fn pointer(&self) -> FilterPtr {
        self.pointer
    }

    /// All headers of a map; empty if there is none.
    pub(crate) fn headers(&self, map: Map) -> Vec<Header<'_>> {
        // SAFETY: the pointer is that of the hook that runs (`Filter::new`).
        let size = unsafe { imports::get_headers_size(self.pointer, map) };
        if size == 0 || size > MAX_HEADERS {
            return Vec::new();
        }
        let mut pairs = vec![HeaderPair { name: Buffer::NONE, value: Buffer::NONE }; size];
        // SAFETY: as above, and there is room for as many headers as the map has: nothing can change it in between.
        if !unsafe { imports::get_headers(self.pointer, map, pairs.as_mut_ptr()) } {
            return Vec::new();
        }
        let view = |pair: &HeaderPair| {
            // SAFETY: Envoy's header map owns these bytes, and keeps them until the hook ends or a header is changed, which
            // takes this filter by value (`Filter::apply`).
            let (name, value) = unsafe { (pair.name.bytes(), pair.value.bytes()) };
            Header { name, value }
        };
        pairs.iter().map(view).collect()
    }

    /// Changes headers, and ends the life of all that was read.
    pub(crate) fn apply(self, map: Map, edits: &[HeaderEdit]) {
        for edit in edits {
            let name = Buffer::of(edit.name().as_bytes());
            // SAFETY: the pointer is that of the hook that runs; name and value live until the call returns, and Envoy copies
            // them.
            let done = unsafe {
                match edit {
                    HeaderEdit::Remove(_) => imports::set_header(self.pointer, map, name, Buffer::NONE),
                    HeaderEdit::Set(_, value) => imports::set_header(self.pointer, map, name, Buffer::of(value)),
                    HeaderEdit::Add(_, value) => imports::add_header(self.pointer, map, name, Buffer::of(value)),
                }
            };
            // Envoy also answers false when there was nothing to remove.
            if !done && !matches!(edit, HeaderEdit::Remove(_)) {
                log::debug!("header {} could not be changed", edit.name());
            }
        }
    }

    /// An attribute that is a text.
    pub(crate) fn text(&self, attribute: u32) -> Option<&[u8]> {
        let mut out = Buffer::NONE;
        // SAFETY: the pointer is that of the hook that runs; `out` is one buffer.
        let found = unsafe { imports::get_attribute_string(self.pointer, attribute, &mut out) };
        self.view(found, out)
    }

    /// An attribute that is a number.
    pub(crate) fn int(&self, attribute: u32) -> Option<u64> {
        let mut out = 0;
        // SAFETY: the pointer is that of the hook that runs; `out` is one number.
        unsafe { imports::get_attribute_int(self.pointer, attribute, &mut out) }.then_some(out)
    }

    /// The cluster that the request is routed to.
    pub(crate) fn cluster_name(&self) -> Option<&[u8]> {
        let mut out = Buffer::NONE;
        // SAFETY: the pointer is that of the hook that runs; `out` is one buffer.
        let found = unsafe { imports::get_cluster_name(self.pointer, &mut out) };
        self.view(found, out)
    }

    /// An object of the filter state as text, if it has such a form.
    pub(crate) fn filter_state(&self, key: &[u8]) -> Option<&[u8]> {
        let mut out = Buffer::NONE;
        // SAFETY: the pointer is that of the hook that runs; the key lives until the call returns; `out` is one buffer.
        let found = unsafe { imports::get_filter_state_typed(self.pointer, Buffer::of(key), &mut out) };
        self.view(found, out)
    }

    /// An attribute that is true or false.
    pub(crate) fn boolean(&self, attribute: u32) -> Option<bool> {
        let mut out = 0;
        // SAFETY: the pointer is that of the hook that runs; `out` is one byte, as C's `bool`.
        unsafe { imports::get_attribute_bool(self.pointer, attribute, &mut out) }.then_some(out != 0)
    }

    /// A text in the metadata of a namespace, which is the name of a filter.
    pub(crate) fn metadata_text(&self, from: Metadata, namespace: &[u8], key: &[u8]) -> Option<&[u8]> {
        let (namespace, key) = (Buffer::of(namespace), Buffer::of(key));
        let mut out = Buffer::NONE;
        // SAFETY: the pointer is that of the hook that runs; the names live until the call returns; `out` is one buffer.
        let found = unsafe { imports::get_metadata_string(self.pointer, from as u32, namespace, key, &mut out) };
        self.view(found, out)
    }

    /// All texts in the dynamic metadata of a namespace.
    pub(crate) fn metadata(&self, namespace: &[u8]) -> Vec<(&[u8], &[u8])> {
        let (from, name) = (Metadata::Dynamic as u32, Buffer::of(namespace));
        // SAFETY: the pointer is that of the hook that runs; the name lives until the call returns.
        let count = unsafe { imports::get_metadata_keys_count(self.pointer, from, name) };
        if count == 0 || count > MAX_HEADERS {
            return Vec::new();
        }
        let mut keys = vec![Buffer::NONE; count];
        // SAFETY: as above, and there is room for all keys, of which nothing can add one in between.
        if !unsafe { imports::get_metadata_keys(self.pointer, from, name, keys.as_mut_ptr()) } {
            return Vec::new();
        }
        let pair = |key: &Buffer| {
            let key = self.view(true, *key)?;
            Some((key, self.metadata_text(Metadata::Dynamic, namespace, key)?))
        };
        keys.iter().filter_map(pair).collect()
    }

    /// Start (nanoseconds since the epoch) and duration (nanoseconds), as far as this Envoy tells them.
    pub(crate) fn times(&self) -> (Option<u64>, Option<u64>) {
        optional::times(self.pointer)
    }

    fn view(&self, found: bool, out: Buffer) -> Option<&[u8]> {
        // SAFETY: Envoy found the value and lent these bytes until the hook ends; this filter does not outlive it.
        found.then(|| unsafe { out.bytes() })
    }
}
