//! Rules as the components in deploy/ write them, in real sidecars: rates by namespace and workload, dropped probes; and `parent: ignore`,
//! slow requests, B3 debug. Which traces are kept is computed from their ids, not estimated.

use crate::paths::{all_exported, stat, threshold};
use crate::stage::filter;
use crate::yaml;
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::upstream::{Recorded, delayed, header, status};
use sidespan_harness::{Envoy, ReceivedSpan, Receiver, Result, Upstream, envoy_binary, merge};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Requests to each workload, their R spread evenly.
const REQUESTS: u64 = 200;
const SPAN: &str = "00f067aa0ba902b7";
/// Where the examples send spans.
const COLLECTOR: &str = "outbound|4318||otel-collector.istio-system.svc.cluster.local";

/// Several sidecars, one application behind all of them, one receiver.
struct Workloads {
    envoys: BTreeMap<&'static str, (Envoy, Client)>,
    sent: BTreeMap<&'static str, u64>,
    app: Upstream,
    receiver: Receiver,
}

/// The first document of a file in `deploy/`.
fn document(file: &str) -> Result<Value> {
    let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).context(path)?;
    let documents = yaml::read(&text).map_err(|broken| anyhow!("{file}: {broken:?}"))?;
    Ok(documents.first().context("no document")?.value.clone())
}

/// The `pluginConfig` of the base, with the rules of both components at the end of its own, as their patches put them.
fn by_namespace_and_service() -> Result<Value> {
    let base = document("base/wasmplugin.yaml")?["spec"]["pluginConfig"].take();
    let sampling = &base["sampling"];
    let mut rules = sampling["rules"].as_array().context("rules")?.clone();
    for component in ["rates-by-namespace", "rates-by-service"] {
        let patch = document(&format!("components/{component}/rules.yaml"))?;
        for operation in patch.as_array().context("operations")? {
            assert_eq!(operation["path"], "/spec/pluginConfig/sampling/rules/-");
            rules.push(operation["value"].clone());
        }
    }
    // Without `slow`: on a busy machine it would keep more.
    let (rate, errors) = (&sampling["randomSamplingPercentage"], &sampling["errors"]);
    let sampling = json!({"randomSamplingPercentage": rate, "rules": rules, "errors": errors});
    Ok(json!({"exporter": base["exporter"], "sampling": sampling}))
}

/// A trace id with this R.
fn trace(r: u64) -> String {
    format!("4bf92f3577b34da6a3{r:014x}")
}

fn at_least(threshold: &str) -> impl Fn(u64) -> bool {
    let threshold = u64::from_str_radix(&format!("{threshold:0<14}"), 16).unwrap();
    move |r| r >= threshold
}

/// Answers `x-status` after `x-delay` milliseconds.
async fn app() -> Result<Upstream> {
    Upstream::start(|request| async move {
        let number = |name: &str| request.headers().get(name)?.to_str().ok()?.parse::<u16>().ok();
        let delay = Duration::from_millis(number("x-delay").unwrap_or_default().into());
        let answer = status(number("x-status").unwrap_or(200), "done");
        header(delayed(delay, answer).await, "x-app", "yes")
    })
    .await
}

async fn sidecar(workload: &str, namespace: &str, config: &Value, app: u16, receiver: u16) -> Result<Envoy> {
    let bootstrap = Bootstrap::new(Node::sidecar(workload, namespace))
        .listener(Listener::inbound("app").filter(filter(config)?))
        .cluster(Cluster::new("app", app))
        .cluster(Cluster::new(COLLECTOR, receiver));
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

impl Workloads {
    async fn start(workloads: &[(&'static str, &str, Value)]) -> Result<Self> {
        let (app, receiver) = (app().await?, Receiver::start().await?);
        let (to, spans) = (app.port(), receiver.port());
        let started = fire(workloads.len(), 3, |index| {
            let (workload, namespace, config) = &workloads[index];
            sidecar(workload, namespace, config, to, spans)
        })
        .await;
        let mut envoys = BTreeMap::new();
        for ((workload, _, _), envoy) in workloads.iter().zip(started) {
            let envoy = envoy?;
            let client = Client::http1(envoy.port("inbound")?);
            envoys.insert(*workload, (envoy, client));
        }
        Ok(Self { envoys, sent: BTreeMap::new(), app, receiver })
    }

    async fn send(&mut self, workload: &'static str, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<()> {
        *self.sent.entry(workload).or_default() += 1;
        let (_, client) = &self.envoys[workload];
        client.send(client.request(method, workload, path, headers, "")?).await.map(drop)
    }

    /// All spans there will be, by service and trace.
    async fn spans(&self) -> Result<BTreeMap<(String, String), ReceivedSpan>> {
        let sent = |workload| self.sent.get(workload).copied().unwrap_or_default();
        let envoys: Vec<_> = self.envoys.iter().map(|(name, (envoy, _))| (*name, envoy, sent(name))).collect();
        all_exported(&envoys, &self.receiver).await?;
        let spans = self.receiver.spans();
        let count = spans.len();
        let spans: BTreeMap<_, _> =
            spans.into_iter().map(|span| ((span.service().to_owned(), span.trace_id.clone()), span)).collect();
        assert_eq!(spans.len(), count, "one span for each request");
        Ok(spans)
    }

    /// What the application got of a trace.
    fn arrived(&self, trace: &str) -> Vec<Recorded> {
        let of_trace = |request: &Recorded| request.header("traceparent").is_some_and(|value| value.contains(trace));
        self.app.requests().into_iter().filter(of_trace).collect()
    }

    fn assert_no_trap(&mut self) {
        self.envoys.values_mut().for_each(|(envoy, _)| envoy.assert_no_trap());
    }
}

fn kept(span: Option<&ReceivedSpan>) -> Option<(&str, &str)> {
    span.map(|span| (span.text("sidespan.sampling.reason").unwrap_or_default(), threshold(span).unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_components_sample_each_workload_at_its_rate_and_the_base_drops_probes() -> Result<()> {
    let config = by_namespace_and_service()?;
    let rates = [
        ("payments", "payment", "0"),
        ("fluentd", "logging", "fd70a"),
        ("frontend", "shop", "8"),
        ("backend", "shop", "b333"),
        ("cart", "shop", "fd70a"),
    ];
    let workloads = rates.map(|(workload, namespace, _)| (workload, namespace, config.clone()));
    let mut workloads = Workloads::start(&workloads).await?;

    // No decision came in (B3 without a sampling state), so each workload's own rate applies to a trace id of our choice.
    let r_of = |n: u64| n * ((1 << 56) / REQUESTS);
    let workload_of = |index: usize| rates[index % rates.len()].0;
    let all = rates.len() * REQUESTS as usize;
    let replies = fire(all, 8, |index| {
        let b3 = format!("{}-{SPAN}", trace(r_of((index / rates.len()) as u64)));
        let client = workloads.envoys[workload_of(index)].1.clone();
        async move { client.get("shop", "/orders", &[("b3", b3.as_str())]).await }
    })
    .await;
    for (index, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply?.status, 200);
        *workloads.sent.entry(workload_of(index)).or_default() += 1;
    }
    let spans = workloads.spans().await?;
    for (workload, _, rate) in rates {
        let samples = at_least(rate);
        for r in (0..REQUESTS).map(r_of) {
            let span = spans.get(&(workload.to_owned(), trace(r)));
            assert_eq!(kept(span), samples(r).then_some(("head", rate)), "{workload} {r:014x}");
        }
        let flags: BTreeSet<_> = (0..REQUESTS).map(r_of).map(samples).collect();
        assert_eq!(flags.len(), if rate == "0" { 1 } else { 2 }, "some are kept, some are not");
    }

    // Errors are kept whatever the rate; what is dropped is dropped, and the caller's context goes on as it is.
    let low = |n: u64| trace(1000 + n);
    let traceparent = |n: u64, flags: &str| format!("00-{}-{SPAN}-{flags}", low(n));
    let table = [
        (1, "GET", "/orders", "00", 503, Some(("error", "0"))),
        (2, "GET", "/orders", "00", 200, None),
        (3, "GET", "/healthz", "00", 200, None),
        (4, "GET", "/healthz", "01", 200, None),
        (5, "HEAD", "/readyz?full=1", "01", 503, None),
        (6, "GET", "/healthz/deep", "01", 200, Some(("parent", ""))),
        (7, "POST", "/healthz", "00", 503, Some(("error", "0"))),
        (8, "GET", "/metrics", "03", 200, None),
    ];
    for workload in ["fluentd", "payments"] {
        for (n, method, path, flags, code, _) in table {
            let (parent, code) = (traceparent(n, flags), format!("{code}"));
            let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1"), ("x-status", code.as_str())];
            workloads.send(workload, method, path, &headers).await?;
        }
        workloads.send(workload, "GET", "/livez", &[("x-status", "503"), ("x-root", workload)]).await?;
    }
    let spans = workloads.spans().await?;
    for workload in ["fluentd", "payments"] {
        for (n, method, path, flags, code, expected) in table {
            let span = spans.get(&(workload.to_owned(), low(n)));
            assert_eq!(kept(span), expected, "{workload}: {method} {path} {flags} {code}");
        }
        let envoy = &workloads.envoys[workload].0;
        assert_eq!(stat(&envoy.stats().await?, "requests_ignored"), 5, "{workload}");
    }
    for n in [3, 4, 5, 8] {
        let arrived = workloads.arrived(&low(n));
        assert_eq!(arrived.len(), 2);
        let (_, _, _, flags, ..) = table[n as usize - 1];
        for request in arrived {
            assert_eq!(request.header("traceparent"), Some(traceparent(n, flags).as_str()), "dropped, handed on");
            assert_eq!(request.header("tracestate"), Some("vendor=1"));
        }
    }
    for root in workloads.app.requests().iter().filter(|request| request.header("x-root").is_some()) {
        let sent = root.header("traceparent").context("a context of its own")?;
        assert!(sent.ends_with("-02"), "unsampled from here on: {sent}");
    }
    workloads.assert_no_trap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_may_ignore_its_parent_and_slow_or_debugged_requests_are_kept() -> Result<()> {
    let mut config = by_namespace_and_service()?;
    let vip =
        json!({"name": "vip", "match": {"workload": ["vip"]}, "randomSamplingPercentage": 50, "parent": "ignore"});
    merge(&mut config, json!({"sampling": {"slow": {"threshold": "60ms"}, "rules": [vip]}}));
    let mut workloads = Workloads::start(&[("vip", "shop", config.clone()), ("cart", "shop", config)]).await?;
    let (low, high) = (0x10_0000_0000_0000, 0x90_0000_0000_0000);
    // Workload, R, what comes in, other headers, what is kept, which flags go on.
    type Row<'a> = (&'a str, u64, &'a str, &'a str, Option<(&'a str, &'a str)>, &'a str);
    let table: [Row<'_>; 11] = [
        ("vip", high, "00", "", Some(("head", "8")), "01"),
        ("vip", low, "00", "", None, "00"),
        ("vip", high + 1, "01", "", Some(("head", "8")), "01"),
        ("vip", low + 1, "00", "503", Some(("error", "0")), "00"),
        ("vip", low + 2, "d", "", Some(("debug", "0")), "01"),
        ("cart", high + 10, "00", "", None, "00"),
        ("cart", low + 10, "00", "delay", Some(("slow", "0")), "00"),
        ("cart", low + 11, "d", "", Some(("debug", "0")), "01"),
        ("cart", low + 12, "0", "", None, "00"),
        ("cart", low + 13, "0", "503", Some(("error", "0")), "00"),
        ("cart", low + 14, "01", "delay", Some(("slow", "0")), "01"),
    ];
    for (workload, r, state, special, _, _) in table {
        let workload = if workload == "vip" { "vip" } else { "cart" };
        let context = match state.len() {
            1 => ("b3", format!("{}-{SPAN}-{state}", trace(r))),
            _ => ("traceparent", format!("00-{}-{SPAN}-{state}", trace(r))),
        };
        let extra = match special {
            "delay" => ("x-delay", "80"),
            "503" => ("x-status", "503"),
            _ => ("x-plain", "yes"),
        };
        workloads.send(workload, "GET", "/orders", &[(context.0, context.1.as_str()), extra]).await?;
    }
    let spans = workloads.spans().await?;
    for (workload, r, state, special, expected, flags) in table {
        let what = format!("{workload} {r:014x} {state} {special}");
        assert_eq!(kept(spans.get(&(workload.to_owned(), trace(r)))), expected, "{what}");
        let arrived = &workloads.arrived(&trace(r))[0];
        let sent = arrived.header("traceparent").unwrap();
        let sampled = u8::from_str_radix(&sent[53..], 16)? & 1;
        assert_eq!(sampled, u8::from(flags == "01"), "{what}: {sent}");
        if state == "d" {
            assert!(arrived.header("b3").unwrap().ends_with("-d"), "{what}: debug goes on");
        }
    }
    workloads.assert_no_trap();
    Ok(())
}
