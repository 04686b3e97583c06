//! All hooks against an Envoy in memory: workers, the main thread, and a configuration that ends on a worker.

use crate::abi::{Buffer, HeaderPair};
use crate::fake_envoy::{self, FakeConfig, FakeRequest};
use crate::hooks::*;
use crate::{fault, guard};
use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"{"exporter": {"otlp": {"cluster": "collector"}, "batch": {"delay": "100ms"}},
    "sampling": {"randomSamplingPercentage": 100}}"#;
const WORKERS: usize = 4;
const REQUESTS: usize = 200;

fn address(config: &FakeConfig) -> *mut c_void {
    ptr::from_ref(config).cast_mut().cast()
}

fn module_of(config: &FakeConfig) -> *const c_void {
    ptr::with_exposed_provenance(config.module.load(SeqCst) as usize)
}

fn open(text: &str) -> &'static FakeConfig {
    /// They live for ever, and a sanitizer shall not call them leaks.
    static ALL: Mutex<Vec<&'static FakeConfig>> = Mutex::new(Vec::new());
    let config: &FakeConfig = Box::leak(Box::default());
    ALL.lock().unwrap().push(config);
    // SAFETY: as Envoy calls it; the configuration lives for ever.
    let module = unsafe {
        envoy_dynamic_module_on_http_filter_config_new(address(config), Buffer::NONE, Buffer::of(text.as_bytes()))
    };
    assert!(!module.is_null());
    config.module.store(module.expose_provenance() as u64, SeqCst);
    config
}

/// One request from its beginning to its end, as Envoy's hooks come.
fn serve(config: &FakeConfig, number: usize) {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut request = FakeRequest { config: Some(config), ..FakeRequest::default() };
    request.maps[0] = vec![
        pair(":method", "GET"),
        pair(":path", &format!("/{number}")),
        pair(":authority", "backend"),
        pair("traceparent", &format!("00-{:032x}-00f067aa0ba902b7-01", number + 1)),
    ];
    request.maps[2] = vec![pair(":status", if number.is_multiple_of(3) { "503" } else { "200" })];
    request.ints.extend([(59, 1 + (number % 2) as u64), (17, 0), (25, 4711)]);
    request.texts.extend([(24, b"10.0.0.1".to_vec()), (10, b"HTTP/1.1".to_vec())]);
    request.metadata = vec![pair("shadow_engine_result", "allowed")];
    let filter: *mut c_void = ptr::from_mut(&mut request).cast();
    // SAFETY: as Envoy calls the hooks of one request; configuration and request live longer than they.
    unsafe {
        let stream = envoy_dynamic_module_on_http_filter_new(module_of(config), filter);
        if number % 10 != 9 {
            assert_eq!(envoy_dynamic_module_on_http_filter_request_headers(filter, stream, true), 0);
        }
        assert_eq!(envoy_dynamic_module_on_http_filter_response_headers(filter, stream, number.is_multiple_of(2)), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_response_body(filter, stream, true), 0);
        envoy_dynamic_module_on_http_filter_stream_complete(filter, stream);
        envoy_dynamic_module_on_http_filter_destroy(stream);
    }
}

/// The main thread: runs the hooks that were asked for, and answers every other call.
fn run_events(answering: bool) {
    for event in fake_envoy::take_events() {
        let config: *mut c_void = ptr::with_exposed_provenance_mut(event);
        // SAFETY: configurations live for ever here; the hooks are called as Envoy calls them.
        unsafe {
            let fake = &*config.cast::<FakeConfig>();
            envoy_dynamic_module_on_http_filter_config_scheduled(config, module_of(fake), 0);
            let calls: Vec<_> = fake.calls.lock().unwrap().drain(..).collect();
            for (number, body) in calls {
                assert!(!body.is_empty());
                if !answering {
                    fake.calls.lock().unwrap().push((number, body));
                    continue;
                }
                let headers = [HeaderPair { name: Buffer::of(b":status"), value: Buffer::of(b"200") }];
                let module = module_of(fake);
                envoy_dynamic_module_on_http_filter_config_http_stream_headers(
                    config,
                    module,
                    number,
                    headers.as_ptr(),
                    1,
                    false,
                );
                let chunk = [Buffer::of(b""), Buffer::NONE];
                envoy_dynamic_module_on_http_filter_config_http_stream_data(
                    config,
                    module,
                    number,
                    chunk.as_ptr(),
                    2,
                    false,
                );
                envoy_dynamic_module_on_http_filter_config_http_stream_trailers(config, module, number, ptr::null(), 0);
                envoy_dynamic_module_on_http_filter_config_http_stream_complete(config, module, number);
            }
        }
    }
    thread::sleep(Duration::from_millis(1));
}

fn run_until(answering: bool, what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}; log: {:#?}", fake_envoy::log_lines());
        run_events(answering);
    }
}

fn total(name: &str) -> i64 {
    fake_envoy::metric(&format!("sidespan_{name}_total"))
}

/// One test, because the module has one state for the process.
#[test]
fn workers_hand_spans_over_and_the_end_of_a_configuration_loses_none() {
    let version = envoy_dynamic_module_on_program_init();
    assert!(!version.is_null());
    let (first, second) = (open(CONFIG), open(CONFIG));
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    for number in 0..REQUESTS {
                        serve(if number.is_multiple_of(2) { first } else { second }, worker * REQUESTS + number);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            finished.store(true, SeqCst);
        });
        run_until(true, "the workers end", || finished.load(SeqCst));
    });
    let all = (WORKERS * REQUESTS) as i64;
    // In this Envoy a metric only changes while a request runs.
    let exported = |number: i64| {
        serve(first, 9_999_999);
        total("spans_exported") >= number
    };
    run_until(true, "everything is exported", || exported(all));
    assert_eq!((total("dropped_abandoned"), total("panics"), total("config_errors")), (0, 0, 0));

    // Another configuration, whose call is under way when the one that made it ends on a worker.
    let third = open(CONFIG.replace("100ms", "101ms").as_str());
    (0..50).for_each(|number| serve(third, number));
    let under_way = || !third.calls.lock().unwrap().is_empty();
    run_until(false, "a call is under way", under_way);
    let before = total("spans_exported");
    thread::scope(|scope| {
        let ended = scope.spawn(|| {
            // SAFETY: as Envoy calls it, once.
            unsafe { envoy_dynamic_module_on_http_filter_config_destroy(module_of(third)) };
        });
        run_until(false, "the worker has ended the configuration", || ended.is_finished());
    });
    assert!(!under_way(), "its calls were cancelled on the main thread");
    run_until(true, "its spans are sent again by another one", || {
        serve(first, 9_999_999);
        total("spans_exported") >= before + 50 && total("spans_retried") > 0
    });
    assert_eq!(total("dropped_abandoned"), 0);

    every_hook_catches_a_panic(first);

    // What is not usable passes requests, and null and strange pointers are survived.
    let bad = open("{");
    serve(bad, 1);
    for config in [first, second, bad] {
        // SAFETY: as Envoy calls it, once; no request is left.
        unsafe { envoy_dynamic_module_on_http_filter_config_destroy(module_of(config)) };
    }
    // SAFETY: these hooks check their pointers.
    unsafe {
        envoy_dynamic_module_on_http_filter_config_destroy(ptr::null());
        let stream = envoy_dynamic_module_on_http_filter_new(ptr::null(), ptr::null_mut());
        assert!(!stream.is_null());
        envoy_dynamic_module_on_http_filter_request_headers(ptr::null_mut(), stream, true);
        envoy_dynamic_module_on_http_filter_stream_complete(ptr::null_mut(), stream);
        envoy_dynamic_module_on_http_filter_destroy(stream);
        envoy_dynamic_module_on_http_filter_config_scheduled(ptr::null_mut(), module_of(first), 0);
    }
    assert!(fake_envoy::log_lines().iter().any(|line| line.contains("pluginConfig is not usable")));
}

/// Calls all 31 hooks, each of which panics.
fn every_hook_catches_a_panic(config: &FakeConfig) {
    let (envoy, none) = (address(config), ptr::null_mut());
    let (pairs, chunks) = (ptr::null::<HeaderPair>(), ptr::null::<Buffer>());
    // SAFETY: as Envoy calls it.
    let open = || unsafe { envoy_dynamic_module_on_http_filter_new(module_of(config), none) };
    let streams: Vec<_> = (0..4).map(|_| open()).collect();
    let module = module_of(config);
    guard::take_caught();
    fault::ON.set(true);
    // SAFETY: every hook panics before it uses a pointer, but for the streams, which are real.
    unsafe {
        envoy_dynamic_module_on_program_init();
        assert!(!envoy_dynamic_module_on_http_filter_config_new(envoy, Buffer::NONE, Buffer::NONE).is_null());
        envoy_dynamic_module_on_http_filter_config_destroy(module);
        envoy_dynamic_module_on_http_filter_config_scheduled(envoy, module, 0);
        envoy_dynamic_module_on_http_filter_config_http_callout_done(envoy, module, 0, 0, pairs, 0, chunks, 0);
        envoy_dynamic_module_on_http_filter_config_http_stream_headers(envoy, module, 0, pairs, 0, true);
        envoy_dynamic_module_on_http_filter_config_http_stream_data(envoy, module, 0, chunks, 0, true);
        envoy_dynamic_module_on_http_filter_config_http_stream_trailers(envoy, module, 0, pairs, 0);
        envoy_dynamic_module_on_http_filter_config_http_stream_complete(envoy, module, 0);
        envoy_dynamic_module_on_http_filter_config_http_stream_reset(envoy, module, 0, 0);
        assert!(!envoy_dynamic_module_on_http_filter_per_route_config_new(Buffer::NONE, Buffer::NONE).is_null());
        envoy_dynamic_module_on_http_filter_per_route_config_destroy(ptr::null());
        assert!(!envoy_dynamic_module_on_http_filter_new(module, none).is_null());
        assert_eq!(envoy_dynamic_module_on_http_filter_request_headers(none, streams[0], true), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_request_body(none, streams[0], true), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_request_trailers(none, streams[0]), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_response_headers(none, streams[1], true), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_response_body(none, streams[1], true), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_response_trailers(none, streams[1]), 0);
        assert_eq!(envoy_dynamic_module_on_http_filter_local_reply(none, streams[2], 503, Buffer::NONE, false), 0);
        envoy_dynamic_module_on_http_filter_stream_complete(none, streams[2]);
        envoy_dynamic_module_on_http_filter_scheduled(none, streams[2], 0);
        envoy_dynamic_module_on_http_filter_http_callout_done(none, streams[2], 0, 0, pairs, 0, chunks, 0);
        envoy_dynamic_module_on_http_filter_http_stream_headers(none, streams[2], 0, pairs, 0, true);
        envoy_dynamic_module_on_http_filter_http_stream_data(none, streams[2], 0, chunks, 0, true);
        envoy_dynamic_module_on_http_filter_http_stream_trailers(none, streams[2], 0, pairs, 0);
        envoy_dynamic_module_on_http_filter_http_stream_complete(none, streams[2], 0);
        envoy_dynamic_module_on_http_filter_http_stream_reset(none, streams[2], 0, 0);
        envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(none, streams[2]);
        envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(none, streams[2]);
        envoy_dynamic_module_on_http_filter_destroy(streams[3]);
    }
    fault::ON.set(false);
    // Three of them had a request, which is given up too: in this test with a panic of its own.
    assert_eq!(guard::take_caught(), 31 + 3);
    // SAFETY: as Envoy calls it, once each; the hook of the last one panicked before it did anything.
    streams.into_iter().for_each(|stream| unsafe { envoy_dynamic_module_on_http_filter_destroy(stream) });
}
