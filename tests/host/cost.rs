//! What a request costs in host calls: each is a crossing out of the VM and back.

use super::adopt::{ADOPT, with};
use super::attributes::{Direction, EndFacts};
use super::process::Process;
use super::traffic::{ERRORS_ONLY, FLUSH, KEEP_ALL, get, traced};
use super::world::{Calls, World};
use std::time::Duration;

fn reads(calls: &Calls, path: &str) -> usize {
    calls.iter().filter(|call| call.function == "proxy_get_property" && call.detail == path).count()
}

fn all(calls: &Calls, function: &str) -> usize {
    calls.iter().filter(|call| call.function == function).count()
}

#[test]
fn an_unsampled_success_reads_shared_data_once_inbound_and_the_attempt_count_once_outbound() {
    for (direction, shared, attempts) in [(Direction::Inbound, 1, 0), (Direction::Outbound, 0, 1)] {
        let calls = of_one_request((ERRORS_ONLY, direction, "00", "200", None));
        let seen = (all(&calls, "proxy_get_shared_data"), reads(&calls, "upstream.request_attempt_count"));
        assert_eq!(seen, (shared, attempts), "{direction:?}\n{}", calls.table());
        assert_eq!(all(&calls, "proxy_set_shared_data"), 0, "{}", calls.table());
    }
}

/// A request: configuration, direction, flags that came in, status, gRPC status if it is gRPC.
type Request = (&'static str, Direction, &'static str, &'static str, Option<&'static str>);

/// What every request costs: its headers, which listener, our context.
const START: &[&str] = &[
    "request_headers: get_header_map_pairs",
    "request_headers: get_property xds.listener_direction",
    "request_headers: replace_header_map_value traceparent",
    "response_headers: get_header_map_pairs",
];
const INBOUND: &[&str] = &["response_headers: get_shared_data io.sidespan.mark.736"];
const OUTBOUND: &[&str] = &["response_headers: get_property upstream.request_attempt_count"];
const SIGNAL: &[&str] = &["response_headers: add_header_map_value server-timing"];
const MARK: &[&str] =
    &["get_current_time_nanoseconds", "get_shared_data io.sidespan.mark.736", "set_shared_data io.sidespan.mark.736"];
/// The trailers, of gRPC only.
const TRAILERS: &[&str] = &["log: get_header_map_pairs"];
const END: &[&str] = &["log: get_property response.flags"];
/// The flags and the duration, of a response with a body, inbound: a long one may have met an error after its headers.
const END_OF_BODY: &[&str] = &["log: call_foreign_function expr_evaluate"];
/// What a span is made of, once it is kept: headers, among them whether our context was changed, and all attributes in one go.
const SPAN: &[&str] = &["log: call_foreign_function expr_evaluate", "log: get_header_map_pairs"];
/// The same one by one, where Envoy knows no CEL.
const ONE_BY_ONE: &[&str] = &[
    "log: get_header_map_pairs",
    "log: get_property filter_state.PEER.WORKLOAD_NAME",
    "log: get_property filter_state.PEER_obj.workload",
    "log: get_property request.duration",
    "log: get_property request.protocol",
    "log: get_property request.size",
    "log: get_property request.time",
    "log: get_property response.code_details",
    "log: get_property response.size",
    "log: get_property upstream.address",
    "log: get_property xds.cluster_name",
    "log: get_property xds.route_name",
];
const SERVER: &[&str] = &[
    "log: get_property connection.uri_san_peer_certificate",
    "log: get_property metadata.filter_metadata.envoy.filters.http.rbac",
    "log: get_property source.address",
    "log: get_property upstream.request_attempt_count",
];
const CLIENT: &[&str] = &["log: get_property upstream.uri_san_peer_certificate"];
/// `grpc-message`, of a gRPC error only.
const MESSAGE: &[&str] = &["log: get_header_map_pairs"];

#[test]
fn a_request_costs_exactly_these_host_calls() {
    use Direction::{Inbound, Outbound};
    let at = |callback: &str| MARK.iter().map(|call| format!("{callback}: {call}")).collect::<Vec<_>>();
    let (early, late) = (at("response_headers"), at("log"));
    let early = &*early.iter().map(String::as_str).collect::<Vec<_>>();
    let late = &*late.iter().map(String::as_str).collect::<Vec<_>>();
    // What a cap counts asks for the time.
    let counted_early = &["response_headers: get_current_time_nanoseconds"];
    let counted_late = &["log: get_current_time_nanoseconds"];
    let table: &[(&str, Request, usize, &[&[&str]])] = &[
        ("unsampled success", (ERRORS_ONLY, Inbound, "00", "200", None), 6, &[START, INBOUND, END_OF_BODY]),
        ("unsampled success", (ERRORS_ONLY, Outbound, "00", "200", None), 6, &[START, OUTBOUND, END]),
        ("the same, gRPC", (ERRORS_ONLY, Inbound, "00", "200", Some("0")), 7, &[START, INBOUND, TRAILERS, END_OF_BODY]),
        ("the same, gRPC", (ERRORS_ONLY, Outbound, "00", "200", Some("0")), 7, &[START, OUTBOUND, TRAILERS, END]),
        ("sampled", (KEEP_ALL, Inbound, "01", "200", None), 7, &[START, INBOUND, SPAN]),
        ("sampled", (KEEP_ALL, Outbound, "01", "200", None), 7, &[START, OUTBOUND, SPAN]),
        (
            "late kept",
            (ERRORS_ONLY, Inbound, "00", "503", None),
            10,
            &[START, INBOUND, counted_early, SIGNAL, END_OF_BODY, SPAN],
        ),
        (
            "late kept",
            (ERRORS_ONLY, Outbound, "00", "503", None),
            12,
            &[START, OUTBOUND, counted_early, early, END, SPAN],
        ),
        (
            "late kept, by its trailers",
            (ERRORS_ONLY, Inbound, "00", "200", Some("13")),
            11,
            &[START, INBOUND, TRAILERS, END_OF_BODY, counted_late, SPAN, MESSAGE],
        ),
        (
            "late kept, by its trailers",
            (ERRORS_ONLY, Outbound, "00", "200", Some("13")),
            14,
            &[START, OUTBOUND, TRAILERS, END, counted_late, late, SPAN, MESSAGE],
        ),
    ];
    for (what, request, total, expected) in table {
        expect(what, &of_one_request(*request), *total, expected);
    }
}

/// Beside a native tracer: nothing is written. All headers come in one call, also where only those of the trace matter: each by its
/// name would be one more crossing, and there are up to seven.
const START_BESIDE: &[&str] = &[
    "request_headers: get_header_map_pairs",
    "request_headers: get_property xds.listener_direction",
    "response_headers: get_header_map_pairs",
];
/// What the native tracer sent, where a mark of a trace that began here can only be looked for at the end.
const LATE_MARK: &[&str] = &["log: get_header_map_pairs", "log: get_shared_data io.sidespan.mark.736"];
/// The same without a look at a mark: nobody went upstream, or it does not matter.
const ADOPTED: &[&str] = &["log: get_header_map_pairs"];

#[test]
fn beside_a_native_tracer_each_request_costs_less() {
    use Direction::{Inbound, Outbound};
    let mark = |callback: &str| MARK.iter().map(|call| format!("{callback}: {call}")).collect::<Vec<_>>();
    let early = mark("response_headers");
    let early = &*early.iter().map(String::as_str).collect::<Vec<_>>();
    let counted = &["response_headers: get_current_time_nanoseconds"];
    let counted_late = &["log: get_current_time_nanoseconds"];
    // Direction, a caller or none, what the native tracer says, status.
    let table: &[(&str, (Direction, bool, &str, &str), usize, &[&[&str]])] = &[
        ("unsampled success", (Inbound, true, "00", "200"), 5, &[START_BESIDE, INBOUND, END_OF_BODY]),
        ("unsampled success", (Outbound, true, "00", "200"), 5, &[START_BESIDE, OUTBOUND, END]),
        ("sampled success", (Inbound, true, "01", "200"), 5, &[START_BESIDE, INBOUND, END_OF_BODY]),
        ("sampled success", (Outbound, true, "01", "200"), 5, &[START_BESIDE, OUTBOUND, END]),
        ("a success that began here", (Inbound, false, "00", "200"), 6, &[START_BESIDE, LATE_MARK, END_OF_BODY]),
        ("a success that began here", (Outbound, false, "00", "200"), 5, &[START_BESIDE, OUTBOUND, END]),
        ("kept", (Inbound, true, "00", "503"), 9, &[START_BESIDE, INBOUND, counted, SIGNAL, END_OF_BODY, SPAN]),
        ("kept", (Outbound, true, "00", "503"), 11, &[START_BESIDE, OUTBOUND, counted, early, END, SPAN]),
        (
            "a native tracer exports it",
            (Inbound, true, "01", "503"),
            8,
            &[START_BESIDE, INBOUND, counted, SIGNAL, END_OF_BODY, ADOPTED],
        ),
        (
            "kept, and began here",
            (Inbound, false, "00", "503"),
            8,
            &[START_BESIDE, LATE_MARK, END_OF_BODY, counted_late, &["log: call_foreign_function expr_evaluate"]],
        ),
    ];
    for (what, (direction, caller, flags, status), total, expected) in table {
        let mut world = World::new(ADOPT);
        for _ in 0..2 {
            world.tick_after(FLUSH);
            world.respond_all(200);
            world.forget_calls();
            let request = if *caller { traced("00") } else { get("/api/users/42") };
            let stream = world.request(*direction, &request);
            let sent = format!("00-{}-b7ad6b7169203331-{flags}", super::traffic::TRACE);
            stream.router_sends(with(&request, &[("traceparent", &sent), ("tracestate", "")]));
            stream.response(&[(":status", *status)]);
            stream.finish(EndFacts::default());
        }
        expect(&format!("{what}, {direction:?}"), &world.calls(), *total, expected);
    }
}

/// What may still come after the headers is looked for at the end only where something has gone wrong.
#[test]
fn a_success_costs_the_same_with_a_body_and_without() {
    use Direction::{Inbound, Outbound};
    let bodies = [("none", false, 5), ("at once", true, 5), ("104 ms after 100 ms", true, 104)];
    for (direction, expected) in [(Inbound, INBOUND), (Outbound, OUTBOUND)] {
        for (what, with_body, millis) in bodies {
            let mut world = World::new(ERRORS_ONLY);
            for _ in 0..2 {
                world.forget_calls();
                let stream = world.request(direction, traced("00"));
                match with_body {
                    true if millis == 5 => stream.response(&[(":status", "200")]),
                    true => stream.response(&[(":status", "200"), ("x-envoy-upstream-service-time", "100")]),
                    false => stream.whole_response(&[(":status", "200"), ("content-length", "0")]),
                }
                stream.finish(EndFacts::default().after(Duration::from_millis(millis)));
            }
            let end = if with_body && direction == Inbound { END_OF_BODY } else { END };
            expect(&format!("{direction:?}, body: {what}"), &world.calls(), 6, &[START, expected, end]);
        }
    }
}

/// Inbound only, and only where an error below can have come too late for the response headers.
#[test]
fn a_stream_that_goes_on_for_long_or_is_reset_looks_for_a_mark_once_more() {
    use Direction::{Inbound, Outbound};
    const DISCONNECT: u64 = 1 << 14;
    type Row = (&'static str, Option<&'static [(&'static str, &'static str)]>, EndFacts, usize);
    let long = || EndFacts::default().after(Duration::from_millis(50));
    let gone = || EndFacts { flags: DISCONNECT, code: Some(0), ..EndFacts::default() };
    let table: [Row; 5] = [
        ("a long body", Some(&[(":status", "200")]), long(), 2),
        ("late headers", Some(&[(":status", "200"), ("x-envoy-upstream-service-time", "46")]), long(), 1),
        (
            "a long body after late headers",
            Some(&[(":status", "200"), ("x-envoy-upstream-service-time", "40")]),
            long(),
            2,
        ),
        ("reset in its body", Some(&[(":status", "200")]), gone(), 2),
        ("reset before headers", None, gone(), 1),
    ];
    for (what, response, end, inbound) in table {
        for (direction, expected) in [(Inbound, inbound), (Outbound, 0)] {
            let mut world = World::new(ERRORS_ONLY);
            let stream = world.request(direction, traced("00"));
            world.forget_calls();
            if let Some(headers) = response {
                stream.response(headers);
            }
            stream.finish(end.clone());
            let calls = world.calls();
            assert_eq!(all(&calls, "proxy_get_shared_data"), expected, "{what}, {direction:?}\n{}", calls.table());
        }
    }
}

#[test]
fn without_cel_each_attribute_is_a_host_call_of_its_own() {
    use Direction::{Inbound, Outbound};
    for (direction, total, expected) in [
        (Inbound, 22, &[START, INBOUND, END, ONE_BY_ONE, SERVER]),
        (Outbound, 19, &[START, OUTBOUND, END, ONE_BY_ONE, CLIENT]),
    ] {
        let mut world = World::idle(Process::default());
        world.know_no_cel();
        world.boot(super::start_filter, KEEP_ALL);
        expect("sampled", &of_one(&mut world, (KEEP_ALL, direction, "01", "200", None)), total, expected);
    }
}

#[test]
fn before_envoy_1_40_a_root_context_asks_only_once_for_the_direction() {
    for (minor, reads_of_two_requests) in [(36, 1), (39, 1), (40, 2), (41, 2)] {
        let mut world = World::idle(Process::default());
        world.set_node(&["xds", "node", "user_agent_build_version", "version", "major_number"], 1_i64);
        world.set_node(&["xds", "node", "user_agent_build_version", "version", "minor_number"], minor);
        world.boot(super::start_filter, ERRORS_ONLY);
        for _ in 0..2 {
            let stream = world.request(Direction::Inbound, traced("00"));
            stream.response(&[(":status", "200")]);
            stream.finish(EndFacts::default());
        }
        assert_eq!(reads(&world.calls(), "xds.listener_direction"), reads_of_two_requests, "1.{minor}");
    }
}

fn expect(what: &str, calls: &Calls, total: usize, expected: &[&[&str]]) {
    let mut seen: Vec<_> = calls.iter().map(line).collect();
    let mut expected = expected.concat();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{what}");
    assert_eq!(calls.total(), total, "{what}");
}

fn line(call: &super::engine::Call) -> String {
    let callback = call.callback.trim_start_matches("on_");
    let function = call.function.trim_start_matches("proxy_");
    let detail = call.detail.replace("upstream_peer", "PEER").replace("downstream_peer", "PEER");
    format!("{callback}: {function} {detail}").trim_end().to_owned()
}

/// The host calls of one request, after the first has warmed everything up.
fn of_one_request(request: Request) -> Calls {
    of_one(&mut World::new(request.0), request)
}

fn of_one(world: &mut World, (_, direction, flags, status, grpc): Request) -> Calls {
    for _ in 0..2 {
        world.tick_after(FLUSH);
        world.respond_all(200);
        world.forget_calls();
        let request = traced(flags);
        let stream = match grpc {
            Some(_) => world.request(direction, request.with("content-type", "application/grpc")),
            None => world.request(direction, request),
        };
        stream.response(&[(":status", status)]);
        if let Some(code) = grpc {
            stream.trailers(&[("grpc-status", code)]);
        }
        stream.finish(EndFacts::default());
    }
    world.calls()
}

#[test]
fn no_request_makes_a_call_that_can_wait_for_the_tick() {
    for (configuration, status) in [(ERRORS_ONLY, "200"), (KEEP_ALL, "200"), (ERRORS_ONLY, "503")] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let calls = of_one_request((configuration, direction, "00", status, None));
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
            let calls = of_one_request((configuration, direction, flags, status, None));
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
