//! Beside Envoy's own tracer: its ids are adopted, nothing is written, and what it exports itself is not exported twice.

use super::attributes::{Direction, EndFacts};
use super::headers::HeaderMap;
use super::mesh::{Hop, Mesh};
use super::native::Provider;
use super::traffic::{FLUSH, PARENT, TRACE, get, traced};
use super::world::World;

/// Errors are kept, beside Envoy's own tracer.
pub const ADOPT: &str = r#"{"nativeTracer": "adopt", "exporter": {"otlp": {"cluster": "collector"}}}"#;

/// The span that the native tracer sends upstream.
const SENT: &str = "b7ad6b7169203331";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

/// `adopted sampled absent unsent`, as counted.
fn counts(world: &World) -> [u64; 4] {
    ["adopted", "sampled", "absent", "unsent"].map(|name| world.metric(&format!("sidespan_native_{name}_total")))
}

/// Headers after some were set.
pub fn with(headers: &HeaderMap, changes: &[(&str, &str)]) -> HeaderMap {
    let mut headers = headers.clone();
    changes.iter().for_each(|(name, value)| headers.set(name.as_bytes(), value.as_bytes()));
    headers
}

#[test]
fn an_error_has_the_ids_that_went_upstream_and_the_parent_that_came_in() {
    let w3c = |trace: &str, span: &str, flags: &str| format!("00-{trace}-{span}-{flags}");
    let (came, sent) = (w3c(TRACE, PARENT, "00"), w3c(TRACE, SENT, "00"));
    let (sampled, other) = (w3c(TRACE, SENT, "01"), w3c(OTHER, PARENT, "01"));
    let b3 = |span: &'static str, sampled: &'static str| {
        vec![("x-b3-traceid", TRACE), ("x-b3-spanid", span), ("x-b3-sampled", sampled)]
    };
    let stale = || [vec![("traceparent", other.as_str())], b3(PARENT, "0")].concat();
    let single = format!("{TRACE}-{PARENT}-0");
    let stale_b3 =
        || vec![("traceparent", came.as_str()), ("b3", "0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-1")];
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    // What came, what the tracer changed, the parent, what is counted.
    let table: Vec<(&str, Headers<'_>, Headers<'_>, &str, [u64; 4])> = vec![
        (
            "OpenTelemetry",
            vec![("traceparent", &came)],
            vec![("traceparent", &sent), ("tracestate", "")],
            PARENT,
            [1, 0, 0, 0],
        ),
        ("OpenTelemetry, a root", vec![], vec![("traceparent", &sent), ("tracestate", "")], "", [1, 0, 0, 0]),
        ("OpenTelemetry, sampled", vec![("traceparent", &came)], vec![("traceparent", &sampled)], PARENT, [0, 1, 0, 0]),
        ("OpenTelemetry, a sampled root", vec![], vec![("traceparent", &sampled)], "", [0, 1, 0, 0]),
        ("OpenTelemetry, b3 is stale", stale_b3(), vec![("traceparent", &sent)], PARENT, [1, 0, 0, 0]),
        ("Zipkin", b3(PARENT, "0"), b3(SENT, "0"), PARENT, [1, 0, 0, 0]),
        ("Zipkin, a root", vec![], b3(SENT, "0"), "", [1, 0, 0, 0]),
        ("Zipkin, sampled", b3(PARENT, "0"), b3(SENT, "1"), PARENT, [0, 1, 0, 0]),
        ("Zipkin, a caller with one header", vec![("b3", &single)], b3(SENT, "0"), PARENT, [1, 0, 0, 0]),
        ("Zipkin, traceparent is stale", stale(), b3(SENT, "0"), PARENT, [1, 0, 0, 0]),
    ];
    for (case, came, changed, parent, expected) in &table {
        for direction in [Direction::Inbound, Direction::Outbound, Direction::Unspecified] {
            let mut world = World::new(ADOPT);
            let request = with(&get("/api/users/42"), came);
            let stream = world.request(direction, &request);
            assert_eq!(stream.upstream_headers(), request, "{case}: nothing is written");
            stream.router_sends(with(&request, changed));
            stream.response(&[(":status", "503")]);
            stream.finish(EndFacts::default());
            world.tick_after(FLUSH);
            assert_eq!(counts(&world), *expected, "{case}, {direction:?}");
            let spans = world.exported();
            assert_eq!(spans.len(), usize::from(expected[1] == 0), "{case}, {direction:?}");
            if let Some(span) = spans.first() {
                let ids = (span.trace_id(), span.span_id(), span.parent_id());
                assert_eq!(ids, (TRACE.to_owned(), SENT.to_owned(), (*parent).to_owned()), "{case}, {direction:?}");
                assert_eq!(span.threshold().as_deref(), Some("0"), "{case}: every error is kept");
                assert_eq!(span.resource("service.name").as_deref(), Some("shop.store"), "as Istio names it");
            }
        }
    }
}

#[test]
fn a_success_is_left_to_the_native_tracer_whether_it_samples_or_not() {
    for flags in ["00", "01"] {
        for status in ["200", "404"] {
            let mut world = World::new(ADOPT);
            let stream = world.request(Direction::Inbound, traced(flags));
            stream.router_sends(with(&traced(flags), &[("traceparent", &format!("00-{TRACE}-{SENT}-{flags}"))]));
            stream.response(&[(":status", status)]);
            stream.finish(EndFacts::default());
            world.tick_after(FLUSH);
            assert_eq!((world.exported().len(), counts(&world)), (0, [0; 4]), "{flags} {status}");
        }
    }
}

#[test]
fn what_matters_is_kept_for_its_own_reason() {
    const DISCONNECT: u64 = 1 << 14;
    let slow = r#"{"nativeTracer": "adopt", "exporter": {"otlp": {"cluster": "collector"}},
        "sampling": {"slow": {"threshold": "3ms"}}}"#;
    let signal = format!("trace;desc=00-{TRACE}-{SENT}-01;th=0");
    let gone = || EndFacts { flags: DISCONNECT, code: Some(0), ..EndFacts::default() };
    type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Option<Vec<(&'a str, &'a str)>>, EndFacts);
    let table: Vec<Row<'_>> = vec![
        ("error", ADOPT, vec![], Some(vec![(":status", "500")]), EndFacts::default()),
        ("error", ADOPT, vec![], None, EndFacts::reset()),
        ("slow", slow, vec![], Some(vec![(":status", "200")]), EndFacts::default()),
        ("marked", ADOPT, vec![], Some(vec![(":status", "200"), ("server-timing", &signal)]), EndFacts::default()),
        ("cancelled", ADOPT, vec![], None, gone()),
        ("debug", ADOPT, vec![("b3", "d")], Some(vec![(":status", "200")]), EndFacts::default()),
        ("debug", ADOPT, vec![("x-b3-flags", "1")], Some(vec![(":status", "200")]), EndFacts::default()),
    ];
    for (reason, configuration, extra, response, end) in table {
        // A caller, and a trace that starts here.
        for came in [traced("00"), get("/api/users/42")] {
            let mut world = World::new(configuration);
            let request = with(&came, &extra);
            let stream = world.request(Direction::Outbound, &request);
            stream
                .router_sends(with(&request, &[("traceparent", &format!("00-{TRACE}-{SENT}-00")), ("tracestate", "")]));
            if let Some(headers) = &response {
                stream.response(headers.as_slice());
            }
            stream.finish(end.clone());
            world.tick_after(FLUSH);
            let spans = world.exported();
            assert_eq!(spans.len(), 1, "{reason}: {came:?}");
            assert_eq!(spans[0].attribute("sidespan.sampling.reason").as_deref(), Some(reason), "{came:?}");
            assert_eq!((spans[0].span_id().as_str(), spans[0].threshold().as_deref()), (SENT, Some("0")), "{reason}");
        }
    }
}

#[test]
fn where_nothing_was_sent_the_span_has_ids_of_its_own_below_what_came_in() {
    let nothing = || EndFacts { attempts: 0, ..EndFacts::default() };
    // The tracer is off; a route answers; an earlier filter answers.
    for (seen, end, expected, lines) in [
        (true, EndFacts::default(), [0, 0, 2, 0], 1),
        (true, nothing(), [0, 0, 0, 2], 0),
        (false, nothing(), [0, 0, 0, 2], 0),
    ] {
        for came in [traced("00"), get("/api/users/42")] {
            let mut world = World::new(ADOPT);
            for _ in 0..2 {
                let stream = match seen {
                    true => world.request(Direction::Inbound, &came),
                    false => world.unseen(Direction::Inbound, &came),
                };
                match seen {
                    true => stream.response(&[(":status", "503")]),
                    false => stream.unseen_response(&[(":status", "503")]),
                }
                stream.finish(end.clone());
            }
            world.tick_after(FLUSH);
            assert_eq!(counts(&world), expected, "{came:?}");
            let warnings = world.log(3);
            assert_eq!(warnings.len(), lines, "{warnings:?}");
            assert!(warnings.iter().all(|line| line.text.contains("nativeTracer is adopt")), "{warnings:?}");
            let spans = world.exported();
            assert_eq!(spans.len(), 2);
            assert_ne!(spans[0].span_id(), spans[1].span_id());
            for span in spans {
                let context = (span.trace_id() == TRACE, span.parent_id() == PARENT);
                let known = came.first("traceparent").is_some();
                assert_eq!(context, (known, known), "{came:?}");
                assert!(span.span_id() != PARENT && span.span_id().len() == 16);
            }
        }
    }
}

#[test]
fn of_a_request_that_never_went_upstream_envoys_note_tells_whether_the_native_tracer_exports_it() {
    const TRACED: &str = "8c0b4f1c-5f0e-9b7a-8d3e-1f6a2b3c4d5e";
    const UNTRACED: &str = "8c0b4f1c-5f0e-4b7a-8d3e-1f6a2b3c4d5e";
    // A tracer was seen at work, the caller's flags, Envoy's note, spans.
    let table = [
        (true, None, TRACED, 0, "both agree"),
        (true, Some("01"), TRACED, 0, "all agree"),
        (true, Some("00"), TRACED, 1, "the caller says no"),
        (true, None, UNTRACED, 1, "Envoy says no"),
        (true, Some("01"), UNTRACED, 1, "Envoy says no, as its tracer follows from 1.39 on"),
        (true, None, "9999999999999999", 1, "no UUID"),
        (false, None, TRACED, 1, "a note without a tracer"),
    ];
    for (at_work, flags, id, expected, why) in table {
        for seen in [true, false] {
            // Worlds of one thread and configuration share what has been seen.
            let mut world = World::new(if at_work { ADOPT.to_owned() } else { format!("{ADOPT} ") });
            if at_work {
                let stream = world.request(Direction::Inbound, traced("00"));
                stream.router_sends(with(&traced("00"), &[("traceparent", &format!("00-{TRACE}-{SENT}-00"))]));
                stream.finish(EndFacts::reset());
            }
            let request = flags.map_or_else(|| get("/"), traced).with("x-request-id", id);
            let stream = match seen {
                true => world.request(Direction::Inbound, &request),
                false => world.unseen(Direction::Inbound, &request),
            };
            stream.finish(EndFacts { code: Some(500), attempts: 0, ..EndFacts::default() });
            world.tick_after(FLUSH);
            let counted = [u64::from(at_work), 1 - expected, 0, expected];
            assert_eq!(counts(&world), counted, "{why}, seen {seen}");
        }
    }
}

#[test]
fn a_native_tracer_that_samples_everything_is_noticed_once() {
    let mut world = World::new(ADOPT);
    let lines =
        |world: &World| world.log(2).iter().filter(|line| line.text.contains("leaves nothing to export")).count();
    for n in 0..1_100 {
        let stream = world.request(Direction::Inbound, traced("01"));
        stream.router_sends(with(&traced("01"), &[("traceparent", &format!("00-{TRACE}-{SENT}-01"))]));
        stream.response(&[(":status", "503")]);
        stream.finish(EndFacts::default());
        if n % 500 == 499 {
            world.tick_after(FLUSH);
            assert_eq!(lines(&world), usize::from(n > 900), "{n}");
        }
    }
    world.tick_after(FLUSH);
    assert_eq!((lines(&world), counts(&world)), (1, [0, 1_100, 0, 0]));
}

#[test]
fn a_filter_in_place_of_a_tracer_that_is_on_says_how_to_adopt_it() {
    let mut world = World::new(super::traffic::KEEP_ALL);
    let stream = world.request(Direction::Inbound, traced("01"));
    stream.router_sends(with(&stream.upstream_headers(), &[("traceparent", &format!("00-{TRACE}-{SENT}-01"))]));
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
    let warnings = world.log(3);
    assert!(warnings.iter().any(|line| line.text.contains("nativeTracer: adopt")), "{warnings:?}");
}

/// Which spans a trace has, from one exporter or the other: service and parent's service, by the native spans.
fn whole(mesh: &Mesh, case: &str) -> (usize, usize) {
    let (ours, native) = (mesh.spans(), mesh.native_spans());
    let sampled = native.iter().filter(|(_, span)| span.sampled).count();
    for (service, span) in &ours {
        let twin = native.iter().find(|(_, native)| native.span_id == span.span_id());
        let (owner, twin) = twin.unwrap_or_else(|| panic!("{case}: {service} has an id that nobody sent"));
        assert_eq!(owner, service, "{case}");
        assert!(!twin.sampled, "{case}: {service} is exported twice");
        assert_eq!(span.trace_id(), twin.trace_id, "{case}: {service}");
    }
    (ours.len(), sampled)
}

#[test]
fn every_span_from_the_gateway_to_the_failing_hop_is_there_from_one_exporter_or_the_other() {
    // Never; at the root, which all follow; never at the root; here and there, as Envoy 1.39's tracer.
    let rules: [(&str, fn(&str, Option<bool>) -> bool); 3] = [
        ("nothing is sampled", |_, asked| asked.unwrap_or(false)),
        ("the root samples", |_, asked| asked.unwrap_or(true)),
        ("each hop by itself", |service, _| service == "front" || service == "db"),
    ];
    let cases = [
        ("the failure is passed on", 503, None, 1),
        ("the application masks it", 503, Some(200), 1),
        ("a reset that is masked", 0, Some(200), 1),
        ("Envoy retries in vain", 503, None, 2),
    ];
    for provider in [Provider::OpenTelemetry, Provider::Zipkin] {
        for spawn in [false, true] {
            for (rule, samples) in rules {
                for (what, broken, masked, attempts) in cases {
                    let case = format!("{provider:?}, spawn {spawn}, {rule}, {what}");
                    let mesh = mesh(broken, masked, attempts).native(provider, spawn, samples);
                    let reply = mesh.request("front", get("/"));
                    assert_eq!(reply.headers.first("server-timing"), None, "{case}");
                    let (ours, native) = whole(&mesh, &case);
                    let all = 6 + usize::try_from(attempts).expect("small") - 1;
                    let expected = match rule {
                        "nothing is sampled" => (all, 0),
                        // Those of the cache as well, and both of the gateway.
                        "the root samples" => (0, all + 2 + usize::from(spawn)),
                        // Of front and db only; back's call of the cache is a success.
                        _ => (3, 2 + usize::try_from(attempts).expect("small")),
                    };
                    assert_eq!((ours, native), expected, "{case}: {:#?}", mesh.spans());
                }
            }
        }
    }
}

/// [`Mesh::of_four`] with this file's configuration.
fn mesh(broken: u16, masked: Option<u16>, attempts: u64) -> Mesh {
    Mesh::of_four(ADOPT, broken, masked, attempts)
}

#[test]
fn filters_in_both_modes_keep_one_path() {
    use super::traffic::ERRORS_ONLY;
    // Which of front, back and db replace the native tracer.
    for others in [["front"].as_slice(), &["back"], &["db"], &["front", "db"]] {
        for provider in [Provider::OpenTelemetry, Provider::Zipkin] {
            for masked in [None, Some(200)] {
                let case = format!("{others:?} replace {provider:?}, masked as {masked:?}");
                let mut mesh = Mesh::new(ADOPT);
                for service in ["front", "back", "db"] {
                    let app = move |hop: &Hop<'_>| match service {
                        "front" => hop.call("back"),
                        "back" => match hop.call("db") {
                            200 => 200,
                            failed => masked.unwrap_or(failed),
                        },
                        _ => 503,
                    };
                    mesh = match others.contains(&service) {
                        true => mesh.other(service, ERRORS_ONLY, app),
                        false => mesh.service(service, app),
                    };
                }
                let mesh = mesh.native(provider, false, |_, asked| asked.unwrap_or(false));
                let reply = mesh.request("front", get("/"));
                assert_eq!(reply.headers.first("server-timing"), None, "{case}");
                let spans = mesh.spans();
                assert_eq!(spans.len(), 6, "{case}: {spans:#?}");
                // One root, and every other span hangs below one of them.
                let ids: Vec<_> = spans.iter().map(|(_, span)| span.span_id()).collect();
                let linked = spans.iter().filter(|(_, span)| ids.contains(&span.parent_id())).count();
                assert_eq!(linked, 5, "{case}: {spans:#?}");
            }
        }
    }
}

#[test]
fn what_a_rule_drops_and_telemetry_pass_untouched() {
    let drop = r#"{"nativeTracer": "adopt", "exporter": {"otlp": {"cluster": "collector"}},
        "sampling": {"rules": [{"match": {"path": ["/api/*"]}, "drop": true}]}}"#;
    let telemetry = with(
        &traced("01"),
        &[(":method", "POST"), (":path", "/v1/traces"), ("content-type", "application/x-protobuf")],
    );
    for (configuration, request) in [(drop, traced("01")), (ADOPT, telemetry)] {
        let mut world = World::new(configuration);
        let stream = world.request(Direction::Inbound, &request);
        assert_eq!(stream.upstream_headers(), request, "nothing is written");
        stream.router_sends(with(&request, &[("traceparent", &format!("00-{TRACE}-{SENT}-00"))]));
        stream.response(&[(":status", "503")]);
        stream.finish(EndFacts::default());
        world.tick_after(FLUSH);
        assert_eq!((world.exported().len(), world.metric("sidespan_requests_ignored_total")), (0, 1));
    }
}

#[test]
fn signals_of_a_trace_that_is_not_known_yet_are_bounded_and_judged_at_the_end() {
    let signal = |trace: &str, number: usize| format!("trace;desc=00-{trace}-{number:016x}-01;th=0");
    let many = |own: usize| {
        (1..=20).map(|number| signal(if number == own { TRACE } else { OTHER }, number)).collect::<Vec<_>>().join(",")
    };
    // Among others at a place within the bound, beyond it, and none of the own trace.
    for (own, kept) in [(1, 1), (8, 1), (9, 0), (99, 0)] {
        let mut world = World::new(ADOPT);
        let stream = world.request(Direction::Unspecified, get("/"));
        stream.router_sends(with(&get("/"), &[("x-b3-traceid", TRACE), ("x-b3-spanid", SENT), ("x-b3-sampled", "0")]));
        stream.response(&[(":status", "200"), ("server-timing", many(own).as_str())]);
        assert_eq!(stream.downstream_headers().first("server-timing"), None);
        stream.finish(EndFacts::default());
        world.tick_after(FLUSH);
        assert_eq!(world.exported().len(), kept, "{own}");
        assert_eq!(world.metric("sidespan_signals_received_total"), kept as u64, "{own}");
        assert_eq!(world.metric("sidespan_signals_ignored_total"), 1 - kept as u64, "{own}");
    }
}

#[test]
fn successes_leave_nothing() {
    let mesh = mesh(200, None, 1).native(Provider::OpenTelemetry, true, |_, asked| asked.unwrap_or(false));
    assert_eq!(mesh.request("front", get("/")).status, 200);
    assert_eq!(whole(&mesh, "success"), (0, 0));
}

#[test]
fn a_masked_error_is_found_where_clients_send_stale_headers_of_another_format() {
    // A browser's traceparent in a Zipkin mesh, and a client's b3 in one of OpenTelemetry: nobody changes them on their way.
    let stale = [
        (Provider::Zipkin, ("traceparent", format!("00-{OTHER}-{PARENT}-01"))),
        (Provider::OpenTelemetry, ("b3", format!("{OTHER}-{PARENT}-1"))),
    ];
    for (provider, (name, value)) in stale {
        let mesh = mesh(503, Some(200), 1).native(provider, false, |_, asked| asked.unwrap_or(false));
        for _ in 0..3 {
            assert_eq!(mesh.request("front", get("/").with(name, &value)).status, 200);
        }
        assert_eq!(whole(&mesh, name), (18, 0), "{provider:?}");
    }
}
