//! The C ABI, both ways: the `proxy_*` functions that a guest imports, and the `proxy_on_*` functions that it exports.
//!
//! Nothing is decided here: arguments become slices, [`super::engine`] answers, and what it answers is copied into memory
//! that the guest's own allocator made, because the guest frees it.

use super::collector::{End, OutCall};
use super::engine::{self, BAD_ARGUMENT, Engine, Fault, INTERNAL_FAILURE, OK, Status};
use super::headers::HeaderMap;
use std::cell::Cell;
use std::slice;

// === what a guest exports ===

/// Whose callbacks are called on this thread.
#[derive(Clone, Copy)]
pub enum Guest {
    /// `src/callbacks.rs`.
    Filter,
    /// The SDK, with a filter that a test has registered with it.
    Sdk,
}

thread_local! {
    static GUEST: Cell<Guest> = const { Cell::new(Guest::Filter) };
}

/// From now on this thread is a VM with that guest.
pub fn load(guest: Guest) {
    GUEST.set(guest);
}

macro_rules! callbacks {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => {
        #[allow(missing_docs, reason = "named by the ABI")]
        mod sdk {
            unsafe extern "C" {
                $(pub safe fn $name($($argument: $kind),*) $(-> $answer)?;)*
            }
        }
        $(
            #[allow(missing_docs, reason = "named by the ABI")]
            pub fn $name($($argument: $kind),*) $(-> $answer)? {
                match GUEST.get() {
                    Guest::Filter => sidespan::callbacks::$name($($argument),*),
                    Guest::Sdk => sdk::$name($($argument),*),
                }
            }
        )*
    };
}

callbacks! {
    proxy_on_context_create(context: u32, root: u32);
    proxy_on_vm_start(context: u32, size: usize) -> bool;
    proxy_on_configure(context: u32, size: usize) -> bool;
    proxy_on_tick(context: u32);
    proxy_on_request_headers(context: u32, count: usize, end_of_stream: bool) -> u32;
    proxy_on_response_headers(context: u32, count: usize, end_of_stream: bool) -> u32;
    proxy_on_http_call_response(context: u32, token: u32, headers: usize, body: usize, trailers: usize);
    proxy_on_log(context: u32);
    proxy_on_done(context: u32) -> bool;
    proxy_on_delete(context: u32);
    proxy_on_memory_allocate(size: usize) -> *mut u8;
}

// === between slices and pointers ===

/// SAFETY: the guest passes a pointer and a length that belong together and live as long as the call.
unsafe fn read<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if data.is_null() || size == 0 { &[] } else { unsafe { slice::from_raw_parts(data, size) } }
}

/// SAFETY: both places are the guest's and writable. Nothing is allocated for nothing, as in Envoy.
unsafe fn give(value: &[u8], data: *mut *mut u8, size: *mut usize) {
    unsafe {
        *size = value.len();
        *data = std::ptr::null_mut();
        if !value.is_empty() {
            *data = proxy_on_memory_allocate(value.len());
            std::ptr::copy_nonoverlapping(value.as_ptr(), *data, value.len());
        }
    }
}

/// Notes the call, and works unless it is to fail.
fn call(function: &'static str, detail: &[u8], work: impl FnOnce(&mut Engine) -> Result<(), Status>) -> Status {
    let answer = engine::try_with(|engine| match engine.admit(function, detail) {
        Some(Fault::Status(status)) => Err(status),
        Some(Fault::Data(_)) | None => work(engine),
    });
    answer.unwrap_or(Err(INTERNAL_FAILURE)).err().unwrap_or(OK)
}

/// The same for a call that answers bytes.
///
/// SAFETY: as [`give`].
unsafe fn call_for_bytes(
    function: &'static str,
    detail: &[u8],
    data: *mut *mut u8,
    size: *mut usize,
    work: impl FnOnce(&mut Engine) -> Result<Vec<u8>, Status>,
) -> Status {
    let answer = engine::try_with(|engine| match engine.admit(function, detail) {
        Some(Fault::Status(status)) => Err(status),
        Some(Fault::Data(bytes)) => Ok(bytes),
        None => work(engine),
    });
    match answer.unwrap_or(Err(INTERNAL_FAILURE)) {
        Ok(value) => {
            unsafe { give(&value, data, size) };
            OK
        }
        Err(status) => status,
    }
}

/// The same for a call that answers a number.
///
/// SAFETY: `out` is the guest's and writable.
unsafe fn call_for<T>(
    function: &'static str,
    detail: &[u8],
    out: *mut T,
    work: impl FnOnce(&mut Engine) -> Result<T, Status>,
) -> Status {
    call(function, detail, |engine| {
        let value = work(engine)?;
        unsafe { *out = value };
        Ok(())
    })
}

// === log, time, lifecycle ===

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_log(level: u32, data: *const u8, size: usize) -> Status {
    let text = unsafe { read(data, size) };
    if std::thread::panicking() {
        // The filter's panic hook: this must be seen, and the host may be at work on this very thread.
        eprintln!("{}", String::from_utf8_lossy(text));
        return OK;
    }
    call("proxy_log", &[], |engine| engine.log(level, text))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_log_level(level: *mut u32) -> Status {
    unsafe { call_for("proxy_get_log_level", &[], level, |engine| Ok(engine.log_level)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_current_time_nanoseconds(time: *mut u64) -> Status {
    unsafe { call_for("proxy_get_current_time_nanoseconds", &[], time, |engine| Ok(engine.process.clock().now_ns())) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> Status {
    call("proxy_set_tick_period_milliseconds", &[], |engine| engine.set_tick_period(period))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_effective_context(context: u32) -> Status {
    call("proxy_set_effective_context", &[], |engine| engine.set_effective(context))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_done() -> Status {
    call("proxy_done", &[], Engine::done)
}

// === buffers, maps, properties ===

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_buffer_bytes(
    kind: u32,
    start: usize,
    length: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    unsafe { call_for_bytes("proxy_get_buffer_bytes", &[], data, size, |engine| engine.buffer(kind, start, length)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> Status {
    unsafe { call_for_bytes("proxy_get_header_map_pairs", &[], data, size, |engine| engine.pairs(map)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> Status {
    let pairs = HeaderMap::from_pairs(unsafe { read(data, size) });
    call("proxy_set_header_map_pairs", &[], |engine| {
        let pairs = pairs.ok_or(BAD_ARGUMENT)?;
        engine.edit(map, |map| *map = pairs)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_value(
    map: u32,
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    unsafe {
        let key = read(key, key_size);
        call_for_bytes("proxy_get_header_map_value", key, data, size, |engine| engine.header(map, key))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> Status {
    let key = unsafe { read(key, key_size) };
    call("proxy_remove_header_map_value", key, |engine| engine.edit(map, |map| map.remove(key)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_replace_header_map_value(
    map: u32,
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    let (key, value) = unsafe { (read(key, key_size), read(value, value_size)) };
    call("proxy_replace_header_map_value", key, |engine| engine.edit(map, |map| map.set(key, value)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_add_header_map_value(
    map: u32,
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    let (key, value) = unsafe { (read(key, key_size), read(value, value_size)) };
    call("proxy_add_header_map_value", key, |engine| engine.edit(map, |map| map.add(key, value)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    unsafe {
        let path = read(path, path_size);
        call_for_bytes("proxy_get_property", path, data, size, |engine| engine.property(path))
    }
}

// === shared data and metrics ===

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
    cas: *mut u32,
) -> Status {
    unsafe {
        let key = read(key, key_size);
        call_for_bytes("proxy_get_shared_data", key, data, size, |engine| {
            let (value, number) = engine.process.shared(key)?;
            *cas = number;
            Ok(value)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
    cas: u32,
) -> Status {
    let (key, value) = unsafe { (read(key, key_size), read(value, value_size)) };
    call("proxy_set_shared_data", key, |engine| engine.process.set_shared(key, value, cas))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> Status {
    unsafe {
        let name = read(name, name_size);
        call_for("proxy_define_metric", name, id, |engine| engine.define_metric(kind, name))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_increment_metric(id: u32, offset: i64) -> Status {
    call("proxy_increment_metric", &[], |engine| {
        let (kind, name) = engine.metric(id)?;
        engine.process.increment(kind, &name, offset)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_record_metric(id: u32, value: u64) -> Status {
    call("proxy_record_metric", &[], |engine| {
        let (kind, name) = engine.metric(id)?;
        engine.process.record(kind, &name, value);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_metric(id: u32, value: *mut u64) -> Status {
    unsafe {
        call_for("proxy_get_metric", &[], value, |engine| {
            let (_, name) = engine.metric(id)?;
            Ok(engine.process.metric(&name))
        })
    }
}

// === calls ===

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_http_call(
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
) -> Status {
    let (cluster, headers) = unsafe { (read(cluster, cluster_size), read(headers, headers_size)) };
    let (body, trailers) = unsafe { (read(body, body_size), read(trailers, trailers_size)) };
    let work = |engine: &mut Engine| engine.http_call(outbound(cluster, None, headers, body, trailers, timeout));
    unsafe { call_for("proxy_http_call", cluster, token, work) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_grpc_call(
    cluster: *const u8,
    cluster_size: usize,
    service: *const u8,
    service_size: usize,
    method: *const u8,
    method_size: usize,
    metadata: *const u8,
    metadata_size: usize,
    message: *const u8,
    message_size: usize,
    timeout: u32,
    token: *mut u32,
) -> Status {
    let (cluster, service) = unsafe { (read(cluster, cluster_size), read(service, service_size)) };
    let (method, metadata) = unsafe { (read(method, method_size), read(metadata, metadata_size)) };
    let message = unsafe { read(message, message_size) };
    let method = [service, b"/", method].concat();
    let work =
        |engine: &mut Engine| engine.grpc_call(outbound(cluster, Some(&method), metadata, message, &[], timeout));
    unsafe { call_for("proxy_grpc_call", cluster, token, work) }
}

fn outbound(
    cluster: &[u8],
    method: Option<&[u8]>,
    headers: &[u8],
    body: &[u8],
    trailers: &[u8],
    timeout: u32,
) -> OutCall {
    OutCall {
        token: 0,
        root: 0,
        cluster: String::from_utf8_lossy(cluster).into_owned(),
        grpc_method: method.map(|method| String::from_utf8_lossy(method).into_owned()),
        headers: HeaderMap::from_pairs(headers).unwrap_or_default(),
        body: body.to_vec(),
        trailers: HeaderMap::from_pairs(trailers).unwrap_or_default(),
        timeout_ms: timeout,
        sent_ns: 0,
        end: End::Pending,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_call_foreign_function(
    name: *const u8,
    name_size: usize,
    argument: *const u8,
    argument_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    unsafe {
        let (name, argument) = (read(name, name_size), read(argument, argument_size));
        call_for_bytes("proxy_call_foreign_function", name, data, size, |engine| engine.foreign(name, argument))
    }
}

// === what the SDK imports and no test calls: noted, and refused ===

macro_rules! refused {
    ($($name:ident($($argument:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($(_: $argument),*) -> Status {
            call(stringify!($name), &[], |_| Err(INTERNAL_FAILURE))
        }
    )*};
}

refused! {
    proxy_set_buffer_bytes(u32, usize, usize, *const u8, usize);
    proxy_set_property(*const u8, usize, *const u8, usize);
    proxy_register_shared_queue(*const u8, usize, *mut u32);
    proxy_resolve_shared_queue(*const u8, usize, *const u8, usize, *mut u32);
    proxy_dequeue_shared_queue(u32, *mut *mut u8, *mut usize);
    proxy_enqueue_shared_queue(u32, *const u8, usize);
    proxy_continue_stream(u32);
    proxy_close_stream(u32);
    proxy_send_local_response(u32, *const u8, usize, *const u8, usize, *const u8, usize, i32);
    proxy_grpc_stream(*const u8, usize, *const u8, usize, *const u8, usize, *const u8, usize, *mut u32);
    proxy_grpc_send(u32, *const u8, usize, bool);
    proxy_grpc_cancel(u32);
    proxy_grpc_close(u32);
    proxy_get_status(*mut u32, *mut *mut u8, *mut usize);
}
