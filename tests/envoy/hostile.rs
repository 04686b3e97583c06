//! Traffic that wants to hurt: nothing in a request or a response may trap the filter, stop its spans or make it grow.

use crate::dialects::{self, ALL};
use crate::stage::{SOON, Stage, config, filter};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener};
use sidespan_harness::client::{RawConnection, RawRequest, RawResponse};
use sidespan_harness::{Envoy, ReceivedSpan, Result, Upstream};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Every header that the filter reads, and some that only land on spans.
const NAMES: &[&str] = &[
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-datadog-origin",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "ot-tracer-traceid",
    "ot-tracer-spanid",
    "ot-tracer-sampled",
    "user-agent",
    "x-evil",
    "x-tenant-id",
    "x-request-id",
    "x-forwarded-for",
    "content-type",
    "grpc-timeout",
];

const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const S: &str = "00f067aa0ba902b7";

/// Values that are right in their place, to be broken.
const VALID: &[&str] = &[
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-00f067aa0ba902b7",
    "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1",
    "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
    "4bf92f3577b34da6a3ce929d0e0e4736/67667974448284343;o=1",
    "ot=th:8;rv:ffffffffffffff,dd=s:2;p:00f067aa0ba902b7;t.dm:-4,a=1",
    "_dd.p.tid=4bf92f3577b34da6,_dd.p.dm=-4",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "11803532876627986230",
    "1",
    "0",
    "-1",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    "true",
    "a=1;p=2,b=%20",
];

/// Everything that reads headers is switched on.
fn everything() -> Value {
    let all = json!(["tracecontext", "b3", "b3multi", "jaeger", "datadog", "xray", "gcp", "ottrace"]);
    config(json!({
        "propagation": {"extract": all, "inject": all, "traceIdResponseHeader": "x-trace-id"},
        "customTags": {"tenant": {"header": {"name": "x-tenant-id", "defaultValue": "none"}}},
        "sampling": {"slow": {"threshold": "10s"}},
        "spans": {
            "requestHeaders": ["x-evil", "traceparent", "baggage"],
            "baggage": ["a", "p"],
            "responseHeaders": ["x-evil", "server-timing", "grpc-message"],
            "redactQuery": ["token"],
            "pathTemplates": ["/api/{id}/x"],
        },
    }))
}

/// A proxy with generous listeners (`inbound`, `outbound`) and one of Envoy's own limits (`strict`).
async fn stage(app: Upstream, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Result<Stage> {
    let configuration = everything();
    let wide =
        |listener: Listener| Ok::<_, anyhow::Error>(listener.filter(filter(&configuration)?).header_limits(8192, 4000));
    let (inbound, outbound) =
        (wide(Listener::inbound("app").named("wide-in"))?, wide(Listener::outbound("app").named("wide-out"))?);
    let add = |bootstrap: Bootstrap| change(bootstrap.listener(inbound).listener(outbound));
    Stage::with(app, &configuration, add).await
}

/// Sends requests over connections that are opened again when Envoy closes them, and remembers the spans that must come.
struct Visitor<'a> {
    envoy: &'a Envoy,
    connections: BTreeMap<&'static str, RawConnection>,
    /// Traces of clean requests: one span each.
    clean: Vec<String>,
    /// Trace and span id of what went upstream, sampled, of hostile ones.
    sent: Vec<(String, String)>,
}

// === impl Visitor ===

impl<'a> Visitor<'a> {
    fn new(envoy: &'a Envoy) -> Self {
        Self { envoy, connections: BTreeMap::new(), clean: Vec::new(), sent: Vec::new() }
    }

    /// `None`: Envoy closed the connection without an answer.
    async fn send(&mut self, listener: &'static str, request: &RawRequest) -> Result<Option<RawResponse>> {
        let mut connection = match self.connections.remove(listener) {
            Some(connection) => connection,
            None => RawConnection::connect(self.envoy.port(listener)?).await?,
        };
        let Ok(response) = connection.exchange(request).await else { return Ok(None) };
        let closes = response.header("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
        if response.complete && !closes {
            self.connections.insert(listener, connection);
        }
        Ok(Some(response))
    }

    /// What a hostile request looked like upstream: all its formats are well-formed and agree.
    fn received(&mut self, app: &Upstream) -> Result<()> {
        let received = app.take();
        let received = received.first().context("nobody got it")?;
        let said = dialects::read(received, ALL)?.into_iter().next().context("no context at all")?;
        if said.sampled == Some(true) {
            self.sent.push((said.trace, said.span));
        }
        Ok(())
    }

    /// The request after: it must pass, and its span is asked for at the end.
    async fn send_clean(&mut self, listener: &'static str) -> Result<()> {
        let trace = format!("c1ea{:028x}", self.clean.len() + 1);
        let request = RawRequest::get("backend", "/clean").header("traceparent", format!("00-{trace}-{S}-01"));
        self.clean.push(trace);
        let response = match self.send(listener, &request).await? {
            Some(response) => response,
            // A connection that Envoy had closed after its answer.
            None => self.send(listener, &request).await?.context("no answer to a clean request")?,
        };
        ensure!(response.status == 200, "a clean request got {}", response.status);
        Ok(())
    }
}

/// Every clean request has its span, every sampled hostile one too, each span keeps the rules of OTLP, nothing trapped.
async fn settle(mut stage: Stage, clean: &[String], sent: &[(String, String)]) -> Result<()> {
    let missing = |spans: &[ReceivedSpan]| -> Vec<String> {
        let traces = count(spans.iter().map(|span| span.trace_id.clone()));
        let ids = count(spans.iter().map(|span| format!("{} {}", span.trace_id, span.span_id)));
        let sent = sent.iter().map(|(trace, span)| format!("{trace} {span}")).filter(|id| ids.get(id) != Some(&1));
        clean.iter().filter(|trace| traces.get(*trace) != Some(&1)).cloned().chain(sent).collect()
    };
    let settled = stage.receiver.wait_until(SOON, |spans| missing(spans).is_empty()).await;
    let missing = missing(&stage.receiver.spans());
    settled.with_context(|| format!("without their one span: {missing:?}"))?;
    for span in stage.receiver.spans() {
        assert!(span.problems.is_empty(), "{span:#?}");
    }
    stage.envoy.assert_no_trap();
    let stats = stage.envoy.stats().await?;
    let errors = stats.get("wasmcustom.sidespan_host_errors_total").copied().unwrap_or_default();
    assert_eq!(errors, 0, "host calls failed");
    Ok(())
}

fn count(all: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    all.fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one).or_default() += 1;
        counts
    })
}

fn hostile_requests() -> Vec<(String, RawRequest)> {
    let get = |path: &str| RawRequest::get("backend", path);
    let parent = format!("00-{T}-{S}-01");
    let mut all = Vec::new();
    for name in NAMES {
        all.push((format!("\\xff in {name}"), get("/").header(name, b"\xff")));
        all.push((format!("\\xff within {name}"), get("/").header(name, [parent.as_bytes(), b"\xff\xc3"].concat())));
        all.push((format!("empty {name}"), get("/").header(name, "")));
        all.push((format!("60 kB of {name}"), get("/").header(name, "a=1,".repeat(15_000))));
        all.push((format!("60 kB of one member in {name}"), get("/").header(name, "z".repeat(60_000))));
        let thrice = get("/").header(name, &parent).header(name, "0").header(name, "");
        all.push((format!("{name} three times"), thrice));
    }
    for byte in (0u8..0x20).chain([0x7f]) {
        let value = [b"a=1", &[byte][..], b"b"].concat();
        for name in ["traceparent", "tracestate", "baggage", "x-evil"] {
            all.push((format!("{byte:#04x} in {name}"), get("/").header(name, &value)));
        }
        let path = [b"/a", &[byte][..], b"?token=", &[byte][..]].concat();
        all.push((
            format!("{byte:#04x} in the path"),
            RawRequest::new("GET", "/").header("host", "a").header("x-evil", path),
        ));
    }
    let many = (0..200).fold(get("/"), |request, n| request.header(format!("x-{n}"), "v"));
    all.push(("200 headers".to_owned(), many.header("traceparent", &parent)));
    let many = (0..1000).fold(get("/"), |request, n| request.header("tracestate", format!("k{n}=1")));
    all.push(("1000 tracestate headers".to_owned(), many.header("traceparent", &parent)));
    let many = (0..1000).fold(get("/"), |request, n| request.header("baggage", format!("k{n}=1")));
    all.push(("1000 baggage headers".to_owned(), many));
    let long = (0..32).map(|n| format!("k{n}={}", "v".repeat(256))).collect::<Vec<_>>().join(",");
    all.push((
        "the longest tracestate".to_owned(),
        get("/").header("traceparent", &parent).header("tracestate", &long),
    ));
    let long = format!("{long},ot=th:8;rv:00000000000000");
    all.push(("one member more".to_owned(), get("/").header("traceparent", &parent).header("tracestate", &long)));
    all.push(("a long ot member".to_owned(), {
        let member = format!("ot=rv:00000000000000;th:8;{}", "a:1;".repeat(50));
        get("/").header("traceparent", &parent).header("tracestate", member)
    }));
    all.push(("a huge b3".to_owned(), get("/").header("b3", format!("{T}-{S}-1-").repeat(500))));
    all.push(("dashes".to_owned(), get("/").header("b3", "-".repeat(50_000)).header("traceparent", "-".repeat(55))));
    all.push(("a long path".to_owned(), get(&format!("/{}?token=1&{}", "a/".repeat(15_000), "x=%ff&".repeat(3_000)))));
    all.push(("percent signs".to_owned(), get("/%?%%ff%zz%c3&token=%").header("baggage", "%%%,=,;=%c3")));
    all.push(("a path of bytes".to_owned(), RawRequest::new("GET", "/").header("host", "\u{e9}\u{fe}")));
    all.push(("a host of bytes".to_owned(), RawRequest::new("GET", "/").header("host", b"back\xffend:\xfe")));
    all.push(("no host".to_owned(), RawRequest::new("GET", "/")));
    all.push(("an absolute target".to_owned(), RawRequest::new("GET", "http://[::1]:99999/x?y").header("host", "a")));
    all.push(("OPTIONS *".to_owned(), RawRequest::new("OPTIONS", "*").header("host", "a")));
    all.push(("an unknown method".to_owned(), RawRequest::new("BREW", "/").header("host", "a")));
    all.push(("a long method".to_owned(), RawRequest::new(&"M".repeat(5_000), "/").header("host", "a")));
    all.push(("CONNECT".to_owned(), RawRequest::new("CONNECT", "a:1").header("host", "a:1")));
    let grpc = RawRequest::new("POST", "/a.B/C").header("host", "a").header("content-type", "application/grpc\u{ff}");
    all.push(("gRPC".to_owned(), grpc.header("grpc-timeout", "99999999999999999999H").body("x")));
    all
}

#[tokio::test]
async fn no_request_hurts_and_the_next_one_still_gets_its_span() -> Result<()> {
    let stage = stage(Upstream::ok().await?, |bootstrap| bootstrap).await?;
    let mut visitor = Visitor::new(&stage.envoy);
    let (mut passed, mut refused) = (0, 0);
    for (name, request) in hostile_requests() {
        for listener in ["wide-in", "wide-out", "inbound"] {
            stage.app.take();
            let response = visitor.send(listener, &request).await?;
            match response.map(|response| response.status) {
                Some(200) => {
                    passed += 1;
                    visitor.received(&stage.app).with_context(|| format!("{name} through {listener}"))?;
                }
                Some(400..=499) | None => refused += 1,
                Some(status) => bail!("{name} through {listener}: {status}"),
            }
            visitor.send_clean(listener).await.with_context(|| format!("after {name} through {listener}"))?;
        }
    }
    println!("{passed} passed, {refused} refused, {} sampled", visitor.sent.len());
    assert!(passed > 300 && refused > 20, "{passed} passed, {refused} refused");
    let Visitor { clean, sent, .. } = visitor;
    settle(stage, &clean, &sent).await
}

#[tokio::test]
async fn a_thousand_requests_of_garbage_neither_hurt_nor_grow() -> Result<()> {
    let stage = stage(Upstream::ok().await?, |bootstrap| bootstrap).await?;
    let mut visitor = Visitor::new(&stage.envoy);
    let mut random = Random(0x51de_5ba7);
    let mut resident = Vec::new();
    for n in 0..1000 {
        let listener = ["wide-in", "wide-out"][n % 2];
        let request = random.request();
        stage.app.take();
        let response = visitor.send(listener, &request).await?;
        let shown = || format!("request {n}: {}", String::from_utf8_lossy(&request.to_bytes()).escape_debug());
        match response.map(|response| response.status) {
            Some(200) => visitor.received(&stage.app).with_context(shown)?,
            Some(400..=499) | None => {}
            Some(status) => bail!("{status} to {}", shown()),
        }
        if n % 10 == 9 {
            visitor.send_clean(listener).await.with_context(shown)?;
        }
        if n % 250 == 249 {
            resident.push(resident_kib(&stage.envoy)?);
        }
    }
    println!("{} sampled; resident KiB after 250, 500, 750 and 1000 requests: {resident:?}", visitor.sent.len());
    assert!(resident[3] < resident[1] + 2 * 1024, "it grows: {resident:?} KiB");
    let Visitor { clean, sent, .. } = visitor;
    settle(stage, &clean, &sent).await
}

/// Heads of responses (`{}` is the rest of the head), sent as they are.
fn hostile_responses() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let long = "trace;desc=00-,".repeat(4_000);
    let metrics = (0..500).map(|n| format!("m{n};dur={n}")).collect::<Vec<_>>().join(", ");
    let own = format!("trace;desc=00-{T}-{S}-01;th=");
    let quoted = format!("trace;desc=\"00-{T}-{S}-01\\\";th=\"0");
    let timings: Vec<Vec<u8>> = vec![
        b"\xff".to_vec(),
        b"trace;desc=00-\xff-\xff-01;th=\xff".to_vec(),
        b",,,;;;===\"\"\"\\".to_vec(),
        b"\"".to_vec(),
        b"".to_vec(),
        b"trace".to_vec(),
        b"trace;desc".to_vec(),
        b"trace;desc=;th=;th=".to_vec(),
        long.into(),
        metrics.into(),
        format!("{own}zzzzzzzzzzzzzzz").into(),
        format!("{own}0, {own}ffffffffffffff, {own}u").into(),
        own.into(),
        quoted.into(),
        "x".repeat(50_000).into(),
    ];
    for name in
        ["server-timing", "traceresponse", "x-evil", "content-type", "grpc-message", "x-envoy-upstream-service-time"]
    {
        for value in &timings {
            let short = String::from_utf8_lossy(&value[..value.len().min(20)]).into_owned();
            all.push((format!("{name} {short:?}"), [name.as_bytes(), b": ", value, b"\r\n"].concat()));
        }
    }
    let codes: &[&[u8]] =
        &[b"99999999999999999999", b"4294967296", b"-1", b"abc", b"", b"\xff", b"0x0", b"1e1", b" 5 ", b"17"];
    for code in codes {
        let shown = String::from_utf8_lossy(code).into_owned();
        let line = [b"grpc-status: ", *code, b"\r\n"].concat();
        all.push((format!("grpc-status {shown:?}"), line.clone()));
        all.push((
            format!("gRPC with grpc-status {shown:?}"),
            [b"content-type: application/grpc\r\n", &line[..]].concat(),
        ));
        all.push((format!("grpc-status {shown:?} twice"), [&line[..], &line[..]].concat()));
    }
    let many = (0..90).fold(String::new(), |mut lines, n| {
        let _ = write!(lines, "server-timing: trace;desc=00-{T}-{S}-01;th={n:x}\r\n");
        lines
    });
    all.push(("90 server-timing headers".to_owned(), many.into_bytes()));
    all
}

#[tokio::test]
async fn no_response_hurts_and_the_next_one_still_gets_its_span() -> Result<()> {
    let heads = hostile_responses();
    let served: Vec<Vec<u8>> = heads.iter().map(|(_, head)| head.clone()).collect();
    let raw = RawUpstream::start(served).await?;
    let trailers = json!({"explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}});
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = Cluster::new("raw", raw.port).with(json!({"typed_extension_protocol_options": {options: trailers}}));
    let configuration = everything();
    let listener = |listener: Listener| {
        let limits = json!({"http_protocol_options": {"enable_trailers": true}});
        Ok::<_, anyhow::Error>(listener.filter(filter(&configuration)?).manager(limits))
    };
    let inbound = listener(Listener::inbound("raw").named("raw-in"))?;
    let outbound = listener(Listener::outbound("raw").named("raw-out"))?;
    let change = |bootstrap: Bootstrap| bootstrap.listener(inbound).listener(outbound).cluster(cluster);
    let stage = stage(Upstream::ok().await?, change).await?;
    let mut visitor = Visitor::new(&stage.envoy);
    let mut passed = 0;
    for (index, (name, head)) in heads.iter().enumerate() {
        for (listener, next) in [("raw-in", "wide-in"), ("raw-out", "wide-out")] {
            for kind in ["text/plain", "application/grpc"] {
                let request =
                    RawRequest::new("POST", &format!("/{index}")).header("host", "a").header("content-type", kind);
                let request = request.header("traceparent", format!("00-{T}-{S}-00"));
                let response = visitor.send(listener, &request.body("x")).await?;
                let response = response.with_context(|| format!("{name}: no answer through {listener}"))?;
                // Envoy may refuse what an upstream says, or say it in its own words.
                ensure!([200, 502, 503].contains(&response.status), "{name}: {}", response.status);
                if response.status == 200 {
                    passed += 1;
                    let evil = response.headers.iter().find(|(key, _)| key == "x-evil").map(|(_, value)| value.clone());
                    let sent = head.strip_prefix(b"x-evil: ").map(|line| line.trim_ascii_end().to_vec());
                    ensure!(sent.is_none() || evil == sent, "{name}: x-evil is {evil:?}");
                }
            }
            visitor.send_clean(next).await.with_context(|| format!("after {name} through {listener}"))?;
        }
    }
    assert!(passed > heads.len() * 3, "{passed} of {} passed", heads.len() * 4);
    let Visitor { clean, sent, .. } = visitor;
    settle(stage, &clean, &sent).await
}

/// Answers `/<n>` with the n-th head, a body and, in trailers, the same lines once more.
struct RawUpstream {
    port: u16,
    task: JoinHandle<()>,
}

// === impl RawUpstream ===

impl RawUpstream {
    async fn start(heads: Vec<Vec<u8>>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let heads = std::sync::Arc::new(heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, heads.clone()));
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, heads: std::sync::Arc<Vec<Vec<u8>>>) -> Result<()> {
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "closed");
        received.extend_from_slice(&buffer[..count]);
        // The body is one byte behind the head.
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        if received.len() < end + 5 {
            continue;
        }
        let line = String::from_utf8_lossy(&received[..end]).into_owned();
        let index: usize = line.split(['/', ' ']).nth(2).context("a path")?.parse()?;
        received.drain(..end + 5);
        let head = heads.get(index).context("no such head")?;
        let answer =
            [b"HTTP/1.1 200 \xff\r\ntransfer-encoding: chunked\r\n", &head[..], b"\r\n1\r\nx\r\n0\r\n", head, b"\r\n"];
        stream.write_all(&answer.concat()).await?;
    }
}

/// XorShift: the same garbage every time.
struct Random(u64);

// === impl Random ===

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn request(&mut self) -> RawRequest {
        let mut request = RawRequest::get("backend", ["/", "/api/1/x", "/a?token=b&c", "/%ff%"][self.below(4)]);
        for _ in 0..=self.below(7) {
            let name = NAMES[self.below(NAMES.len())];
            let value = self.value();
            request = request.header(name, value);
        }
        request
    }

    fn value(&mut self) -> Vec<u8> {
        let mut value = VALID[self.below(VALID.len())].as_bytes().to_vec();
        match self.below(6) {
            0 => {}
            // A few bytes of a valid value are changed.
            1 | 2 => {
                for _ in 0..=self.below(3) {
                    let at = self.below(value.len());
                    value[at] = self.byte();
                }
            }
            // It is cut, or goes on.
            3 => value.truncate(self.below(value.len())),
            4 => {
                let times = self.below(40);
                value = value.repeat(times);
            }
            _ => value = (0..self.below(300)).map(|_| self.byte()).collect(),
        }
        value
    }

    /// A byte that may stand in a header, mostly one that means something.
    fn byte(&mut self) -> u8 {
        match self.below(3) {
            0 => b"0123456789abcdef-;:,=%/. \t"[self.below(26)],
            1 => 0x21 + self.below(0x5e) as u8,
            _ => 0x80 + self.below(0x80) as u8,
        }
    }
}

/// Memory of a process that is in use, as the kernel counts it.
pub fn resident_kib(envoy: &Envoy) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", envoy.id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
