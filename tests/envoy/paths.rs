//! Three services behind an ingress gateway, and what must be exported of a trace: which spans, linked how, with what weight.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::Cluster;
use sidespan_harness::mesh::{ANSWER, Exchange, Mesh, MeshBuilder, PLAN, Plan, Service};
use sidespan_harness::span::Kind;
use sidespan_harness::{Envoy, ReceivedSpan, Receiver, Result, envoy_binary, eventually, merge};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::stage::{SOON, filter};

/// 0.99 × 2^56, rounded to four significant digits behind the leading `f`: the threshold of 1 %.
pub const ONE_PERCENT: &str = "fd70a";
/// The header by which a test finds its request again at the first application.
pub const CASE: &str = "x-case";

/// A running mesh `gateway → frontend → backend → database` and the receiver of its spans.
pub struct Paths {
    pub mesh: Mesh,
    pub receiver: Receiver,
}

/// One span as it must be exported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    pub service: &'static str,
    pub kind: Kind,
    pub reason: &'static str,
    /// Empty for none.
    pub th: &'static str,
}

/// All hops in their order.
pub const HOPS: [(&str, Kind); 6] = [
    ("istio-ingressgateway", Kind::Server),
    ("frontend", Kind::Server),
    ("frontend", Kind::Client),
    ("backend", Kind::Server),
    ("backend", Kind::Client),
    ("database", Kind::Server),
];

/// Reasons of the six hops where the head samples.
pub const SAMPLED: [&str; 6] = ["head", "parent", "parent", "parent", "parent", "parent"];
/// The error goes all the way up.
pub const FAILED: [&str; 6] = ["error"; 6];
/// The backend answers with success all the same.
pub const MASKED: [&str; 6] = ["marked", "marked", "marked", "marked", "error", "error"];

/// 1 % at the head, every error with its whole path, no cap.
pub fn config(patch: Value) -> Value {
    let mut config = json!({
        "exporter": {"otlp": {"cluster": "collector", "timeout": "5s"}, "batch": {"delay": "100ms"}},
        "sampling": {
            "randomSamplingPercentage": 1,
            "errors": {"percentage": 100, "maxPerSecond": 0, "wholePath": true},
        },
    });
    merge(&mut config, patch);
    config
}

/// The expected spans of one trace, from the root down.
pub fn hops(reasons: [&'static str; 6], th: &'static str) -> Vec<Hop> {
    HOPS.iter().zip(reasons).map(|((service, kind), reason)| Hop { service, kind: *kind, reason, th }).collect()
}

/// Whether 1 % at the head samples the trace: the last 14 digits of its id against the threshold, both of one length.
pub fn is_head_sampled(trace_id: &str) -> bool {
    trace_id[18..] >= *format!("{ONE_PERCENT:0<14}")
}

/// `ot=th:` of a span; nothing if it has none.
pub fn threshold(span: &ReceivedSpan) -> Option<&str> {
    let ot = span.trace_state.split(',').find_map(|member| member.strip_prefix("ot="))?;
    ot.split(';').find_map(|key| key.strip_prefix("th:"))
}

/// How many requests a span stands for: 2^56 / (2^56 − T).
pub fn weight(span: &ReceivedSpan) -> f64 {
    let digits = threshold(span).unwrap_or_else(|| panic!("no threshold: {span:#?}"));
    let rejected = u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal");
    1.0 / (1.0 - rejected as f64 / (1u64 << 56) as f64)
}

impl Paths {
    /// Starts all of it with this `pluginConfig` everywhere.
    pub async fn start(config: &Value, change: impl FnOnce(MeshBuilder) -> MeshBuilder) -> Result<Self> {
        Self::with(config, |frontend| frontend, |backend| backend, change).await
    }

    /// The same with changed services.
    pub async fn with(
        config: &Value,
        frontend: impl FnOnce(Service) -> Service,
        backend: impl FnOnce(Service) -> Service,
        change: impl FnOnce(MeshBuilder) -> MeshBuilder,
    ) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let builder = Mesh::builder()
            .gateway("istio-ingressgateway", "frontend")
            .service(frontend(Service::new("frontend", "shop").calls("backend", "/api")))
            .service(backend(Service::new("backend", "shop").calls("database", "/query")))
            .service(Service::new("database", "data"))
            .filter(filter(config)?)
            .cluster(Cluster::new("collector", receiver.port()));
        let mesh = change(builder).start(&envoy_binary()?).await?;
        Ok(Self { mesh, receiver })
    }

    /// The exchanges of the first application by their case.
    pub fn cases(&self) -> Result<BTreeMap<String, Exchange>> {
        let exchanges = self.mesh.exchanges("frontend")?;
        let case = |exchange: Exchange| Some((exchange.received.header(CASE)?.to_owned(), exchange));
        Ok(exchanges.into_iter().filter_map(case).collect())
    }

    /// The spans by trace, once there are all of them: `requests` requests were seen at each hop.
    pub async fn traces(&self, requests: u64) -> Result<BTreeMap<String, Vec<ReceivedSpan>>> {
        let listeners = |name: &str| if ["frontend", "backend"].contains(&name) { 2 } else { 1 };
        let envoys: Vec<_> =
            self.mesh.envoys().map(|(name, envoy)| (name, envoy, requests * listeners(name))).collect();
        all_exported(&envoys, &self.receiver).await?;
        let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
        for span in self.receiver.spans() {
            traces.entry(span.trace_id.clone()).or_default().push(span);
        }
        Ok(traces)
    }

    /// The sum of a counter (without `sidespan_` and `_total`) over all Envoys.
    pub async fn total(&self, metric: &str) -> Result<u64> {
        let mut sum = 0;
        for (_, envoy) in self.mesh.envoys() {
            sum += stat(&envoy.stats().await?, metric);
        }
        Ok(sum)
    }
}

/// Waits until each Envoy has seen so many requests and every span that it built was exported. What is not there
/// then will never come.
pub async fn all_exported(envoys: &[(&str, &Envoy, u64)], receiver: &Receiver) -> Result<()> {
    // Counters come with ticks, and a request is counted when it begins: one that ended a moment ago may have built a span
    // that no counter shows yet. So nothing may have changed some ticks later.
    let mut before = exported(envoys, receiver).await?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = exported(envoys, receiver).await?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

/// How many spans are exported, once the counters agree.
async fn exported(envoys: &[(&str, &Envoy, u64)], receiver: &Receiver) -> Result<u64> {
    eventually("all spans are exported", SOON * 2, async || {
        let mut exported = 0;
        for (name, envoy, requests) in envoys {
            let stats = envoy.stats().await?;
            let value = |metric: &str| stat(&stats, metric);
            let refused = || envoy.log().lines().filter(|line| line.contains("[error]")).collect::<Vec<_>>().join("\n");
            assert_eq!(value("config_errors"), 0, "{name} has refused its configuration:\n{}", refused());
            let seen = value("requests_inbound") + value("requests_outbound") + value("requests_gateway");
            ensure!(seen >= *requests, "{name} has counted {seen} of {requests} requests");
            let (created, sent) = (value("spans_created"), value("spans_exported"));
            ensure!(created == sent, "{name} has built {created} spans, {sent} are exported");
            exported += value("spans_exported");
        }
        let received = receiver.spans().len() as u64;
        ensure!(received >= exported, "{received} of {exported} received");
        Ok(exported)
    })
    .await
}

/// A counter of the filter; zero until it has counted.
pub fn stat(stats: &BTreeMap<String, u64>, metric: &str) -> u64 {
    stats.get(&format!("wasmcustom.sidespan_{metric}_total")).copied().unwrap_or_default()
}

/// The trace that the first application was told.
pub fn trace_of(exchange: &Exchange) -> Result<&str> {
    let traceparent = exchange.received.header("traceparent").context("no traceparent")?;
    traceparent.get(3..35).context("traceparent is too short")
}

/// Request headers of a case.
pub fn request_headers(case: &str, plan: &Plan, answers: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let answers = answers.iter().map(|(service, value)| (ANSWER, format!("{service} server-timing: {value}")));
    [(CASE, case.to_owned()), (PLAN, plan.to_string())].into_iter().chain(answers).collect()
}

/// Headers as the client takes them.
pub fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// All values of `server-timing` in an answer that an application or the client got.
pub fn timings<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<String> {
    let timing = headers.into_iter().filter(|(name, _)| *name == "server-timing");
    timing.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Exactly these spans, each the child of the one before, the first a child of `parent`; extra spans at the last hop (of
/// failed attempts) are siblings of the last one.
pub fn assert_path(what: &str, spans: &[ReceivedSpan], expected: &[Hop], parent: &str) {
    let mut parent = parent.to_owned();
    let mut left: Vec<&ReceivedSpan> = spans.iter().collect();
    for hop in expected {
        let reason = |span: &ReceivedSpan| span.text("sidespan.sampling.reason").unwrap_or_default().to_owned();
        let index = left.iter().position(|span| {
            span.parent_span_id == parent && span.service() == hop.service && reason(span) == hop.reason
        });
        let Some(index) = index else {
            panic!("{what}: no {hop:?} below {parent:?} among {:#?}", outline(spans));
        };
        let span = left.remove(index);
        let found = (span.kind, threshold(span).unwrap_or_default(), span.flags & 1);
        assert_eq!(found, (hop.kind, hop.th, 1), "{what}: {:#?}", outline(spans));
        assert_eq!(span.problems, [""; 0], "{what}");
        // A failed attempt's span has the same parent as the next one.
        let is_attempt =
            expected.iter().filter(|other| other.service == hop.service && other.kind == hop.kind).count() > 1;
        if !is_attempt {
            parent.clone_from(&span.span_id);
        }
    }
    assert!(left.is_empty(), "{what}: too many spans: {:#?}", outline(spans));
}

/// Enough to understand a failure.
pub fn outline(spans: &[ReceivedSpan]) -> Vec<String> {
    let line = |span: &ReceivedSpan| {
        let reason = span.text("sidespan.sampling.reason").unwrap_or("-");
        let (kind, service, state) = (span.kind, span.service(), &span.trace_state);
        let status = span.attribute("http.response.status_code");
        format!("{service} {kind:?} {} below {:?}: {reason} {state} {status}", span.span_id, span.parent_span_id)
    };
    spans.iter().map(line).collect()
}
