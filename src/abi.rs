//! The host calls of proxy-wasm ABI 0.2.1, as bytes and `Result`: the answer of the host is a value or an error, and never a
//! panic.
//!
//! The SDK is not used: its wrappers panic on any status they do not expect and its `String` getters on any byte that is not
//! UTF-8, and a panic is a dead VM, which answers 503. The other direction is [`crate::callbacks`].

#![allow(unsafe_code)]

use crate::pairs::encode_pairs;
use sidespan_core::http::headers::Header;
use std::ptr::null_mut;
use std::time::Duration;

/// A status other than `Ok`, as the host numbers it (`WasmResult` in proxy-wasm's `proxy_wasm_common.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub u32);

impl Failed {
    /// It does not exist.
    pub const NOT_FOUND: Self = Self(1);
    /// An argument is not known to the host: an unknown cluster, or a map that does not exist in this callback.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// The compare-and-swap number was stale.
    pub const CAS_MISMATCH: Self = Self(8);
    /// The host could not do it now: no healthy host.
    pub const INTERNAL_FAILURE: Self = Self(10);
}

/// The result of a host call.
pub type Answer<T> = Result<T, Failed>;

/// Header maps by their ABI number.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Map {
    /// Request headers.
    Request = 0,
    /// Response headers.
    Response = 2,
    /// Response trailers.
    ResponseTrailers = 3,
    /// Headers of the reply to our own HTTP call.
    CallResponse = 6,
    /// Trailers of the reply to our own HTTP call.
    CallResponseTrailers = 7,
}

/// Buffers by their ABI number.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Buffer {
    /// Body of the reply to our own HTTP call.
    CallResponseBody = 4,
    /// `pluginConfig`.
    PluginConfiguration = 7,
}

/// Kinds of metrics by their ABI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    /// Only grows.
    Counter = 0,
    /// Any value.
    Gauge = 1,
    /// A distribution.
    Histogram = 2,
}

/// The numbers above are the SDK's. (In the module it is not named at all: it would bring its own callbacks along.)
#[cfg(not(target_family = "wasm"))]
const _: () = {
    use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
    assert!(Failed::NOT_FOUND.0 == Status::NotFound as u32 && Failed::BAD_ARGUMENT.0 == Status::BadArgument as u32);
    assert!(Failed::CAS_MISMATCH.0 == Status::CasMismatch as u32);
    assert!(Failed::INTERNAL_FAILURE.0 == Status::InternalFailure as u32);
    assert!(Map::Request as u32 == MapType::HttpRequestHeaders as u32);
    assert!(Map::Response as u32 == MapType::HttpResponseHeaders as u32);
    assert!(Map::ResponseTrailers as u32 == MapType::HttpResponseTrailers as u32);
    assert!(Map::CallResponse as u32 == MapType::HttpCallResponseHeaders as u32);
    assert!(Map::CallResponseTrailers as u32 == MapType::HttpCallResponseTrailers as u32);
    assert!(Buffer::CallResponseBody as u32 == BufferType::HttpCallResponseBody as u32);
    assert!(Buffer::PluginConfiguration as u32 == BufferType::PluginConfiguration as u32);
    assert!(MetricKind::Counter as u32 == MetricType::Counter as u32);
    assert!(MetricKind::Gauge as u32 == MetricType::Gauge as u32);
    assert!(MetricKind::Histogram as u32 == MetricType::Histogram as u32);
};

#[cfg_attr(target_arch = "wasm32", link(wasm_import_module = "env"))]
unsafe extern "C" {
    fn proxy_log(level: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(kind: u32, start: usize, max: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_done() -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
}

/// Writes one line to the host's log.
pub fn log(level: u32, message: &str) {
    // There is no other place for a line that the host refuses.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// The host's log level: 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical.
pub fn log_level() -> Answer<u32> {
    let mut level = 0;
    checked(unsafe { proxy_get_log_level(&mut level) }).map(|()| level)
}

/// Nanoseconds since the Unix epoch.
pub fn now_ns() -> Answer<u64> {
    let mut time = 0;
    checked(unsafe { proxy_get_current_time_nanoseconds(&mut time) }).map(|()| time)
}

/// Arms the root context's timer, also from a stream's callback; zero stops it.
pub fn set_tick_period(period: Duration) -> Answer<()> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    checked(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// At most `max` bytes of a buffer; empty where there is none.
pub fn buffer(kind: Buffer, max: usize) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe { proxy_get_buffer_bytes(kind as u32, 0, max, data, size) })
}

/// A whole header map in proxy-wasm's pairs serialisation; empty where there is none.
pub fn pairs(map: Map) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

/// Removes every value of `name`.
pub fn remove_header(map: Map, name: &str) -> Answer<()> {
    checked(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Replaces every value of `name` by one, or adds it (`HeaderMapImpl::setCopy`).
pub fn replace_header(map: Map, name: &str, value: &[u8]) -> Answer<()> {
    checked(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Adds one more value of `name` (`HeaderMapImpl::addCopy`).
pub fn add_header(map: Map, name: &str, value: &[u8]) -> Answer<()> {
    checked(unsafe { proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// An Envoy attribute by its NUL-joined path, as the host serialises it.
pub fn property(path: &[u8]) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// A value shared by all VMs of the proxy, with its compare-and-swap number.
pub fn shared_data(key: &[u8]) -> Answer<(Vec<u8>, u32)> {
    let mut cas = 0;
    let value = returned(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas) })?;
    Ok((value, cas))
}

/// Writes a shared value; `cas` 0 overwrites whatever is there.
pub fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Answer<()> {
    checked(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// The id of a metric; the same name gives the same metric in every worker.
pub fn define_metric(kind: MetricKind, name: &str) -> Answer<u32> {
    let mut id = 0;
    checked(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) }).map(|()| id)
}

/// Adds to a counter or gauge. Envoy refuses an offset of zero for counters.
pub fn increment_metric(id: u32, offset: i64) -> Answer<()> {
    checked(unsafe { proxy_increment_metric(id, offset) })
}

/// Sets a gauge, or records into a histogram.
pub fn record_metric(id: u32, value: u64) -> Answer<()> {
    checked(unsafe { proxy_record_metric(id, value) })
}

/// Calls a function that Envoy offers by name.
pub fn foreign_function(name: &str, arguments: &[u8]) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), data, size)
    })
}

/// Tells the host that a context which answered `false` to `on_done` is finished.
pub fn done() -> Answer<()> {
    checked(unsafe { proxy_done() })
}

/// Sends an HTTP request to a cluster; the reply comes to the root context under the returned token.
///
/// # Errors
/// `BAD_ARGUMENT`: no such cluster. `INTERNAL_FAILURE`: no healthy host, or refused at once.
pub fn http_call(cluster: &str, headers: &[Header<'_>], body: &[u8], timeout: Duration) -> Answer<u32> {
    let (headers, trailers) = (encode_pairs(headers), encode_pairs(&[]));
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut token = 0;
    checked(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            millis,
            &mut token,
        )
    })
    .map(|()| token)
}

fn checked(status: u32) -> Answer<()> {
    if status == 0 { Ok(()) } else { Err(Failed(status)) }
}

/// Takes ownership of the memory that the host allocated through `proxy_on_memory_allocate`.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Answer<Vec<u8>> {
    let mut data: *mut u8 = null_mut();
    let mut size: usize = 0;
    checked(call(&mut data, &mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: our `proxy_on_memory_allocate` made this block as a boxed slice of exactly `size` bytes, so length and
    // capacity agree, and the host hands it over.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}
