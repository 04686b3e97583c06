//! The world itself, tried with a filter that calls every host function through the SDK.

use super::attributes::{Direction, EndFacts};
use super::collector::{Cluster, End};
use super::engine::{Fault, INTERNAL_FAILURE};
use super::headers::HeaderMap;
use super::mesh::Mesh;
use super::process::Process;
use super::symbols::{self, Guest};
use super::world::World;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType, MetricType, Status};
use std::time::{Duration, SystemTime};

fn start() {
    symbols::load(Guest::Sdk);
    proxy_wasm::set_root_context(|_| Box::new(Probe::default()));
}

fn world(configuration: &str) -> World {
    World::with_filter(start, Process::default(), configuration)
}

/// Counts, calls out, and finishes late if its configuration says so.
#[derive(Default)]
struct Probe {
    configuration: String,
    finished_calls: Vec<(usize, Option<Vec<u8>>)>,
}

struct ProbeStream;

fn say(text: impl AsRef<str>) {
    hostcalls::log(LogLevel::Info, text.as_ref()).expect("log");
}

impl Context for Probe {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, trailers: usize) {
        let all = hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders).expect("map");
        assert_eq!(all.len(), headers);
        let trailer = hostcalls::get_map_value(MapType::HttpCallResponseTrailers, "t").expect("map");
        let text = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body).expect("buffer");
        say(format!("reply {headers} {text:?} {trailers} {trailer:?}"));
        self.finished_calls.push((headers, text));
        if self.configuration == "late" {
            hostcalls::done().expect("done");
        }
    }

    fn on_done(&mut self) -> bool {
        say("root done");
        self.configuration != "late"
    }
}

impl RootContext for Probe {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes =
            hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).expect("buffer").unwrap_or_default();
        self.configuration = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(self.configuration.len(), size);
        hostcalls::set_tick_period(Duration::from_secs(1)).expect("tick");
        assert_eq!(hostcalls::get_property(vec!["request", "path"]), Ok(None));
        self.configuration != "refuse"
    }

    fn on_tick(&mut self) {
        let now = hostcalls::get_current_time().expect("time").duration_since(SystemTime::UNIX_EPOCH).expect("after");
        say(format!("tick {}", now.as_secs()));
        let headers = vec![(":method", "POST"), (":path", "/"), (":authority", "c")];
        let sent = hostcalls::dispatch_http_call("c", headers, Some(b"body"), vec![("t", "v")], Duration::from_secs(1));
        say(format!("sent {}", sent.is_ok()));
        say(format!(
            "bare {:?}",
            hostcalls::dispatch_http_call("c", vec![], None, vec![], Duration::from_secs(1)).err()
        ));
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(ProbeStream))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for ProbeStream {
    fn on_done(&mut self) -> bool {
        say("stream done");
        true
    }
}

impl HttpContext for ProbeStream {
    fn on_http_request_headers(&mut self, count: usize, _: bool) -> Action {
        let map = MapType::HttpRequestHeaders;
        assert_eq!(hostcalls::get_map_bytes(map).expect("map").len(), count);
        hostcalls::set_map_value_bytes(map, "twice", Some(b"\xfe")).expect("set");
        hostcalls::add_map_value(map, "added", "1").expect("add");
        hostcalls::add_map_value(map, "added", "2").expect("add");
        hostcalls::remove_map_value(map, "gone").expect("remove");
        assert_eq!(hostcalls::get_map(MapType::HttpResponseHeaders), Ok(Vec::new()));
        assert_eq!(self.get_property(vec!["request", "duration"]), None);
        assert_eq!(self.get_property(vec!["xds", "listener_direction"]), Some(1_i64.to_le_bytes().to_vec()));
        shared_data();
        metrics();
        assert_eq!(hostcalls::call_foreign_function("nothing", None), Err(Status::NotFound));
        let packed = hostcalls::call_foreign_function("compress", Some(b"aaaa")).expect("compress").expect("bytes");
        assert_eq!(packed[0], 0x78, "a zlib stream");
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        assert_eq!(hostcalls::get_map_value(MapType::HttpResponseHeaders, ":status"), Ok(Some("503".to_owned())));
        assert_eq!(self.get_property(vec!["request", "path"]), None, "the request cannot be read any more");
        assert_eq!(self.get_property(vec!["response", "code"]), None, "only in on_log");
        hostcalls::set_map_value(MapType::HttpResponseHeaders, "x", Some("y")).expect("set");
        Action::Continue
    }

    fn on_log(&mut self) {
        assert_eq!(hostcalls::get_map_value(MapType::HttpResponseTrailers, "grpc-status"), Ok(None), "no panic here");
        let twice = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "twice").expect("readable");
        say(format!("log {twice:?}"));
        let duration = self.get_property(vec!["request", "duration"]).expect("readable");
        assert_eq!(duration, 5_000_000_i64.to_le_bytes());
        say(format!("code {:?}", self.get_property(vec!["response", "code"])));
    }
}

fn shared_data() {
    hostcalls::set_shared_data("k", Some(b"v"), None).expect("set");
    let (value, cas) = hostcalls::get_shared_data("k").expect("get");
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
    hostcalls::set_shared_data("k", Some(b"w"), cas).expect("current number");
    assert_eq!(hostcalls::set_shared_data("k", Some(b"x"), cas), Err(Status::CasMismatch));
    assert_eq!(hostcalls::get_shared_data("none"), Ok((None, None)));
}

fn metrics() {
    let counter = hostcalls::define_metric(MetricType::Counter, "probe_total").expect("define");
    let again = hostcalls::define_metric(MetricType::Counter, "probe_total").expect("define");
    assert_ne!(counter, again);
    let before = hostcalls::get_metric(counter).expect("defined");
    hostcalls::increment_metric(counter, 2).expect("increment");
    assert_eq!(hostcalls::increment_metric(again, 0), Err(Status::BadArgument));
    assert_eq!(hostcalls::get_metric(again), Ok(before + 2), "one name, one metric");
    let gauge = hostcalls::define_metric(MetricType::Gauge, "probe_gauge").expect("define");
    hostcalls::record_metric(gauge, 7).expect("record");
    hostcalls::increment_metric(gauge, -3).expect("increment");
    assert_eq!(hostcalls::get_metric(gauge), Ok(4));
    assert_eq!(hostcalls::record_metric(u32::MAX, 1), Err(Status::NotFound));
}

fn request() -> HeaderMap {
    HeaderMap::from(&[(":method", "GET"), (":path", "/p?q"), ("twice", "1"), ("twice", "2"), ("gone", "x")])
}

#[test]
fn a_stream_walks_through_every_phase_with_the_maps_of_that_phase() {
    let mut world = world("plain");
    let stream = world.request(Direction::Inbound, request());
    let expected = HeaderMap::from(&[(":method", "GET"), (":path", "/p?q")]).with("twice", b"\xfe");
    assert_eq!(stream.upstream_headers(), expected.with("added", "1").with("added", "2"));
    stream.response(&[(":status", "503")]);
    assert_eq!(stream.downstream_headers().text("x").as_deref(), Some("y"));
    stream.finish(EndFacts::default());
    assert_eq!(texts(&world), ["log Some([254])", "code Some([247, 1, 0, 0, 0, 0, 0, 0])", "stream done"]);
    assert_eq!((world.metric("probe_total"), world.metric("probe_gauge")), (2, 4));
    assert_eq!(world.calls().count("on_log", "proxy_get_property"), 2, "{}", world.calls().table());
}

#[test]
fn a_request_that_the_filter_never_met_is_still_logged() {
    let mut world = world("plain");
    world.unseen(Direction::Inbound, request()).finish(EndFacts::reset());
    assert_eq!(texts(&world), ["log Some([49])", "code None", "stream done"]);
}

#[test]
fn timers_fire_by_the_fake_clock_and_calls_are_scripted() {
    let mut world = world("plain");
    world.tick_after(Duration::from_millis(999));
    assert_eq!(world.sent().len(), 0);
    world.tick_after(Duration::from_millis(1_001));
    let calls = world.pending();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].cluster.as_str(), &calls[0].body[..], calls[0].timeout_ms), ("c", &b"body"[..], 1_000));
    assert_eq!(calls[0].trailers.text("t").as_deref(), Some("v"));
    world.respond(calls[1].token, &[(":status", "200"), ("a", "b")], b"hello", &[("t", "v")]);
    world.respond(calls[0].token, HeaderMap::default(), b"", HeaderMap::default());
    let expected = ["tick 1767225601", "sent true", "bare Some(BadArgument)", "tick 1767225602", "sent true"];
    assert_eq!(texts(&world)[..5], expected);
    assert_eq!(texts(&world)[6..], ["reply 2 Some([104, 101, 108, 108, 111]) 1 Some(\"v\")", "reply 0 None 0 None"]);
    assert_eq!(world.sent().iter().map(|call| call.end).collect::<Vec<_>>(), [End::Answered(0), End::Answered(200)]);
}

#[test]
fn clusters_refuse_as_told() {
    let mut world = world("plain");
    for (state, sent) in [(Cluster::Unknown, 0), (Cluster::NoHost, 0), (Cluster::Healthy, 1)] {
        world.set_cluster("c", state);
        world.tick_after(Duration::from_secs(1));
        assert_eq!(world.sent().len(), sent, "{state:?}");
    }
}

#[test]
fn an_old_root_ends_with_its_last_stream_and_waits_for_its_last_word() {
    let mut world = world("late");
    let old = world.root();
    let stream = world.request(Direction::Inbound, request());
    world.tick_after(Duration::from_secs(1));
    assert!(world.reconfigure("plain").accepted());
    assert!(old.lives() && !texts(&world).contains(&"root done".to_owned()), "a stream holds it");
    stream.finish(EndFacts::default());
    assert!(old.lives() && texts(&world).contains(&"root done".to_owned()), "it answered false");
    world.respond_all(200);
    assert!(!old.lives(), "it said proxy_done");
    assert!(!world.reconfigure("refuse").accepted());
    assert!(world.root().lives());
}

#[test]
fn calls_of_a_deleted_root_are_cancelled() {
    let mut world = world("plain");
    world.tick_after(Duration::from_secs(1));
    world.root().retire();
    assert_eq!(world.sent()[0].end, End::Cancelled);
}

#[test]
fn a_chosen_call_fails_and_only_that() {
    let mut world = world("plain");
    world.set_faults(|call| {
        (call.callback == "on_tick" && call.function == "proxy_http_call").then_some(Fault::Status(INTERNAL_FAILURE))
    });
    world.tick_after(Duration::from_secs(1));
    world.clear_faults();
    world.tick_after(Duration::from_secs(1));
    assert_eq!(texts(&world)[1..3], ["sent false", "bare Some(InternalFailure)"]);
    assert_eq!(texts(&world)[4], "sent true");
}

#[test]
fn workers_of_one_process_share_data_and_metrics_and_others_do_not() {
    let process = Process::default();
    let of = |process: Process| {
        let job = move || {
            let mut world = World::with_filter(start, process, "plain");
            world.request(Direction::Inbound, request()).finish(EndFacts::default());
            (world.metric("probe_total"), world.process().all_shared())
        };
        std::thread::spawn(job).join().expect("no panic")
    };
    assert_eq!(of(process.clone()).0, 2);
    assert_eq!(of(process.clone()), (4, vec![(b"k".to_vec(), b"w".to_vec())]));
    assert_eq!(of(Process::default()).0, 2);
}

fn texts(world: &World) -> Vec<String> {
    world.log(2).into_iter().map(|line| line.text).collect()
}

/// Writes down which listener a request went through, in the request, in the response and in shared data.
struct Stamp;

impl Context for Stamp {}

impl HttpContext for Stamp {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let listener = self.get_property(vec!["xds", "listener_direction"]).expect("known")[0].to_string();
        hostcalls::add_map_value(MapType::HttpRequestHeaders, "baggage", &listener).expect("add");
        let (seen, cas) = hostcalls::get_shared_data("seen").expect("get");
        let seen = [seen.unwrap_or_default(), listener.into_bytes()].concat();
        hostcalls::set_shared_data("seen", Some(&seen), cas).expect("set");
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let (seen, _) = hostcalls::get_shared_data("seen").expect("get");
        let seen = String::from_utf8(seen.unwrap_or_default()).expect("digits");
        hostcalls::add_map_value(MapType::HttpResponseHeaders, "seen", &seen).expect("add");
        Action::Continue
    }
}

fn start_stamping() {
    symbols::load(Guest::Sdk);
    proxy_wasm::set_http_context(|_, _| Box::new(Stamp));
}

#[test]
fn in_a_mesh_requests_carry_headers_through_applications_and_responses_do_not() {
    let mesh = Mesh::with_filter(start_stamping, "")
        .service("front", |hop| {
            assert_eq!(hop.headers.all("baggage"), [b"2", b"1"], "the gateway's listener, then the own one");
            let reply = hop.call_with("back", hop.copied());
            assert_eq!(reply.headers.all("seen"), [b"1".to_vec(), b"12".to_vec()], "both workers of this sidecar meet");
            reply.status
        })
        .service("back", |hop| {
            assert_eq!(hop.headers.all("baggage"), [b"2", b"1", b"2", b"1"]);
            503
        });
    let reply = mesh.request("front", &[(":method", "GET")]);
    assert_eq!((reply.status, reply.headers.all("seen")), (503, vec![b"12".to_vec(), b"2".to_vec()]));
}
