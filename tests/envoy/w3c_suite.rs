//! The rules of W3C Trace Context level 2 as its conformance suite puts them to a service, played by a sidecar:
//!
//! ```text
//! suite ─► inbound filter ─► application, copies trace headers as Istio applications do ─► outbound filter ─► callback 1
//!                                                                                     └──► outbound filter ─► callback 2 …
//! ```
//! The suite posts a list of callbacks and looks at what arrives there. Three callbacks from one request need three
//! different parent ids, and no id of ours may be the one that came in.

use crate::stage::{SOON, Stage, config};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Cluster, Listener};
use sidespan_harness::client::{Client, RawConnection, RawRequest};
use sidespan_harness::span::{Kind, only};
use sidespan_harness::upstream::{Recorded, Request, status};
use sidespan_harness::{ReceivedSpan, Result, Upstream};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

const T: &str = "12345678901234567890123456789012";
const S: &str = "1234567890123456";
const U: &str = "abcdef78901234567890123456789012";

/// What must arrive at each callback.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// The trace goes on, with these flags and exactly these members of `tracestate` (`ot` aside).
    Same(&'static str, &'static str),
    /// Another trace, sampled and random, without any member that came in.
    Fresh,
}

use Expect::{Fresh, Same};

/// Rule, headers (`{t}`, `{s}`, `{u}` are ids, `{p}` a valid traceparent), what arrives.
type Check = (&'static str, &'static str, Expect);

const TRACEPARENT: &[Check] = &[
    ("neither header: a trace starts", "", Fresh),
    ("traceparent alone goes on", "{p}", Same("01", "")),
    ("not sampled goes on", "traceparent: 00-{t}-{s}-00", Same("00", "")),
    ("two traces are none", "traceparent: 00-{u}-{s}-01\n{p}", Fresh),
    ("in either order", "{p}\ntraceparent: 00-{u}-{s}-01", Fresh),
    ("the same traceparent twice is one", "{p}\n{p}", Same("01", "")),
    ("the name has no dash", "trace-parent: 00-{t}-{s}-01", Fresh),
    ("and no dot", "trace.parent: 00-{t}-{s}-01", Fresh),
    ("the name may be capitalised", "TraceParent: 00-{t}-{s}-01", Same("01", "")),
    ("in any way", "TrAcEpArEnT: 00-{t}-{s}-01", Same("01", "")),
    ("or upper case", "TRACEPARENT: 00-{t}-{s}-01", Same("01", "")),
    ("version 00 ends with the flags: no dot", "traceparent: 00-{t}-{s}-01.", Fresh),
    ("no dash", "traceparent: 00-{t}-{s}-01-", Fresh),
    ("no more fields", "traceparent: 00-{t}-{s}-01-what-the-future-will-be-like", Fresh),
    ("a future version is read as ours", "traceparent: cc-{t}-{s}-01", Same("01", "")),
    ("with more fields", "traceparent: cc-{t}-{s}-01-what-the-future-will-be-like", Same("01", "")),
    ("that start with a dash", "traceparent: cc-{t}-{s}-01.what-the-future-will-be-like", Fresh),
    ("version ff is forbidden", "traceparent: ff-{t}-{s}-01", Fresh),
    ("a version is two digits: dot", "traceparent: .0-{t}-{s}-01", Fresh),
    ("dot behind", "traceparent: 0.-{t}-{s}-01", Fresh),
    ("three", "traceparent: 000-{t}-{s}-01", Fresh),
    ("four", "traceparent: 0000-{t}-{s}-01", Fresh),
    ("one", "traceparent: 0-{t}-{s}-01", Fresh),
    ("a trace id is not zero", "traceparent: 00-00000000000000000000000000000000-{s}-01", Fresh),
    ("has no dot", "traceparent: 00-.2345678901234567890123456789012-{s}-01", Fresh),
    ("at its end", "traceparent: 00-1234567890123456789012345678901.-{s}-01", Fresh),
    ("no upper case", "traceparent: 00-ABCDEF78901234567890123456789012-{s}-01", Fresh),
    ("33 digits are too many", "traceparent: 00-{t}3-{s}-01", Fresh),
    ("31 are too few", "traceparent: 00-1234567890123456789012345678901-{s}-01", Fresh),
    ("a parent id is not zero", "traceparent: 00-{t}-0000000000000000-01", Fresh),
    ("has no dot", "traceparent: 00-{t}-.234567890123456-01", Fresh),
    ("at its end", "traceparent: 00-{t}-123456789012345.-01", Fresh),
    ("17 digits are too many", "traceparent: 00-{t}-{s}7-01", Fresh),
    ("15 are too few", "traceparent: 00-{t}-123456789012345-01", Fresh),
    ("flags have no dot", "traceparent: 00-{t}-{s}-.0", Fresh),
    ("at their end", "traceparent: 00-{t}-{s}-0.", Fresh),
    ("three digits are too many", "traceparent: 00-{t}-{s}-001", Fresh),
    ("one is too few", "traceparent: 00-{t}-{s}-1", Fresh),
    ("spaces around the value", "traceparent:   00-{t}-{s}-01 ", Same("01", "")),
    ("tabs", "traceparent: \t00-{t}-{s}-01\t", Same("01", "")),
    ("both", "traceparent:  \t 00-{t}-{s}-01 \t ", Same("01", "")),
    ("the random flag stays", "traceparent: 00-{t}-{s}-02", Same("02", "")),
    ("with the sampled flag", "traceparent: 00-{t}-{s}-03", Same("03", "")),
    ("other flags are zero on the way out", "traceparent: 00-{t}-{s}-fd", Same("01", "")),
];

const TRACESTATE: &[Check] = &[
    ("tracestate needs traceparent", "tracestate: foo=1", Fresh),
    ("a valid one", "traceparent: 00-{t}\ntracestate: foo=1,bar=2", Fresh),
    ("with it, it goes on", "{p}\ntracestate: foo=1,bar=2", Same("01", "foo=1,bar=2")),
    ("the name has no dash", "{p}\ntrace-state: foo=1", Same("01", "")),
    ("and no dot", "{p}\ntrace.state: foo=1", Same("01", "")),
    ("it may be capitalised", "{p}\nTraceState: foo=1", Same("01", "foo=1")),
    ("in any way", "{p}\nTrAcEsTaTe: foo=1", Same("01", "foo=1")),
    ("or upper case", "{p}\nTRACESTATE: foo=1", Same("01", "foo=1")),
    ("empty is allowed", "{p}\ntracestate:", Same("01", "")),
    ("before another", "{p}\ntracestate:\ntracestate: foo=1", Same("01", "foo=1")),
    ("behind another", "{p}\ntracestate: foo=1\ntracestate:", Same("01", "foo=1")),
    ("two headers are one list", "{p}\ntracestate: foo=1,bar=2\ntracestate: x=3", Same("01", "foo=1,bar=2,x=3")),
    (
        "three too, in their order",
        "{p}\ntracestate: foo=1,bar=2\ntracestate: rojo=1,congo=2\ntracestate: baz=3",
        Same("01", "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    ),
    ("duplicates stay (level 2)", "{p}\ntracestate: foo=1,foo=1", Same("01", "foo=1,foo=1")),
    ("with other values", "{p}\ntracestate: foo=1,foo=2", Same("01", "foo=1,foo=2")),
    ("in two headers", "{p}\ntracestate: foo=1\ntracestate: foo=2", Same("01", "foo=1,foo=2")),
    (
        "every character of a key",
        "{p}\ntracestate: abcdefghijklmnopqrstuvwxyz0123456789_-*/=1",
        Same("01", "abcdefghijklmnopqrstuvwxyz0123456789_-*/=1"),
    ),
    (
        "with a vendor",
        "{p}\ntracestate: abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/=1",
        Same("01", "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/=1"),
    ),
    (
        "every character of a value",
        "{p}\ntracestate: foo=!\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
        Same(
            "01",
            "foo=!\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
        ),
    ),
    ("white space around members", "{p}\ntracestate: foo=1 \t , \t bar=2, \t baz=3", Same("01", "foo=1,bar=2,baz=3")),
    ("tabs first", "{p}\ntracestate: foo=1\t \t,\t \tbar=2,\t \tbaz=3", Same("01", "foo=1,bar=2,baz=3")),
    ("before the value", "{p}\ntracestate:  foo=1", Same("01", "foo=1")),
    ("a tab", "{p}\ntracestate: \tfoo=1", Same("01", "foo=1")),
    ("behind it", "{p}\ntracestate: foo=1 ", Same("01", "foo=1")),
    ("a tab behind it", "{p}\ntracestate: foo=1\t", Same("01", "foo=1")),
    ("all of it", "{p}\ntracestate: \t foo=1 \t ", Same("01", "foo=1")),
    ("no space in a key", "{p}\ntracestate: foo =1", Same("01", "")),
    ("no upper case", "{p}\ntracestate: FOO=1", Same("01", "")),
    ("no dot", "{p}\ntracestate: foo.bar=1", Same("01", "")),
    ("a tenant without a system is a key (level 2)", "{p}\ntracestate: foo@=1,bar=2", Same("01", "foo@=1,bar=2")),
    ("a system alone is none", "{p}\ntracestate: @foo=1,bar=2", Same("01", "")),
    ("two at signs are (level 2)", "{p}\ntracestate: foo@@bar=1", Same("01", "foo@@bar=1")),
    ("32 members are allowed", "{p}\ntracestate: {32}", Same("01", "{32}")),
    ("33 are not", "{p}\ntracestate: {32},more=1", Same("01", "")),
    ("a key of 256", "{p}\ntracestate: foo=1,{z256}=1", Same("01", "foo=1,{z256}=1")),
    ("but no longer", "{p}\ntracestate: foo=1,{z256}z=1", Same("01", "")),
    ("no equals sign in a value", "{p}\ntracestate: foo=bar=baz", Same("01", "")),
    ("no empty value", "{p}\ntracestate: foo=,bar=3", Same("01", "")),
];

/// Requests that call back three times; the others do so once.
const SEVERAL: &[&str] = &["neither header: a trace starts", "traceparent alone goes on", "33 digits are too many"];

/// Headers that applications in Istio forward, as its documentation lists them.
const FORWARDED: &[&str] = &[
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
];

#[tokio::test]
async fn the_rules_of_the_conformance_suite_hold_from_end_to_end() -> Result<()> {
    let mut suite = Suite::start().await?;
    let mut arrived = Vec::new();
    for check in TRACEPARENT.iter().chain(TRACESTATE) {
        let calls = if SEVERAL.contains(&check.0) { 3 } else { 1 };
        let callbacks = suite.post(&headers(check.1), calls).await.with_context(|| format!("{check:?}"))?;
        assert_eq!(callbacks.len(), calls, "{check:?}");
        for callback in &callbacks {
            judge(check, callback).with_context(|| format!("{check:?}: {:?}", callback.headers))?;
        }
        let (traces, parents): (BTreeSet<_>, BTreeSet<_>) =
            callbacks.iter().map(ids).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        assert_eq!((traces.len(), parents.len()), (1, calls), "{check:?}: one trace, a parent for each callback");
        arrived.extend(callbacks);
    }
    suite.check_spans(&arrived).await?;
    suite.stage.envoy.assert_no_trap();
    Ok(())
}

/// A sidecar and the application behind it.
struct Suite {
    stage: Stage,
    callbacks: Arc<Upstream>,
    connection: RawConnection,
    requests: usize,
}

// === impl Suite ===

impl Suite {
    async fn start() -> Result<Self> {
        let callbacks = Arc::new(Upstream::ok().await?);
        let outbound: Arc<OnceLock<Client>> = Arc::default();
        let client = outbound.clone();
        let app = Upstream::start(move |request| {
            let client = client.clone();
            async move {
                let code = if call_back(&client, &request).await.is_ok() { 200 } else { 500 };
                status(code, "called back").await
            }
        });
        let port = callbacks.port();
        let configuration = config(json!({}));
        let filter = crate::stage::filter(&configuration)?;
        let add = |bootstrap: sidespan_harness::bootstrap::Bootstrap| {
            let listener = Listener::outbound("callbacks").named("to-callbacks").filter(filter);
            bootstrap.listener(listener).cluster(Cluster::new("callbacks", port))
        };
        let stage = Stage::with(app.await?, &configuration, add).await?;
        let _ = outbound.set(stage.client("to-callbacks")?);
        let connection = RawConnection::connect(stage.envoy.port("inbound")?).await?;
        Ok(Self { stage, callbacks, connection, requests: 0 })
    }

    /// Posts a list of callbacks, and returns what arrived there.
    async fn post(&mut self, headers: &[(String, String)], calls: usize) -> Result<Vec<Recorded>> {
        self.requests += 1;
        let url = |n: usize| json!({"url": format!("/callback/{}/{n}", self.requests), "arguments": []});
        let body = Value::from((0..calls).map(url).collect::<Vec<_>>()).to_string();
        let mut request = RawRequest::new("POST", "/test").header("host", "suite");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.callbacks.take();
        let response = self.connection.exchange(&request.body(body)).await?;
        ensure!(response.status == 200, "status {}", response.status);
        Ok(self.callbacks.take())
    }

    /// The exported spans tell the same story: each callback's parent is a client span, whose parent is the server span that
    /// the application was told of.
    async fn check_spans(&self, arrived: &[Recorded]) -> Result<()> {
        let told: Vec<_> = self.stage.app.requests().iter().map(ids).collect::<Result<_>>()?;
        let sampled = |request: &Recorded| {
            request.header("traceparent").is_some_and(|value| value[54..] != *"0" && value[54..] != *"2")
        };
        let kept = arrived.iter().chain(&self.stage.app.requests()).filter(|request| sampled(request)).count();
        let spans = self.stage.receiver.wait_for(kept, SOON).await?;
        ensure!(spans.len() == kept, "{} spans for {kept} sampled requests", spans.len());
        for callback in arrived.iter().filter(|callback| sampled(callback)) {
            let (trace, parent) = ids(callback)?;
            let is = |kind: Kind, id: &str| {
                let matches =
                    |span: &ReceivedSpan| (span.kind, span.trace_id == trace, span.span_id == id) == (kind, true, true);
                only(&spans, matches).cloned()
            };
            let client = is(Kind::Client, &parent)?;
            let server = is(Kind::Server, &client.parent_span_id)?;
            ensure!(
                told.contains(&(trace.clone(), server.span_id.clone())),
                "the application was not told of {server:#?}"
            );
        }
        Ok(())
    }
}

/// The application: one request for each callback, with the trace headers of its own.
async fn call_back(client: &OnceLock<Client>, request: &Request<impl AsRef<[u8]>>) -> Result<()> {
    let client = client.get().context("not started")?;
    let callbacks: Vec<Value> = serde_json::from_slice(request.body().as_ref())?;
    let mut headers = Vec::new();
    for (name, value) in request.headers().iter().filter(|(name, _)| FORWARDED.contains(&name.as_str())) {
        headers.push((name.as_str(), value.to_str()?));
    }
    for callback in callbacks {
        let url = callback["url"].as_str().context("url")?;
        let request = client.request("POST", "callbacks", url, &headers, callback["arguments"].to_string())?;
        client.send(request).await?;
    }
    Ok(())
}

fn headers(text: &str) -> Vec<(String, String)> {
    let text = fill(text);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned())).collect()
}

fn fill(text: &str) -> String {
    let members = (1..=32).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",");
    let text = text.replace("{p}", "traceparent: 00-{t}-{s}-01").replace("{32}", &members);
    text.replace("{t}", T).replace("{s}", S).replace("{u}", U).replace("{z256}", &"z".repeat(256))
}

/// Trace id and parent id of a well-formed header of version 00.
fn ids(request: &Recorded) -> Result<(String, String)> {
    let value = request.header("traceparent").context("not one traceparent")?;
    let parts: Vec<&str> = value.split('-').collect();
    let ["00", trace, parent, flags] = parts[..] else { anyhow::bail!("{value}") };
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let lengths = (trace.len(), parent.len(), flags.len()) == (32, 16, 2);
    ensure!(lengths && [trace, parent, flags].iter().all(|part| hex(part)), "{value}");
    ensure!(trace.bytes().any(|byte| byte != b'0') && parent.bytes().any(|byte| byte != b'0'), "{value}");
    Ok((trace.to_owned(), parent.to_owned()))
}

fn judge(check: &Check, callback: &Recorded) -> Result<()> {
    let (trace, parent) = ids(callback)?;
    let flags = callback.header("traceparent").context("traceparent")?[53..].to_owned();
    ensure!(parent != S, "the parent is still the caller");
    let lines = callback.values("tracestate");
    ensure!(lines.iter().all(|line| !line.trim_ascii().is_empty()), "an empty tracestate");
    let text = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join(",");
    let members: Vec<&str> =
        text.split(',').map(str::trim).filter(|member| !member.is_empty() && !member.starts_with("ot=")).collect();
    let found = members.join(",");
    match check.2 {
        Same(expected, state) => {
            ensure!((trace.as_str(), flags.as_str()) == (T, expected), "{trace} {flags}");
            ensure!(found == fill(state), "tracestate {found:?}");
        }
        Fresh => {
            ensure!(trace != T && trace != U && !trace.starts_with("ABCDEF"), "the trace goes on");
            ensure!(flags == "03" && found.is_empty(), "flags {flags}, tracestate {found:?}");
        }
    }
    Ok(())
}
