//! An Envoy in memory, for tests that need no process: the functions that [`crate::abi::imports`] declares. It is as old as 1.38: it
//! has none of the optional ones. So the hooks and their `unsafe` code run under a sanitizer too.

use crate::abi::{Buffer, ConfigPtr, FilterPtr, HeaderPair, METRIC_OK, Map, SchedulerPtr, call_result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};

/// One configuration of Envoy.
#[derive(Default)]
pub(crate) struct FakeConfig {
    /// What the module returned for it.
    pub(crate) module: AtomicU64,
    metrics: Mutex<Vec<String>>,
    /// Calls under way: number and body.
    pub(crate) calls: Mutex<Vec<(u64, Vec<u8>)>>,
}

/// One request of Envoy.
#[derive(Default)]
pub(crate) struct FakeRequest<'a> {
    pub(crate) config: Option<&'a FakeConfig>,
    pub(crate) maps: [Vec<(Vec<u8>, Vec<u8>)>; 4],
    pub(crate) texts: BTreeMap<u32, Vec<u8>>,
    pub(crate) ints: BTreeMap<u32, u64>,
    pub(crate) metadata: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A way to the main thread.
struct FakeScheduler {
    config: usize,
}

/// Addresses of configurations whose hook is to run on the main thread.
static EVENTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static METRICS: Mutex<BTreeMap<String, i64>> = Mutex::new(BTreeMap::new());
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LAST_CALL: AtomicU64 = AtomicU64::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The configurations that were asked to come to the main thread since the last time.
pub(crate) fn take_events() -> Vec<usize> {
    std::mem::take(&mut lock(&EVENTS))
}

/// The value of a counter or gauge.
pub(crate) fn metric(name: &str) -> i64 {
    lock(&METRICS).get(name).copied().unwrap_or_default()
}

/// Lines of the log.
pub(crate) fn log_lines() -> Vec<String> {
    lock(&LOG).clone()
}

fn bytes<'a>(buffer: Buffer) -> &'a [u8] {
    // SAFETY: the module under test lends bytes for the length of the call, and they are copied in it.
    unsafe { buffer.bytes() }
}

fn request<'a>(filter: FilterPtr) -> &'a mut FakeRequest<'a> {
    // SAFETY: a test gives the address of a request that it alone uses meanwhile.
    unsafe { &mut *filter.cast() }
}

fn config<'a>(config: ConfigPtr) -> &'a FakeConfig {
    // SAFETY: a test gives the address of a configuration that is alive.
    unsafe { &*config.cast() }
}

fn answer(found: Option<&[u8]>, out: *mut Buffer) -> bool {
    if let Some(found) = found {
        // SAFETY: the module gives a place for one buffer.
        unsafe { out.write(Buffer::of(found)) };
    }
    found.is_some()
}

fn change(filter: FilterPtr, id: usize, by: i64) -> u32 {
    let name = request(filter).config.and_then(|config| lock(&config.metrics).get(id).cloned());
    *lock(&METRICS).entry(name.expect("a metric of this configuration")).or_default() += by;
    METRIC_OK
}

fn define(pointer: ConfigPtr, name: Buffer, id: *mut usize) -> u32 {
    let mut metrics = lock(&config(pointer).metrics);
    metrics.push(String::from_utf8_lossy(bytes(name)).into_owned());
    // SAFETY: the module gives a place for one number.
    unsafe { id.write(metrics.len() - 1) };
    METRIC_OK
}

macro_rules! functions {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $type),*) $(-> $result)? { $body }
        )*
    };
}

functions! {
    fn envoy_dynamic_module_callback_log(level: u32, message: Buffer) =
        lock(&LOG).push(format!("{level} {}", String::from_utf8_lossy(bytes(message))));
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool = level >= 2;
    fn envoy_dynamic_module_callback_is_validation_mode() -> bool = false;

    fn envoy_dynamic_module_callback_http_get_headers_size(filter: FilterPtr, map: Map) -> usize =
        request(filter).maps[map as usize].len();
    fn envoy_dynamic_module_callback_http_get_headers(filter: FilterPtr, map: Map, out: *mut HeaderPair) -> bool = {
        for (place, (name, value)) in request(filter).maps[map as usize].iter().enumerate() {
            // SAFETY: the module has made room for as many headers as it was told.
            unsafe { out.add(place).write(HeaderPair { name: Buffer::of(name), value: Buffer::of(value) }) };
        }
        true
    };
    fn envoy_dynamic_module_callback_http_set_header(
        filter: FilterPtr, map: Map, name: Buffer, value: Buffer
    ) -> bool = {
        let headers = &mut request(filter).maps[map as usize];
        headers.retain(|(known, _)| known != bytes(name));
        if !value.data.is_null() {
            headers.push((bytes(name).to_vec(), bytes(value).to_vec()));
        }
        true
    };
    fn envoy_dynamic_module_callback_http_add_header(
        filter: FilterPtr, map: Map, name: Buffer, value: Buffer
    ) -> bool = {
        request(filter).maps[map as usize].push((bytes(name).to_vec(), bytes(value).to_vec()));
        true
    };
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: FilterPtr, id: u32, out: *mut Buffer
    ) -> bool = answer(request(filter).texts.get(&id).map(Vec::as_slice), out);
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: FilterPtr, id: u32, out: *mut u64
    ) -> bool = {
        let found = request(filter).ints.get(&id);
        if let Some(found) = found {
            // SAFETY: the module gives a place for one number.
            unsafe { out.write(*found) };
        }
        found.is_some()
    };
    fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
        _filter: FilterPtr, _id: u32, _out: *mut u8
    ) -> bool = false;
    fn envoy_dynamic_module_callback_http_get_cluster_name(_filter: FilterPtr, out: *mut Buffer) -> bool =
        answer(Some(b"app"), out);
    fn envoy_dynamic_module_callback_http_get_filter_state_typed(
        _filter: FilterPtr, key: Buffer, out: *mut Buffer
    ) -> bool = answer((bytes(key) == b"downstream_peer").then_some(b"namespace=shop,workload=front"), out);
    fn envoy_dynamic_module_callback_http_get_metadata_keys_count(
        filter: FilterPtr, _source: u32, _namespace: Buffer
    ) -> usize = request(filter).metadata.len();
    fn envoy_dynamic_module_callback_http_get_metadata_keys(
        filter: FilterPtr, _source: u32, _namespace: Buffer, out: *mut Buffer
    ) -> bool = {
        for (place, (key, _)) in request(filter).metadata.iter().enumerate() {
            // SAFETY: the module has made room for as many keys as it was told.
            unsafe { out.add(place).write(Buffer::of(key)) };
        }
        true
    };
    fn envoy_dynamic_module_callback_http_get_metadata_string(
        filter: FilterPtr, _source: u32, _namespace: Buffer, key: Buffer, out: *mut Buffer
    ) -> bool = {
        let found = request(filter).metadata.iter().find(|(known, _)| known == bytes(key));
        answer(found.map(|(_, value)| value.as_slice()), out)
    };

    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: FilterPtr, id: usize, _labels: *mut Buffer, _count: usize, value: u64
    ) -> u32 = change(filter, id, value as i64);
    fn envoy_dynamic_module_callback_http_filter_increment_gauge(
        filter: FilterPtr, id: usize, _labels: *mut Buffer, _count: usize, value: u64
    ) -> u32 = change(filter, id, value as i64);
    fn envoy_dynamic_module_callback_http_filter_decrement_gauge(
        filter: FilterPtr, id: usize, _labels: *mut Buffer, _count: usize, value: u64
    ) -> u32 = change(filter, id, -(value as i64));
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: FilterPtr, id: usize, _labels: *mut Buffer, _count: usize, value: u64
    ) -> u32 = change(filter, id, value as i64);
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: ConfigPtr, name: Buffer, _labels: *mut Buffer, _count: usize, id: *mut usize
    ) -> u32 = define(config, name, id);
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: ConfigPtr, name: Buffer, _labels: *mut Buffer, _count: usize, id: *mut usize
    ) -> u32 = define(config, name, id);
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: ConfigPtr, name: Buffer, _labels: *mut Buffer, _count: usize, id: *mut usize
    ) -> u32 = define(config, name, id);

    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: ConfigPtr) -> SchedulerPtr =
        Box::into_raw(Box::new(FakeScheduler { config: config.expose_provenance() })).cast();
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: SchedulerPtr) = {
        // SAFETY: the module deletes what it got from `scheduler_new`, once.
        drop(unsafe { Box::from_raw(scheduler.cast::<FakeScheduler>()) });
    };
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: SchedulerPtr, _event: u64) = {
        // SAFETY: the module has not deleted it.
        let scheduler = unsafe { &*scheduler.cast::<FakeScheduler>() };
        lock(&EVENTS).push(scheduler.config);
    };
    fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
        pointer: ConfigPtr, id: *mut u64, cluster: Buffer, headers: *mut HeaderPair, count: usize, body: Buffer,
        _end: bool, _timeout: u64
    ) -> u32 = {
        // SAFETY: the module gives so many headers.
        let headers = unsafe { std::slice::from_raw_parts(headers, count) };
        assert!(headers.iter().any(|header| bytes(header.name) == b":path"));
        if bytes(cluster) != b"collector" {
            return call_result::CLUSTER_NOT_FOUND;
        }
        let number = LAST_CALL.fetch_add(1, SeqCst) + 1;
        // SAFETY: the module gives a place for one number.
        unsafe { id.write(number) };
        lock(&config(pointer).calls).push((number, bytes(body).to_vec()));
        call_result::SUCCESS
    };
    fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(pointer: ConfigPtr, id: u64) =
        lock(&config(pointer).calls).retain(|(number, _)| *number != id);
}
