//! An error keeps every span from the root to it, through sidecars, gateways, retries and applications that mask it.

use super::attributes::{Direction, EndFacts};
use super::collector::ExportedSpan;
use super::headers::HeaderMap;
use super::mesh::{Answer, Mesh};
use super::traffic::{ERRORS_ONLY, FLUSH, TRACE, get, traced};
use super::world::World;

/// [`Mesh::of_four`] with this file's configuration.
fn mesh(broken: u16, masked: Option<u16>, attempts: u64) -> Mesh {
    Mesh::of_four(ERRORS_ONLY, broken, masked, attempts)
}

/// Services and kinds from the root down, following parents; fails if the parent of a span is missing.
fn path(spans: &[(&'static str, ExportedSpan)]) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut parent = String::new();
    while let Some((service, span)) = spans.iter().find(|(_, span)| span.parent_id() == parent) {
        out.push((*service, span.kind()));
        parent = span.span_id();
    }
    assert_eq!(out.len(), spans.len(), "every span is on one path: {spans:#?}");
    out
}

const FULL_PATH: &[(&str, &str)] = &[
    ("gateway", "SERVER"),
    ("front", "SERVER"),
    ("front", "CLIENT"),
    ("back", "SERVER"),
    ("back", "CLIENT"),
    ("db", "SERVER"),
];

fn expected() -> Vec<(&'static str, String)> {
    FULL_PATH.iter().map(|(service, kind)| (*service, (*kind).to_owned())).collect()
}

#[test]
fn every_span_from_the_gateway_to_the_failing_hop_is_kept_and_linked() {
    let cases = [
        ("the failure is passed on", 503, None, 1),
        ("the application masks it", 503, Some(200), 1),
        ("Envoy retries in vain", 503, None, 2),
        ("a reset instead of a status", 0, None, 1),
        ("a reset that is masked", 0, Some(200), 1),
    ];
    for (case, broken, masked, attempts) in cases {
        let mesh = mesh(broken, masked, attempts);
        let reply = mesh.request("front", get("/"));
        let spans = mesh.spans();
        let attempts_of_db = spans.iter().filter(|(service, _)| *service == "db").count();
        assert_eq!(attempts_of_db, usize::try_from(attempts).expect("small"), "{case}");
        let mut first_attempt = spans.clone();
        let last = first_attempt.iter().rposition(|(service, _)| *service == "db").filter(|_| attempts > 1);
        last.map(|index| first_attempt.remove(index));
        assert_eq!(path(&first_attempt), expected(), "{case}");
        assert_eq!(reply.headers.first("server-timing"), None, "{case}: the signal never reaches the client");
        assert_eq!(reply.headers.first("traceresponse"), None, "{case}");
    }
}

#[test]
fn grpc_is_heard_in_trailers_and_headers_and_through_a_caller_that_masks_it() {
    use Answer::{Grpc, Http, TrailersOnly};
    for (broken, masks) in
        [Grpc(13), TrailersOnly(14), Http(503), Http(0)].into_iter().flat_map(|b| [(b, false), (b, true)])
    {
        let mesh = Mesh::new(ERRORS_ONLY)
            .service("front", |hop| Grpc(hop.call_grpc("back")))
            .service("back", move |hop| match hop.call_grpc("db") {
                failed if !masks && failed != 0 => TrailersOnly(failed),
                _ => Grpc(0),
            })
            .service("db", move |_| broken);
        let reply = mesh.request("front", get("/shop.Cart/Add").with("content-type", "application/grpc"));
        assert_eq!(path(&mesh.spans()), expected(), "{broken:?} masked: {masks}");
        assert_eq!(reply.headers.first("server-timing"), None, "{broken:?} masked: {masks}");
    }
    for fine in [Grpc(0), TrailersOnly(0), Grpc(5)] {
        let mesh =
            Mesh::new(ERRORS_ONLY).service("front", |hop| Grpc(hop.call_grpc("db"))).service("db", move |_| fine);
        mesh.request("front", get("/shop.Cart/Add").with("content-type", "application/grpc"));
        assert_eq!(mesh.spans().len(), 0, "{fine:?} is no failure of the server's");
    }
}

#[test]
fn what_an_earlier_call_of_the_same_trace_met_is_no_news_of_a_later_one() {
    let failed_once = std::cell::Cell::new(false);
    let mesh = Mesh::new(ERRORS_ONLY)
        .service("front", |hop| hop.call_retrying("back", 2))
        .service("back", |hop| hop.call("db"))
        .service("db", move |_| if failed_once.replace(true) { 200 } else { 503 });
    assert_eq!(mesh.request("front", get("/")).status, 200);
    assert_eq!(path(&mesh.spans()), expected(), "the second attempt succeeded, all the way down");
}

#[test]
fn a_success_leaves_nothing() {
    let mesh = mesh(200, None, 1);
    assert_eq!(mesh.request("front", get("/")).status, 200);
    assert_eq!(mesh.spans().len(), 0);
}

#[test]
fn a_retry_that_succeeds_keeps_the_path_to_the_attempt_that_failed() {
    let failed_once = std::cell::Cell::new(false);
    let mesh = Mesh::new(ERRORS_ONLY)
        .service("front", |hop| hop.call_retrying("back", 2))
        .service("back", move |_| if failed_once.replace(true) { 200 } else { 503 });
    assert_eq!(mesh.request("front", get("/")).status, 200);
    let spans = mesh.spans();
    let expected: Vec<_> = expected().into_iter().take(4).collect();
    assert_eq!(path(&spans), expected);
}

#[test]
fn a_signal_for_another_trace_changes_nothing_and_one_for_the_own_trace_is_removed() {
    let other = "0af7651916cd43dd8448eb211c80319c";
    for (trace, kept) in [(other, 0), (TRACE, 1)] {
        let mut world = World::new(ERRORS_ONLY);
        let stream = world.request(Direction::Outbound, traced("00"));
        let signal = format!("db;dur=53, trace;desc=00-{trace}-b7ad6b7169203331-01;th=0");
        stream.response(HeaderMap::from(&[(":status", "200"), ("server-timing", signal.as_str())]));
        let seen = stream.downstream_headers();
        if kept == 1 {
            assert_eq!(seen.text("server-timing").as_deref(), Some("db;dur=53"), "other metrics stay");
        }
        stream.finish(EndFacts::default());
        world.tick_after(FLUSH);
        assert_eq!(world.exported().len(), kept, "{trace}");
    }
}
