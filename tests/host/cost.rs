//! What a request costs in host calls: each is a crossing out of the VM and back.

use super::attributes::{Direction, EndFacts};
use super::traffic::{ERRORS_ONLY, FLUSH, KEEP_ALL, traced};
use super::world::{Calls, World};

/// The host calls of one request, after the first has warmed everything up.
fn of_one_request(configuration: &str, direction: Direction, flags: &str, status: &str) -> Calls {
    let mut world = World::new(configuration);
    for _ in 0..2 {
        world.tick_after(FLUSH);
        world.respond_all(200);
        world.forget_calls();
        let stream = world.request(direction, traced(flags));
        stream.response(&[(":status", status)]);
        stream.finish(EndFacts::default());
    }
    world.calls()
}

fn reads(calls: &Calls, path: &str) -> usize {
    calls.iter().filter(|call| call.function == "proxy_get_property" && call.detail == path).count()
}

fn all(calls: &Calls, function: &str) -> usize {
    calls.iter().filter(|call| call.function == function).count()
}

#[test]
fn an_unsampled_success_reads_shared_data_once_inbound_and_the_attempt_count_once_outbound() {
    for (direction, shared, attempts) in [(Direction::Inbound, 1, 0), (Direction::Outbound, 0, 1)] {
        let calls = of_one_request(ERRORS_ONLY, direction, "00", "200");
        let seen = (all(&calls, "proxy_get_shared_data"), reads(&calls, "upstream.request_attempt_count"));
        assert_eq!(seen, (shared, attempts), "{direction:?}\n{}", calls.table());
        assert_eq!(all(&calls, "proxy_set_shared_data"), 0, "{}", calls.table());
    }
}

#[test]
fn no_request_makes_a_call_that_can_wait_for_the_tick() {
    for (configuration, status) in [(ERRORS_ONLY, "200"), (KEEP_ALL, "200"), (ERRORS_ONLY, "503")] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let calls = of_one_request(configuration, direction, "00", status);
            for function in ["proxy_increment_metric", "proxy_record_metric", "proxy_http_call", "proxy_define_metric"]
            {
                assert_eq!(all(&calls, function), 0, "{function}\n{}", calls.table());
            }
        }
    }
}

#[test]
fn nothing_is_asked_twice() {
    for (configuration, flags, status) in
        [(ERRORS_ONLY, "00", "200"), (KEEP_ALL, "01", "200"), (ERRORS_ONLY, "00", "503")]
    {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let calls = of_one_request(configuration, direction, flags, status);
            let mut asked: Vec<_> =
                calls.iter().map(|call| (call.callback, call.function, call.detail.clone())).collect();
            asked.retain(|(_, function, _)| ["proxy_get_property", "proxy_get_shared_data"].contains(function));
            asked.sort_unstable();
            let unique = {
                let mut copy = asked.clone();
                copy.dedup();
                copy.len()
            };
            assert_eq!(asked.len(), unique, "{direction:?} {flags} {status}\n{}", calls.table());
        }
    }
}
