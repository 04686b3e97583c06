//! The cap over a minute of an error storm: so many traces a second, whatever the delay of the exporter is.

use super::attributes::{Direction, EndFacts};
use super::traffic::{PARENT, get};
use super::world::World;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A trace id whose R looks random and is always the same (splitmix64).
fn trace(n: u64) -> String {
    let mut z = n.wrapping_add(77).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("4bf92f3577b34da6a3{:014x}", (z ^ (z >> 31)) >> 8)
}

/// `rate` errors a second for `seconds`; how many of them a collector has then.
fn kept(max_per_second: u64, delay: &str, rate: u64, seconds: u64) -> usize {
    let mut world = World::new(format!(
        r#"{{"exporter": {{"otlp": {{"cluster": "collector"}}, "batch": {{"delay": "{delay}"}}}},
             "sampling": {{"randomSamplingPercentage": 0, "errors": {{"maxPerSecond": {max_per_second}}}}}}}"#
    ));
    assert_eq!(world.metric("sidespan_config_errors_total"), 0);
    let pause = Duration::from_millis(1000 / rate);
    for n in 0..rate * seconds {
        let request = get("/api/users/42").with("traceparent", format!("00-{}-{PARENT}-00", trace(n)));
        let stream = world.request(Direction::Inbound, request);
        stream.response(&[(":status", "503"), ("content-length", "0")]);
        stream.finish(EndFacts::default());
        world.tick_after(pause);
        world.respond_all(200);
        world.forget_calls();
    }
    for _ in 0..80 {
        world.tick_after(1000 * MILLISECOND);
        world.respond_all(200);
    }
    world.exported().len()
}

#[test]
fn a_cap_holds_over_many_windows_also_where_it_allows_less_than_one_trace_in_each() {
    // Cap, delay of the batch, errors a second, seconds.
    let table = [
        (1, "100ms", 20, 60),
        (3, "100ms", 20, 40),
        (15, "100ms", 50, 20),
        (1, "1s", 20, 60),
        // The start of a storm costs once more than the cap (one second of it and half of one for each doubling), so longer.
        (100, "1s", 250, 30),
        (7, "250ms", 20, 30),
    ];
    let mut wrong = Vec::new();
    for (cap, delay, rate, seconds) in table {
        let kept = kept(cap, delay, rate, seconds);
        let per_second = kept as f64 / seconds as f64;
        println!("maxPerSecond {cap}, delay {delay}, {rate} errors a second: {per_second:.1} kept a second");
        // A cap that is a probability is met on average: three standard errors, and the windows at both ends.
        let width = 3.0 / f64::sqrt((cap * seconds) as f64) + 0.03;
        let (least, most) = (cap as f64 * (1.0 - width), cap as f64 * (1.0 + width));
        if per_second < least || per_second > most {
            wrong.push(format!("{cap} a second with a delay of {delay}: {per_second:.1}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_long_window_holds_as_many_traces_as_the_cap_allows() {
    let per_second = kept(100, "30s", 125, 90) as f64 / 90.0;
    println!("maxPerSecond 100, delay 30s, 125 errors a second: {per_second:.1} kept a second");
    assert!((85.0..=115.0).contains(&per_second), "{per_second:.1} kept a second");
}

#[test]
fn what_callers_tell_of_their_caps_is_passed_on_as_it_came_or_removed_if_it_cannot_be_read() {
    let table = [
        ("a=1,sidespan=e:8", "a=1,sidespan=e:8", "sidespan_caps_received_total"),
        ("a=1,sidespan=broken", "a=1", "sidespan_caps_malformed_total"),
    ];
    for (came, leaves, metric) in table {
        let mut world = World::new(super::traffic::ERRORS_ONLY);
        let stream = world.request(Direction::Inbound, super::traffic::traced("00").with("tracestate", came));
        let upstream = stream.upstream_headers();
        let found =
            upstream.iter().find(|(name, _)| *name == b"tracestate".as_slice()).map(|(_, value)| value.to_vec());
        assert_eq!(found.as_deref(), Some(leaves.as_bytes()), "{came}");
        stream.response(&[(":status", "200")]);
        stream.finish(EndFacts::default());
        world.tick_after(super::traffic::FLUSH);
        assert_eq!(world.metric(metric), 1, "{metric}");
    }
}

/// Up to Envoy 1.39 each direction has a root context of its own in the VM of a worker.
#[test]
fn root_contexts_of_the_same_configuration_share_their_caps_and_others_do_not() {
    let configuration = |delay: &str| {
        format!(
            r#"{{"exporter": {{"otlp": {{"cluster": "collector"}}, "batch": {{"delay": "{delay}"}}}},
                 "sampling": {{"randomSamplingPercentage": 0, "errors": {{"maxPerSecond": 1}}}}}}"#
        )
    };
    let error = |world: &mut World, n: u64| {
        let request = get("/api/users/42").with("traceparent", format!("00-{}-{PARENT}-00", trace(n)));
        let stream = world.request(Direction::Inbound, request);
        let told = stream.upstream_headers().text("tracestate").is_some_and(|state| state.contains("sidespan=e:"));
        stream.response(&[(":status", "503"), ("content-length", "0")]);
        stream.finish(EndFacts::default());
        told
    };
    for (second, shared) in [("1s", true), ("2s", false)] {
        let mut world = World::new(configuration("1s"));
        for n in 0..40 {
            error(&mut world, n);
        }
        assert!(error(&mut world, 40), "the cap of the first root binds");
        world.start(configuration(second));
        assert_eq!(error(&mut world, 41), shared, "that of the second root, with a delay of {second}");
    }
}
