//! A mesh whose Envoys trace by themselves, with the filter beside their tracers, and the path of a trace over both exporters.

use crate::paths::{HOPS, Paths, all_exported, outline};
use crate::stage::{SOON, filter};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Cluster, Filter};
use sidespan_harness::mesh::{Exchange, Mesh, MeshBuilder, NativeTracing, Service};
use sidespan_harness::span::hops;
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary, eventually, merge};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How Envoy's tracer is made: `NativeTracing::opentelemetry` or `NativeTracing::zipkin`.
pub type Protocol = fn(&Receiver, f64) -> NativeTracing;

/// Both, by name.
pub const PROTOCOLS: [(&str, Protocol); 2] =
    [("OpenTelemetry", NativeTracing::opentelemetry), ("Zipkin", NativeTracing::zipkin)];

/// What to start: `gateway → frontend → backend → database`.
pub struct Described {
    pub envoy: PathBuf,
    pub config: Value,
    pub protocol: Option<Protocol>,
    /// Of the native tracer.
    pub percentage: f64,
    pub upstream_spans: bool,
    /// Before the filter, on every listener.
    pub earlier: Vec<Filter>,
    pub frontend: fn(Service) -> Service,
    pub backend: fn(Service) -> Service,
}

/// A running mesh. `paths.receiver` receives the spans of the filter, `native` those of Envoy's tracers.
pub struct Beside {
    pub paths: Paths,
    pub native: Receiver,
}

/// `pluginConfig` of the mode, without a cap, exporting every 100 ms.
pub fn adopt(patch: Value) -> Value {
    let mut config = json!({
        "nativeTracer": "adopt",
        "exporter": {"otlp": {"cluster": "collector", "timeout": "5s"}, "batch": {"delay": "100ms"}},
        "sampling": {"errors": {"percentage": 100, "maxPerSecond": 0, "wholePath": true}},
    });
    merge(&mut config, patch);
    config
}

/// Whether the filter exported it, not Envoy.
pub fn is_ours(span: &ReceivedSpan) -> bool {
    span.scope.name == "sidespan"
}

/// The trace that an application was told, in the header of whichever tracer there is.
pub fn trace_of(exchange: &Exchange) -> Result<&str> {
    let (w3c, b3) = (exchange.received.header("traceparent"), exchange.received.header("x-b3-traceid"));
    w3c.and_then(|value| value.get(3..35)).or(b3).context("no trace header")
}

// === impl Described, Beside ===

impl Described {
    /// A tracer at a percentage in the Envoy of the other tests.
    pub fn new(protocol: Protocol, percentage: f64) -> Result<Self> {
        Ok(Self {
            envoy: envoy_binary()?,
            config: adopt(json!({})),
            protocol: Some(protocol),
            percentage,
            upstream_spans: false,
            earlier: Vec::new(),
            frontend: |service| service.calls("backend", "/api"),
            backend: |service| service.calls("database", "/query"),
        })
    }

    pub fn in_envoy(self, envoy: &Path) -> Self {
        Self { envoy: envoy.to_owned(), ..self }
    }

    pub async fn start(self, change: impl FnOnce(MeshBuilder) -> MeshBuilder) -> Result<Beside> {
        let (receiver, native) = (Receiver::start().await?, Receiver::start().await?);
        let builder = self.earlier.into_iter().fold(Mesh::builder(), MeshBuilder::filter);
        let builder = builder
            .gateway("istio-ingressgateway", "frontend")
            .service((self.frontend)(Service::new("frontend", "shop")))
            .service((self.backend)(Service::new("backend", "shop")))
            .service(Service::new("database", "data"))
            .filter(filter(&self.config)?)
            .cluster(Cluster::new("collector", receiver.port()));
        let builder = match self.protocol.map(|protocol| protocol(&native, self.percentage)) {
            Some(tracing) if self.upstream_spans => builder.native_tracing(tracing.with_upstream_spans()),
            Some(tracing) => builder.native_tracing(tracing),
            None => builder,
        };
        let mesh = change(builder).start(&self.envoy).await?;
        Ok(Beside { paths: Paths { mesh, receiver }, native })
    }
}

impl Beside {
    /// The spans of both exporters by trace, once there are all of them: `requests` requests were seen at each hop.
    pub async fn traces(&self, requests: u64) -> Result<BTreeMap<String, Vec<ReceivedSpan>>> {
        self.traces_of(|name| if ["frontend", "backend"].contains(&name) { 2 * requests } else { requests }).await
    }

    /// The same, where each Envoy has seen another number of requests.
    pub async fn traces_of(&self, requests: impl Fn(&str) -> u64) -> Result<BTreeMap<String, Vec<ReceivedSpan>>> {
        let envoys: Vec<_> = self.paths.mesh.envoys().map(|(name, envoy)| (name, envoy, requests(name))).collect();
        all_exported(&envoys, &self.paths.receiver).await?;
        let native = eventually("all native spans have arrived", SOON, async || {
            let received = self.native.spans_of_all_protocols();
            let mut sent = 0;
            for (_, envoy) in self.paths.mesh.envoys() {
                let stats = envoy.stats().await?;
                let stat = |name: &str| stats.get(name).copied().unwrap_or_default();
                sent += stat("tracing.opentelemetry.spans_sent") + stat("tracing.zipkin.spans_sent");
            }
            ensure!(received.len() as u64 == sent, "{} of {sent} received", received.len());
            Ok(received)
        })
        .await?;
        ensure!(
            native.iter().all(|span| !is_ours(span)),
            "the receiver of the native tracers has a span of the filter"
        );
        let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
        for span in self.paths.receiver.spans().into_iter().chain(native) {
            traces.entry(span.trace_id.clone()).or_default().push(span);
        }
        Ok(traces)
    }

    /// How many log lines of all Envoys contain these words.
    pub fn log_lines(&self, words: &str) -> usize {
        self.paths.mesh.envoys().map(|(_, envoy)| envoy.log().matches(words).count()).sum()
    }
}

// === paths over both exporters ===

/// The services of [`HOPS`] as both exporters call them: the cluster of Envoy's node.
pub const SERVICES: [&str; 6] = [
    "istio-ingressgateway.istio-system",
    "frontend.shop",
    "frontend.shop",
    "backend.shop",
    "backend.shop",
    "database.data",
];

/// Each hop once, from whichever exporter, each the child of the one before; the spans of the filter have these reasons.
/// `attempts`: spans of the last hop. Answers how many spans the filter exported.
pub fn assert_whole(what: &str, spans: &[ReceivedSpan], reasons: &[&str], attempts: usize) -> usize {
    let path = hops(spans, &SERVICES[..reasons.len()], attempts).unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let mut ours = 0;
    for ((hop, reason), (_, kind)) in path.iter().zip(reasons).zip(HOPS) {
        for span in hop.iter().filter(|span| is_ours(span)) {
            let found = (span.kind, span.text("sidespan.sampling.reason").unwrap_or_default(), span.flags & 1);
            assert_eq!(found, (kind, *reason, 1), "{what}: {:#?}", outline(spans));
            assert_eq!(span.problems, [""; 0], "{what}");
            ours += 1;
        }
    }
    ours
}

/// No tracer but the native one has written: no member `ot`, no header of a format that it does not write.
pub fn assert_headers_of_the_native_tracer(exchange: &Exchange) {
    let header = |name: &str| exchange.received.header(name);
    assert!(!header("tracestate").unwrap_or_default().contains("ot="), "{:?}", exchange.received.headers);
    assert_ne!(header("traceparent").is_some(), header("x-b3-traceid").is_some(), "{:?}", exchange.received.headers);
    assert!(header("b3").is_none() && header("baggage").is_none(), "{:?}", exchange.received.headers);
}
