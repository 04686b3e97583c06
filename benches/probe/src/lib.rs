//! A filter that does nothing: what any wasm filter costs. With a configuration such as `request 100 property request.time` it
//! makes one host call so many times in one callback: what a host call costs. Several errands, separated by `;`, are what a filter
//! costs that makes these calls and thinks nothing.
//!
//! Only for `cargo xtask bench`; it shares no code with the filter.

// It links with a host only.
#![cfg(target_arch = "wasm32")]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::ptr::null_mut;
use std::rc::Rc;

#[allow(missing_docs)]
mod entry {
    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(super::Root { errands: std::rc::Rc::default() }));
    }}
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(map: u32, key: *const u8, len: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(map: u32, key: *const u8, len: usize, value: *const u8, size: usize) -> u32;
    fn proxy_get_property(path: *const u8, len: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(key: *const u8, len: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32) -> u32;
    fn proxy_set_shared_data(key: *const u8, len: usize, value: *const u8, size: usize, cas: u32) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        len: usize,
        arguments: *const u8,
        arguments_len: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

/// Where an errand is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callback {
    Request,
    Response,
    Log,
}

/// A host call.
enum Call {
    Time,
    Pairs(u32),
    Header(u32, Vec<u8>),
    Replace(Vec<u8>),
    Property(Vec<u8>),
    SharedRead(Vec<u8>),
    SharedWrite(Vec<u8>),
    /// A CEL expression, compiled when the filter is configured.
    Expression(Vec<u8>),
}

/// A host call, how often, and where.
struct Errand {
    callback: Callback,
    times: u32,
    call: Call,
}

struct Root {
    errands: Rc<[Errand]>,
}

struct Stream {
    errands: Rc<[Errand]>,
}

// === impl Errand ===

impl Errand {
    /// `request 100 property request.time`: callback, times, call, argument.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let (callback, times, call) = (words.next()?, words.next()?, words.next()?);
        let argument = words.next().unwrap_or_default();
        let callback = match callback {
            "request" => Callback::Request,
            "response" => Callback::Response,
            "log" => Callback::Log,
            _ => return None,
        };
        // Request headers are map 0, response headers map 2.
        let map = if callback == Callback::Response { 2 } else { 0 };
        let call = match call {
            "time" => Call::Time,
            "pairs" => Call::Pairs(map),
            "header" => Call::Header(map, argument.as_bytes().to_vec()),
            "replace" => Call::Replace(argument.as_bytes().to_vec()),
            "property" => Call::Property(argument.replace('.', "\0").into_bytes()),
            "shared-read" => Call::SharedRead(argument.as_bytes().to_vec()),
            "shared-write" => Call::SharedWrite(argument.as_bytes().to_vec()),
            "expression" => Call::Expression(foreign(b"expr_create", argument.as_bytes())?),
            _ => return None,
        };
        Some(Self { callback, times: times.parse().ok()?, call })
    }

    fn run(&self) {
        for _ in 0..self.times {
            self.call.make();
        }
    }
}

// === impl Call ===

impl Call {
    fn make(&self) {
        let (mut data, mut size, mut cas, mut time) = (null_mut(), 0, 0, 0);
        let (out, len) = (&raw mut data, &raw mut size);
        // SAFETY: every pointer is that of a live value of ours, with its length.
        unsafe {
            match self {
                Self::Time => proxy_get_current_time_nanoseconds(&raw mut time),
                Self::Pairs(map) => proxy_get_header_map_pairs(*map, out, len),
                Self::Header(map, name) => proxy_get_header_map_value(*map, name.as_ptr(), name.len(), out, len),
                Self::Replace(name) => {
                    proxy_replace_header_map_value(0, name.as_ptr(), name.len(), VALUE.as_ptr(), VALUE.len())
                }
                Self::Property(path) => proxy_get_property(path.as_ptr(), path.len(), out, len),
                Self::SharedRead(key) => proxy_get_shared_data(key.as_ptr(), key.len(), out, len, &raw mut cas),
                Self::SharedWrite(key) => {
                    proxy_set_shared_data(key.as_ptr(), key.len(), VALUE.as_ptr(), VALUE.len(), 0)
                }
                Self::Expression(id) => {
                    let name = b"expr_evaluate";
                    proxy_call_foreign_function(name.as_ptr(), name.len(), id.as_ptr(), id.len(), out, len)
                }
            };
            take(data, size);
        }
    }
}

/// As long as a `traceparent`.
const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes over what the host allocated in our memory.
///
/// # Safety
/// `data` is null or a block of `size` bytes that the SDK's `proxy_on_memory_allocate` made.
unsafe fn take(data: *mut u8, size: usize) -> Vec<u8> {
    // SAFETY: as the caller promised; the SDK made it as a boxed slice.
    if data.is_null() || size == 0 { Vec::new() } else { unsafe { Vec::from_raw_parts(data, size, size) } }
}

fn foreign(name: &[u8], arguments: &[u8]) -> Option<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: every pointer is that of a live value of ours, with its length.
    unsafe {
        let (out, len) = (&raw mut data, &raw mut size);
        let status =
            proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), out, len);
        (status == 0).then(|| take(data, size))
    }
}

// === callbacks ===

impl Context for Root {}

impl RootContext for Root {
    /// A configuration that is no list of errands is refused, so that nothing is measured by mistake.
    fn on_configure(&mut self, size: usize) -> bool {
        if size == 0 {
            return true;
        }
        let text = self.get_plugin_configuration().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let errands: Option<_> = text.split(';').map(|errand| Errand::parse(errand.trim())).collect();
        let understood = errands.is_some();
        self.errands = errands.unwrap_or_default();
        understood
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { errands: self.errands.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    fn at(&self, callback: Callback) {
        self.errands.iter().filter(|errand| errand.callback == callback).for_each(Errand::run);
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.at(Callback::Request);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.at(Callback::Response);
        Action::Continue
    }

    fn on_log(&mut self) {
        self.at(Callback::Log);
    }
}
