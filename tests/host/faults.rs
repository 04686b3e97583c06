//! Every host call fails once, with every status and with nonsense in place of data. Nothing may panic (a panic is a dead VM:
//! callbacks cannot unwind, so here it would end this process), and traffic must pass as if nothing had happened.

use super::attributes::{Direction, EndFacts};
use super::engine::{Call, Fault};
use super::headers::HeaderMap;
use super::process::Process;
use super::traffic::{FLUSH, KEEP_ALL, get, traced};
use super::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every status of the ABI, and one that does not exist.
const STATUSES: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 255];
/// Those that the filter tells apart, and another.
const TOLD_APART: &[u32] = &[1, 2, 8, 10, 3];
/// Nothing, less than any number, not UTF-8, a map that claims four thousand million pairs, and numbers at their ends.
const NONSENSE: &[&[u8]] =
    &[b"", b"\x01", b"\xff\xfe", &[0xff; 4], &[0xff; 8], &[0xff; 64], &[0x80, 0, 0, 0, 0, 0, 0, 0x80]];

/// A life: start, requests of every kind, a flush that fails and one that succeeds, an update, the end.
fn life(world: &mut World) {
    world.boot(super::start_filter, KEEP_ALL);
    for (direction, flags) in [(Direction::Inbound, "01"), (Direction::Outbound, "00"), (Direction::Unspecified, "00")]
    {
        let request = traced(flags).with("b3", "0").with("x-app", "a").with("x-app", "b");
        let stream = world.request(direction, &request);
        stream.set_property(&["response", "flags"], 4_i64);
        passes(&request, &stream.upstream_headers());
        let response = HeaderMap::from(&[(":status", "503"), ("x-app", "c"), ("server-timing", "db;dur=53")]);
        stream.response(&response);
        passes(&response, &stream.downstream_headers());
        stream.finish(EndFacts::default());
    }
    world.request(Direction::Outbound, get("/")).finish(EndFacts::reset());
    world.unseen(Direction::Inbound, traced("01")).finish(EndFacts::default());
    world.tick_after(FLUSH);
    world.respond_all(503);
    world.tick_after(Duration::from_secs(3));
    for call in world.pending() {
        world.respond(call.token, &[(":status", "200"), ("a", "b")], b"\x0a\x00", &[("t", "v")]);
    }
    let open = world.request(Direction::Inbound, traced("01"));
    world.reconfigure(KEEP_ALL);
    open.finish(EndFacts::default());
    world.tick_after(Duration::from_secs(6));
    world.root().retire();
    world.tick_after(Duration::from_secs(6));
}

/// What is not a trace header goes on as it came.
fn passes(before: &HeaderMap, after: &HeaderMap) {
    for name in [":method", ":path", ":authority", ":status", "x-app"] {
        assert_eq!(before.all(name), after.all(name), "{name}");
    }
}

fn faults(statuses: &[u32]) -> impl Iterator<Item = Fault> {
    let statuses = statuses.iter().map(|status| Fault::Status(*status));
    statuses.chain(NONSENSE.iter().map(|bytes| Fault::Data(bytes.to_vec())))
}

/// How often the same question is let fail: a tick that repeats itself for a minute teaches nothing new.
const OCCURRENCES: usize = 2;

/// Each host call of a life without faults, the first few of each kind.
fn calls_of_a_life() -> Vec<Call> {
    let mut world = World::idle(Process::default());
    life(&mut world);
    assert!(!world.exported().is_empty(), "a life without faults exports: {:?}", world.log(0));
    let mut seen = BTreeMap::new();
    let mut new = |call: &&Call| {
        let times: &mut usize = seen.entry((call.callback, call.function, call.detail.clone())).or_default();
        *times += 1;
        *times <= OCCURRENCES
    };
    world.calls().iter().filter(&mut new).cloned().collect()
}

#[test]
fn any_one_host_call_may_fail_in_any_way() {
    let calls = calls_of_a_life();
    assert!(calls.len() > 20, "{}", calls.len());
    for call in &calls {
        for fault in faults(TOLD_APART) {
            let mut world = World::idle(Process::default());
            let (function, index) = (call.function, call.index);
            world.set_faults(move |call| (call.index == index && call.function == function).then(|| fault.clone()));
            life(&mut world);
        }
    }
}

#[test]
fn any_host_function_may_fail_for_ever_in_any_way() {
    let mut functions: Vec<_> = calls_of_a_life().iter().map(|call| call.function).collect();
    functions.sort_unstable();
    functions.dedup();
    for function in functions {
        for fault in faults(STATUSES) {
            let mut world = World::idle(Process::default());
            world.set_faults(move |call| (call.function == function).then(|| fault.clone()));
            life(&mut world);
        }
    }
}

#[test]
fn after_a_fault_the_next_request_has_its_span() {
    for callback in ["on_request_headers", "on_response_headers", "on_log", "on_tick"] {
        let mut world = World::new(KEEP_ALL);
        world.set_faults(move |call| {
            let fault = Fault::Status(10);
            (call.callback == callback).then_some(fault)
        });
        let stream = world.request(Direction::Inbound, get("/first"));
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
        world.tick_after(FLUSH);
        world.clear_faults();
        let stream = world.request(Direction::Inbound, traced("01"));
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
        world.tick_after(Duration::from_secs(60));
        assert!(world.exported().iter().any(|span| span.trace_id() == super::traffic::TRACE), "after {callback}");
    }
}
