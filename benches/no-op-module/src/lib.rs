//! A dynamic module whose HTTP filter does nothing: what any dynamic module costs. Envoy refuses a module that lacks one of these
//! functions, and calls each of them that belongs to a step of a request.
//!
//! Only for `cargo xtask bench`; it shares no code with the filter.

use std::ffi::c_char;

/// A function that Envoy calls. It takes no notice of its arguments, which the calling convention of C allows on x86-64 and
/// arm64: the caller owns the stack.
macro_rules! hooks {
    ($answer:expr, $type:ty: $($name:ident)*) => { $(
        #[allow(missing_docs)]
        // SAFETY: no other function of the process has a name with this prefix.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> $type {
            $answer
        }
    )* };
}

/// The ABI version of Envoy 1.38; newer ones accept it.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.1.0".as_ptr()
}

// Any pointer but null means success. Envoy only hands it back.
hooks! { 1, usize:
    envoy_dynamic_module_on_http_filter_config_new
    envoy_dynamic_module_on_http_filter_new
    envoy_dynamic_module_on_http_filter_per_route_config_new
}

// 0 means: continue.
hooks! { 0, usize:
    envoy_dynamic_module_on_http_filter_request_headers
    envoy_dynamic_module_on_http_filter_request_body
    envoy_dynamic_module_on_http_filter_request_trailers
    envoy_dynamic_module_on_http_filter_response_headers
    envoy_dynamic_module_on_http_filter_response_body
    envoy_dynamic_module_on_http_filter_response_trailers
    envoy_dynamic_module_on_http_filter_local_reply
}

hooks! { (), ():
    envoy_dynamic_module_on_http_filter_config_destroy
    envoy_dynamic_module_on_http_filter_config_http_callout_done
    envoy_dynamic_module_on_http_filter_config_http_stream_complete
    envoy_dynamic_module_on_http_filter_config_http_stream_data
    envoy_dynamic_module_on_http_filter_config_http_stream_headers
    envoy_dynamic_module_on_http_filter_config_http_stream_reset
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers
    envoy_dynamic_module_on_http_filter_config_scheduled
    envoy_dynamic_module_on_http_filter_destroy
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_per_route_config_destroy
    envoy_dynamic_module_on_http_filter_scheduled
    envoy_dynamic_module_on_http_filter_stream_complete
}
