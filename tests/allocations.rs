//! What a request allocates: exact numbers, because an allocation that slips in is seen nowhere else.
//!
//! Header blocks and attributes are copies that the host makes; those of response headers and attributes are counted, as they
//! would be in the module.

#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong must fail loudly"
)]

#[allow(dead_code, unused_imports, reason = "shared with the benchmarks, which need more of it")]
#[path = "../benches/core/fixtures/mod.rs"]
mod fixtures;

use fixtures::{Case, Context, SIZES, Sidecar};
use sidespan_core::config::Direction::{self, Inbound, Outbound};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what this thread asks it for.
struct Counting;

/// What a thread has asked for so far.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// New memory, or more of it.
    times: u64,
    /// Bytes that are not given back.
    held: i64,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { times: 0, held: 0 }) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        unsafe { System.dealloc(memory, layout) }
    }
}

fn count(times: u64, taken: usize, given_back: usize) {
    let asked = ASKED.get();
    let held = asked.held + i64::try_from(taken).unwrap_or(0) - i64::try_from(given_back).unwrap_or(0);
    ASKED.set(Asked { times: asked.times + times, held });
}

/// What `run` gives, and how often it allocates.
fn counted<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = ASKED.get().times;
    let result = run();
    (result, ASKED.get().times - before)
}

/// Allocations of request headers, response headers, end, and recording; whether the request is kept.
fn of_one_request(case: Case) -> ([u64; 4], bool) {
    let mut sidecar = Sidecar::new(case);
    let ((mut stream, _), start) = counted(|| sidecar.start());
    let (_, answer) = counted(|| sidecar.answer(&mut stream));
    let (finished, finish) = counted(|| sidecar.finish(stream));
    let kept = finished.is_some();
    let (_, record) = counted(|| finished.into_iter().for_each(|finished| sidecar.record(finished)));
    ([start, answer, finish, record], kept)
}

/// Of 10 headers and of 40.
type Row = (&'static str, Direction, Context, [[u64; 4]; 2]);

#[test]
fn a_request_allocates_exactly_so_often() {
    let table: &[Row] = &[
        ("unsampled success, root", Inbound, Context::None, [[4, 2, 0, 0]; 2]),
        ("unsampled success, root", Outbound, Context::None, [[4, 2, 0, 0]; 2]),
        ("unsampled success, child", Inbound, Context::Unsampled, [[4, 2, 0, 0]; 2]),
        ("unsampled success, child", Outbound, Context::Unsampled, [[4, 2, 0, 0]; 2]),
        ("kept", Inbound, Context::W3c, [[6, 2, 48, 8], [6, 2, 49, 8]]),
        ("kept", Outbound, Context::W3c, [[6, 2, 54, 8]; 2]),
    ];
    let mut wrong = Vec::new();
    for (what, direction, context, expected) in table {
        for (size, expected) in SIZES.into_iter().zip(expected) {
            let (found, kept) = of_one_request(Case { direction: *direction, size, context: *context });
            assert_eq!(kept, *what == "kept", "{what}, {direction:?}");
            if found != *expected {
                wrong.push(format!("{what}, {direction:?}, {size} headers: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_of_an_unsampled_success_outlives_it() {
    for (direction, context) in [
        (Inbound, Context::None),
        (Outbound, Context::None),
        (Inbound, Context::Unsampled),
        (Outbound, Context::Unsampled),
    ] {
        let mut sidecar = Sidecar::new(Case { direction, size: SIZES[1], context });
        let before = ASKED.get().held;
        assert!(!sidecar.serve());
        assert_eq!(ASKED.get().held, before, "{direction:?} {context:?}");
    }
}
