//! What Envoy calls. Every HTTP hook must exist, or Envoy refuses the configuration.
//!
//! Each hook catches what unwinds ([`guard`]) and lets the request pass. Where a hook must answer with a pointer and there is
//! nothing to point to, it answers [`nothing`], and the hooks that get it do nothing.

use crate::abi::{self, Buffer, CONTINUE, ConfigPtr, FilterPtr, HeaderPair};
use crate::bytes::Pairs;
use crate::calls::Part;
use crate::filter::Filter;
use crate::filter_config::FilterConfig;
use crate::guard::guard;
use crate::main_thread::MainThread;
use crate::stream::HttpStream;
use crate::{logging, process, ticker};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// What this module gave to Envoy: the address of a [`FilterConfig`], of an [`HttpStream`], or [`nothing`].
type Ours = *const c_void;

/// The place of what could not be made.
fn nothing() -> Ours {
    static NOTHING: u8 = 0;
    (&raw const NOTHING).cast()
}

/// The library is loaded.
#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    // The log first, so that a fault behind it is told.
    let _ = std::panic::catch_unwind(|| {
        ticker::remember_main_thread();
        logging::start();
    });
    guard("program_init", (), || ());
    abi::VERSION.as_ptr()
}

// === configurations ===

/// A configuration is read, on the main thread.
///
/// # Safety
/// As Envoy calls it: the pointers are valid until the hook returns, `envoy` until the configuration is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: ConfigPtr,
    _name: Buffer,
    config: Buffer,
) -> Ours {
    guard("config_new", nothing(), || {
        logging::set_level();
        // SAFETY: the bytes are Envoy's and live until the hook returns; `envoy` is the configuration that it reads.
        let config = unsafe { process::add(envoy, config.bytes()) };
        Arc::into_raw(config).cast()
    })
}

/// A configuration is destroyed, on any thread. It has no request any more.
///
/// # Safety
/// As Envoy calls it: `config` is what `config_new` returned, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: Ours) {
    guard("config_destroy", (), || {
        if config != nothing() && !config.is_null() {
            // SAFETY: `config_new` made it by `Arc::into_raw`, and Envoy gives it back once.
            let config = unsafe { Arc::from_raw(config.cast::<FilterConfig>()) };
            process::remove(config.address());
        }
    });
}

/// The thread of this module has asked for the main thread.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(_: ConfigPtr, config: Ours, _: u64) {
    guard("config_scheduled", (), || {
        if let Some(config) = process::find(config.addr()) {
            logging::set_level();
            process::tick(&config);
        }
    });
}

/// A part of the answer to an export call has come, on the main thread.
fn answer(hook: &'static str, config: Ours, stream: u64, part: impl Fn() -> Part<'static>) {
    guard(hook, (), || take_part(config, stream, part()));
}

fn take_part(config: Ours, stream: u64, part: Part<'_>) {
    let Some(config) = process::find(config.addr()) else { return };
    let mut part = Some(part);
    for tracer in process::tracers() {
        if !tracer.calls.has(config.address(), stream) {
            continue;
        }
        let Some(part) = part.take() else { return };
        if tracer.calls.take(config.address(), stream, part) {
            tracer.answered(&MainThread { config: &config, tracer: &tracer });
        }
        return;
    }
}

/// Headers of an answer.
///
/// # Safety
/// As Envoy calls it: the headers are valid until the hook returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
    _: ConfigPtr,
    config: Ours,
    stream: u64,
    headers: *const HeaderPair,
    count: usize,
    _: bool,
) {
    // SAFETY: Envoy's headers are valid until the hook returns.
    answer("config_stream_headers", config, stream, || Part::Headers(unsafe { Pairs::copy(headers, count) }));
}

/// A part of the body of an answer.
///
/// # Safety
/// As Envoy calls it: the chunks are valid until the hook returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
    _: ConfigPtr,
    config: Ours,
    stream: u64,
    chunks: *const Buffer,
    count: usize,
    _: bool,
) {
    guard("config_stream_data", (), || {
        if chunks.is_null() || count == 0 {
            return;
        }
        // SAFETY: Envoy's chunks are valid until the hook returns; null was excluded.
        let chunks = unsafe { std::slice::from_raw_parts(chunks, count) };
        // SAFETY: as above.
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| unsafe { chunk.bytes() }).collect();
        take_part(config, stream, Part::Data(&chunks));
    });
}

/// Trailers of an answer.
///
/// # Safety
/// As Envoy calls it: the trailers are valid until the hook returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
    _: ConfigPtr,
    config: Ours,
    stream: u64,
    trailers: *const HeaderPair,
    count: usize,
) {
    // SAFETY: Envoy's trailers are valid until the hook returns.
    answer("config_stream_trailers", config, stream, || Part::Trailers(unsafe { Pairs::copy(trailers, count) }));
}

/// An answer is complete.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
    _: ConfigPtr,
    config: Ours,
    stream: u64,
) {
    answer("config_stream_complete", config, stream, || Part::Complete);
}

/// There is no answer.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
    _: ConfigPtr,
    config: Ours,
    stream: u64,
    _: u32,
) {
    answer("config_stream_reset", config, stream, || Part::Reset);
}

// === requests ===

/// A request begins.
///
/// # Safety
/// As Envoy calls it: `config` is what `config_new` returned, and lives longer than the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(config: Ours, _: FilterPtr) -> Ours {
    guard("new", nothing(), || {
        if config == nothing() || config.is_null() {
            return nothing();
        }
        let config = config.cast::<FilterConfig>();
        // SAFETY: `config_new` made it by `Arc::into_raw`, and Envoy keeps a configuration until its last request has ended, so
        // there is one reference at least, and one more is made here.
        let config = unsafe {
            Arc::increment_strong_count(config);
            Arc::from_raw(config)
        };
        Box::into_raw(Box::new(HttpStream::new(config))).cast_const().cast()
    })
}

/// A request is destroyed.
///
/// # Safety
/// As Envoy calls it: `stream` is what `new` returned, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: Ours) {
    guard("destroy", (), || {
        if stream != nothing() && !stream.is_null() {
            // SAFETY: `new` made it by `Box::into_raw`, and Envoy gives it back once.
            drop(unsafe { Box::from_raw(stream.cast_mut().cast::<HttpStream>()) });
        }
    });
}

/// Runs a hook of a request. One that panics gives the request up.
///
/// # Safety
/// `filter` is Envoy's filter of the hook that runs, and `stream` what `new` returned for it.
unsafe fn on_stream(
    hook: &'static str,
    filter: FilterPtr,
    stream: Ours,
    run: impl FnOnce(&mut HttpStream, Filter<'_>) -> Option<()>,
) {
    if stream == nothing() || stream.is_null() {
        return;
    }
    // SAFETY: `new` made it by `Box::into_raw`, Envoy has not destroyed it, and runs one hook of a request at a time.
    let stream = unsafe { &mut *stream.cast_mut().cast::<HttpStream>() };
    let done = guard(hook, false, || {
        // SAFETY: the caller says so; the filter ends with the hook.
        let _ = run(stream, unsafe { Filter::new(filter) });
        true
    });
    if !done {
        guard("give_up", (), || stream.give_up());
    }
}

/// Request headers have come.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    filter: FilterPtr,
    stream: Ours,
    _: bool,
) -> u32 {
    // SAFETY: Envoy calls the hook with its filter and our stream.
    unsafe { on_stream("request_headers", filter, stream, HttpStream::request_headers) };
    CONTINUE
}

/// Response headers have come.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    filter: FilterPtr,
    stream: Ours,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy calls the hook with its filter and our stream.
    unsafe {
        on_stream("response_headers", filter, stream, |stream, filter| stream.response_headers(filter, end_of_stream));
    }
    CONTINUE
}

/// The request has ended.
///
/// # Safety
/// As Envoy calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(filter: FilterPtr, stream: Ours) {
    // SAFETY: Envoy calls the hook with its filter and our stream.
    unsafe { on_stream("stream_complete", filter, stream, |stream, filter| stream.complete(&filter)) };
}

// === hooks that do nothing ===

macro_rules! ignored {
    ($($(#[$doc:meta])* $name:ident = $hook:literal ($($type:ty),*) $(-> $result:ty = $answer:expr)?;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// It does nothing.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($(_: $type),*) $(-> $result)? {
                guard($hook, (), || ());
                $($answer)?
            }
        )*
    };
}

ignored! {
    /// A part of the request body has come.
    envoy_dynamic_module_on_http_filter_request_body = "request_body" (FilterPtr, Ours, bool) -> u32 = CONTINUE;
    /// Request trailers have come.
    envoy_dynamic_module_on_http_filter_request_trailers = "request_trailers" (FilterPtr, Ours) -> u32 = CONTINUE;
    /// A part of the response body has come.
    envoy_dynamic_module_on_http_filter_response_body = "response_body" (FilterPtr, Ours, bool) -> u32 = CONTINUE;
    /// Response trailers have come; they are read at the end.
    envoy_dynamic_module_on_http_filter_response_trailers = "response_trailers" (FilterPtr, Ours) -> u32 = CONTINUE;
    /// Envoy answers the request itself; the response headers come too.
    envoy_dynamic_module_on_http_filter_local_reply = "local_reply"
        (FilterPtr, Ours, u32, Buffer, bool) -> u32 = CONTINUE;
    /// Never asked for.
    envoy_dynamic_module_on_http_filter_scheduled = "scheduled" (FilterPtr, Ours, u64);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_callout_done = "callout_done"
        (FilterPtr, Ours, u64, u32, *const HeaderPair, usize, *const Buffer, usize);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_stream_headers = "stream_headers"
        (FilterPtr, Ours, u64, *const HeaderPair, usize, bool);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_stream_data = "stream_data"
        (FilterPtr, Ours, u64, *const Buffer, usize, bool);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_stream_trailers = "stream_trailers"
        (FilterPtr, Ours, u64, *const HeaderPair, usize);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_stream_complete = "stream_complete_call" (FilterPtr, Ours, u64);
    /// Requests make no calls.
    envoy_dynamic_module_on_http_filter_http_stream_reset = "stream_reset" (FilterPtr, Ours, u64, u32);
    /// Export calls are streams.
    envoy_dynamic_module_on_http_filter_config_http_callout_done = "config_callout_done"
        (ConfigPtr, Ours, u64, u32, *const HeaderPair, usize, *const Buffer, usize);
    /// The client reads too slowly.
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark = "above_watermark"
        (FilterPtr, Ours);
    /// The client reads again.
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark = "below_watermark"
        (FilterPtr, Ours);
    /// A route has a configuration of its own, which this filter does not read.
    envoy_dynamic_module_on_http_filter_per_route_config_new = "per_route_config_new"
        (Buffer, Buffer) -> Ours = nothing();
    /// A route has gone.
    envoy_dynamic_module_on_http_filter_per_route_config_destroy = "per_route_config_destroy" (Ours);
}
