//! Configurations, root contexts and calls: how they begin, how they end, and what comes too late.

use super::attributes::{Direction, EndFacts};
use super::collector::{Cluster, End};
use super::contexts::Root;
use super::headers::HeaderMap;
use super::process::Process;
use super::traffic::{FLUSH, KEEP_ALL, TRACE, traced};
use super::world::World;
use std::time::Duration;

const BROKEN: &str = r#"{"sampling": {"randomSamplingPercentage": 101}, "surprise": true}"#;
const ERROR: u32 = 4;

fn one_request(world: &mut World) {
    let stream = world.request(Direction::Inbound, traced("01"));
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
}

#[test]
fn a_broken_first_configuration_lets_traffic_pass_untouched_with_one_error_line_and_a_metric() {
    for broken in [BROKEN, "{", "[]", "\"x\"", "\u{0}"] {
        let mut world = World::new(broken);
        assert!(world.root().accepted(), "refusing would answer every request with 500");
        for _ in 0..3 {
            let stream = world.request(Direction::Inbound, traced("01"));
            assert_eq!(stream.upstream_headers(), traced("01"));
            stream.response(&[(":status", "200")]);
            assert_eq!(stream.downstream_headers(), HeaderMap::from(&[(":status", "200")]));
            stream.finish(EndFacts::default());
        }
        world.tick_after(Duration::from_secs(30));
        assert_eq!((world.log(ERROR).len(), world.sent().len()), (1, 0), "{:?}", world.log(ERROR));
        assert_eq!(world.metric("sidespan_config_errors_total"), 1);
    }
}

#[test]
fn a_broken_update_is_refused_and_the_old_configuration_goes_on() {
    let mut world = World::new(KEEP_ALL);
    world.tick_after(FLUSH);
    let old = world.root();
    assert!(!world.reconfigure(BROKEN).accepted());
    assert_eq!(world.root().id(), old.id());
    one_request(&mut world);
    world.tick_after(FLUSH);
    assert_eq!(world.exported().len(), 1);
}

#[test]
fn a_fresh_vm_of_a_proxy_where_a_good_configuration_is_in_force_refuses_a_broken_one() {
    let process = Process::default();
    let mut world = World::of(process.clone(), KEEP_ALL);
    world.tick_after(FLUSH);
    // Envoy tries an update in a canary: a VM of its own.
    let canary = move || World::of(process, BROKEN).root().accepted();
    assert!(!std::thread::spawn(canary).join().expect("no panic"));
}

#[test]
fn a_good_update_takes_over_and_streams_of_the_old_root_still_end_in_a_span() {
    let mut world = World::new(KEEP_ALL);
    let stream = world.request(Direction::Inbound, traced("01"));
    let old = world.root();
    assert!(world.reconfigure(KEEP_ALL).accepted());
    one_request(&mut world);
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
    deliver(&mut world);
    assert_eq!(world.exported().len(), 2);
    assert!(!old.lives(), "its last stream has gone and its batch is delivered");
    assert!(world.root().lives());
}

#[test]
fn two_root_contexts_live_side_by_side_in_one_vm() {
    let mut world = World::new(KEEP_ALL);
    let first = world.root();
    let second = world.start(KEEP_ALL);
    for (root, direction) in [(first, Direction::Inbound), (second, Direction::Outbound), (first, Direction::Inbound)] {
        let stream = root.unseen(direction, traced("01"));
        stream.finish(EndFacts::default());
    }
    world.tick_after(FLUSH);
    let by_root =
        |root: Root| world.sent().iter().filter(|call| call.root == root.id()).flat_map(|call| call.spans()).count();
    assert_eq!((by_root(first), by_root(second)), (2, 1));
}

#[test]
fn a_root_that_ends_delivers_what_it_has_and_waits_for_the_answer() {
    let mut world = World::new(KEEP_ALL);
    one_request(&mut world);
    let root = world.root();
    root.retire();
    assert!(root.lives(), "there is something to deliver");
    world.tick_after(Duration::from_millis(500));
    assert_eq!(world.exported().len(), 1, "a drain does not wait for company");
    world.respond_all(200);
    world.tick_after(Duration::from_millis(500));
    assert!(!root.lives());
}

#[test]
fn a_root_that_ends_with_nothing_to_deliver_is_gone_at_once() {
    let world = World::new(KEEP_ALL);
    world.root().retire();
    assert!(!world.root().lives());
}

#[test]
fn a_root_does_not_wait_for_ever_for_a_collector_that_never_answers() {
    let mut world = World::new(KEEP_ALL);
    one_request(&mut world);
    let root = world.root();
    root.retire();
    world.tick_after(Duration::from_secs(30));
    assert!(!root.lives());
    assert!(world.sent().iter().all(|call| call.end != End::Pending));
}

#[test]
fn any_answer_of_a_collector_leaves_traffic_alone() {
    let wild = HeaderMap::from(&[(":status", "two hundred"), ("retry-after", "-1")]).with("grpc-status", b"\xff");
    let answers = [
        (HeaderMap::default(), &b""[..]),
        (HeaderMap::from(&[(":status", "503"), ("retry-after", "1")]), b"no"),
        (HeaderMap::from(&[(":status", "400")]), b"\xff\xff\xff\xff"),
        (HeaderMap::from(&[(":status", "200"), ("content-type", "application/x-protobuf")]), b"\xff\xff\xff\xff"),
        (HeaderMap::from(&[(":status", "99999999")]), b""),
        (wild, b""),
    ];
    for (headers, body) in answers {
        let mut world = World::new(KEEP_ALL);
        for _ in 0..20 {
            one_request(&mut world);
            world.tick_after(FLUSH);
            for call in world.pending() {
                world.respond(call.token, &headers, body, HeaderMap::default());
            }
        }
        assert_account(&mut world);
    }
}

#[test]
fn a_cluster_that_is_missing_or_has_no_host_is_tried_again_until_it_is_there() {
    for state in [Cluster::Unknown, Cluster::NoHost] {
        let mut world = World::new(KEEP_ALL);
        world.set_cluster("collector", state);
        one_request(&mut world);
        world.tick_after(FLUSH);
        assert_eq!(world.sent().len(), 0);
        world.set_cluster("collector", Cluster::Healthy);
        for _ in 0..60 {
            world.tick_after(Duration::from_secs(1));
            world.respond_all(200);
        }
        let spans = world.exported();
        assert_eq!(spans.iter().map(|span| span.trace_id()).collect::<Vec<_>>(), [TRACE], "{state:?}");
        assert_account(&mut world);
    }
}

#[test]
fn words_about_calls_and_contexts_that_nobody_made_are_ignored() {
    let mut world = World::new(KEEP_ALL);
    world.stray_callbacks();
    one_request(&mut world);
    deliver(&mut world);
    assert_eq!(world.exported().len(), 1);
}

fn deliver(world: &mut World) {
    for _ in 0..5 {
        world.tick_after(Duration::from_secs(1));
        world.respond_all(200);
    }
    world.tick_after(Duration::from_secs(6));
}

/// kept = exported + dropped by reason + still queued.
fn assert_account(world: &mut World) {
    world.tick_after(Duration::from_secs(600));
    world.respond_all(200);
    world.tick_after(Duration::from_secs(60));
    let all = world.process().metrics();
    let sum =
        |prefix: &str| all.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum::<u64>();
    let left = sum("sidespan_spans_exported_total") + sum("sidespan_dropped_") + sum("sidespan_queue_spans");
    assert!(sum("sidespan_spans_kept_total") > 0, "{all:?}");
    assert_eq!(sum("sidespan_spans_kept_total"), left, "{all:?}");
}
