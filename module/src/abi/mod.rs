//! The part of Envoy's dynamic module ABI that this module uses, as it is in Envoy 1.38, 1.39 and 1.40 alike.
//!
//! The declarations follow `source/extensions/dynamic_modules/abi/abi.h` of envoyproxy/envoy; the names of types and functions
//! are Envoy's without their prefix. What not all three versions have is looked up by name at run time ([`optional`]), because
//! a library that needs a symbol which the program lacks cannot be opened.

pub(crate) mod imports;
pub(crate) mod optional;

use std::ffi::c_void;
use std::ptr;

/// The version that `program_init` returns. Envoy 1.38 and 1.39 have this one; 1.40 has v0.2.0 and accepts it.
pub(crate) const VERSION: &std::ffi::CStr = c"v0.1.0";

/// Envoy's configuration of an HTTP filter.
pub(crate) type ConfigPtr = *mut c_void;
/// Envoy's HTTP filter: one request.
pub(crate) type FilterPtr = *mut c_void;
/// Envoy's handle to post to the main thread.
pub(crate) type SchedulerPtr = *mut c_void;

/// Bytes of Envoy, or of this module, by where they are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Buffer {
    /// Null if there is nothing.
    pub(crate) data: *const u8,
    pub(crate) length: usize,
}

/// A header of Envoy, or of this module.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HeaderPair {
    pub(crate) name: Buffer,
    pub(crate) value: Buffer,
}

/// Header maps by their number.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    ResponseTrailers = 3,
}

/// The result of starting an HTTP call.
pub(crate) mod call_result {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const CLUSTER_NOT_FOUND: u32 = 2;
    pub(crate) const CANNOT_CREATE_REQUEST: u32 = 4;
}

/// The only answer of this module to any hook that could pause a stream.
pub(crate) const CONTINUE: u32 = 0;

/// Where metadata comes from, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Metadata {
    /// What filters found out about the request.
    Dynamic = 0,
    Route = 1,
    Cluster = 2,
    /// The upstream host.
    Host = 3,
}

/// The result of a call about metrics.
pub(crate) const METRIC_OK: u32 = 0;

// === impl Buffer ===

impl Buffer {
    pub(crate) const NONE: Self = Self { data: ptr::null(), length: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes; empty for null.
    ///
    /// # Safety
    /// Data and length must describe readable memory that nothing writes to while `'a` lasts.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: the caller says that the memory is readable and does not change; null was excluded.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}
