//! Variants: the tracers and filters that are compared, each on a listener of its own in the same Envoy.

use super::modules::Modules;
use super::scenario::Scenario;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Listener, Plugin, Tracer};
use sidespan_harness::merge;
use std::path::PathBuf;

/// A tracer, a filter, or neither.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    /// Its name in the report.
    pub name: String,
    /// Fraction of requests that become spans regardless of their outcome; `None` if it makes no spans.
    pub rate: Option<f64>,
    /// Whether every error becomes a span.
    pub keeps_errors: bool,
    /// Whether the number of spans is not checked, because the configuration is not known.
    unchecked: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    OpenTelemetry,
    Zipkin,
    Plugin(PathBuf, Option<Value>),
    /// Both; the filter exports what the tracer does not sample and what failed.
    Beside(PathBuf),
}

/// Name of the variant that the others are compared with.
pub(super) const BASE: &str = "no tracing";
/// Name of Envoy's own OpenTelemetry tracer at a sampling percentage.
pub(super) fn native(percentage: f64) -> String {
    format!("native OpenTelemetry {percentage} %")
}
/// Name of the filter at a sampling percentage, with the default error bias and whole path.
pub(super) fn sidespan(percentage: f64) -> String {
    format!("sidespan {percentage} %")
}
/// Name of Envoy's own OpenTelemetry tracer at 1 % with the filter beside it, which adopts its ids.
pub(super) const BESIDE: &str = "native 1 % + adopt";
/// Name of the same as a dynamic module.
pub(super) fn dynamic_module(percentage: f64) -> String {
    format!("sidespan module {percentage} %")
}
/// Name of a filter that does nothing and has only the exports of sidespan.
pub(super) const NO_OP: &str = "no-op wasm, stripped";
/// Name of a dynamic module that does nothing.
pub(super) const NO_OP_MODULE: &str = "no-op module";

/// Name of a filter that reads and writes one request header and reads the status and the response flags, without any
/// computation: the minimum that propagates one trace context format and detects errors.
pub(super) const MINIMAL: &str = "bare host calls, unsampled";
/// The same, which also reads what a span contains.
pub(super) const MINIMAL_SAMPLED: &str = "bare host calls, sampled";
/// Host calls of both in the request and response callbacks, and of each in `on_log`.
const REQUEST_CALLS: &str = "request 1 header traceparent; request 1 replace traceparent; response 1 header :status";
const UNSAMPLED_CALLS: &str = "log 1 property response.flags";
const SAMPLED_CALLS: &str = "log 1 pairs; log 1 expression [request.time, request.duration, request.protocol, request.size, response.flags, response.size, \
    response.code_details, upstream.address, upstream.request_attempt_count, xds.cluster_name, xds.route_name, source.address]";

/// The cluster of Envoy's node, which its Zipkin tracer uses as the service name.
const NODE_CLUSTER: &str = "orders.shop";
const RATES: [f64; 3] = [100.0, 10.0, 1.0];
/// All options that do not exclude each other.
const EVERY_OPTION: &str = include_str!("every_option.json");

/// The variants of the documentation, and `candidates`: other builds of the module, by name.
pub(super) fn all(modules: &Modules, candidates: &[(String, PathBuf)]) -> Result<Vec<Variant>> {
    let mut all = vec![Variant::without_spans(BASE, Kind::Plain)];
    all.extend(RATES.map(|rate| Variant::tracer(native(rate), rate, Kind::OpenTelemetry)));
    all.push(Variant::tracer("native Zipkin 100 %".to_owned(), 100.0, Kind::Zipkin));
    all.push(Variant::without_spans("no-op wasm, all exports", Kind::Plugin(modules.no_op.clone(), None)));
    all.push(Variant::without_spans(NO_OP, Kind::Plugin(modules.no_op_stripped.clone(), None)));
    all.push(Variant::without_spans(NO_OP_MODULE, Kind::Plugin(modules.no_op_library.clone(), None)));
    for (name, end) in [(MINIMAL, UNSAMPLED_CALLS), (MINIMAL_SAMPLED, SAMPLED_CALLS)] {
        all.push(Variant::probe(name, &modules.no_op_stripped, &format!("{REQUEST_CALLS}; {end}")));
    }
    for rate in RATES.into_iter().chain([0.0]) {
        all.push(Variant::filter(sidespan(rate), rate, &modules.sidespan, json!({})));
    }
    let beside = Variant::tracer(BESIDE.to_owned(), 1.0, Kind::Beside(modules.sidespan.clone()));
    all.push(Variant { keeps_errors: true, ..beside });
    for rate in [100.0, 1.0, 0.0] {
        all.push(Variant::filter(dynamic_module(rate), rate, &modules.library, json!({})));
    }
    let no_bias = json!({"sampling": {"errors": {"percentage": 0, "wholePath": false}}});
    all.push(Variant {
        keeps_errors: false,
        ..Variant::filter("sidespan 0 %, no error bias".to_owned(), 0.0, &modules.sidespan, no_bias)
    });
    let every_option: Value = serde_json::from_str(EVERY_OPTION).context("every_option.json")?;
    all.push(Variant::filter("sidespan 100 %, every option".to_owned(), 100.0, &modules.sidespan, every_option));
    for (name, path) in candidates {
        for rate in [100.0, 1.0, 0.0] {
            all.push(Variant::filter(format!("{name} {rate} %"), rate, path, json!({})));
        }
    }
    Ok(all)
}

/// The `pluginConfig` that all variants of the filter have.
fn base() -> Value {
    json!({
        "exporter": {"otlp": {"cluster": "collector"}, "batch": {"delay": "100ms"}},
        // A cap that no burst reaches. Otherwise the number of spans would depend on the speed of the machine.
        "sampling": {"errors": {"maxPerSecond": 1_000_000}},
    })
}

// === impl Variant ===

impl Variant {
    fn without_spans(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), rate: None, keeps_errors: false, unchecked: false, kind }
    }

    fn tracer(name: String, percentage: f64, kind: Kind) -> Self {
        Self { name, rate: Some(percentage / 100.0), keeps_errors: false, unchecked: false, kind }
    }

    fn filter(name: String, percentage: f64, module: &std::path::Path, options: Value) -> Self {
        let mut config = base();
        merge(&mut config, json!({"sampling": {"randomSamplingPercentage": percentage}}));
        merge(&mut config, options);
        let kind = Kind::Plugin(module.to_owned(), Some(config));
        Self { name, rate: Some(percentage / 100.0), keeps_errors: true, unchecked: false, kind }
    }

    /// The filter with a `pluginConfig` from a file. The exporter is replaced by one that reaches the receiver of the benchmark.
    pub(super) fn configured(name: &str, module: &std::path::Path, file: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("--config {}", file.display()))?;
        let options: Value = serde_json::from_str(&text)
            .with_context(|| format!("--config {}: a pluginConfig as JSON is needed", file.display()))?;
        Ok(Self { unchecked: true, ..Self::filter(name.to_owned(), 100.0, module, options) })
    }

    /// A filter that makes these host calls; `benches/probe` defines their syntax.
    pub(super) fn probe(name: &str, module: &std::path::Path, calls: &str) -> Self {
        Self::without_spans(name, Kind::Plugin(module.to_owned(), Some(Value::String(calls.to_owned()))))
    }

    /// Its listener. The name is also the service name of its spans.
    pub(super) fn listener(&self, scenario: &Scenario, name: &str) -> Listener {
        let listener = scenario.listener().named(name);
        let percentage = self.rate.unwrap_or_default() * 100.0;
        let (cluster, service) = ("collector".to_owned(), name.to_owned());
        match &self.kind {
            Kind::Plain => listener,
            Kind::OpenTelemetry => listener.tracer(&Tracer::OpenTelemetry { cluster, service }, percentage),
            Kind::Zipkin => listener.tracer(&Tracer::Zipkin { cluster }, percentage),
            Kind::Beside(module) => {
                let mut config = base();
                merge(&mut config, json!({"nativeTracer": "adopt", "resource": {"service.name": name}}));
                let listener = listener.tracer(&Tracer::OpenTelemetry { cluster, service }, percentage);
                listener.filter(Plugin::new(module).named(name).configuration(&config))
            }
            Kind::Plugin(module, None) => listener.filter(Plugin::new(module).named(name)),
            Kind::Plugin(module, Some(Value::String(text))) => {
                listener.filter(Plugin::new(module).named(name).raw_configuration(text))
            }
            Kind::Plugin(module, Some(config)) => {
                let mut config = config.clone();
                merge(&mut config, json!({"resource": {"service.name": name}}));
                listener.filter(Plugin::new(module).named(name).configuration(&config))
            }
        }
    }

    /// The service name of its spans.
    pub(super) fn service(&self, listener: &str) -> String {
        match self.kind {
            Kind::Zipkin => NODE_CLUSTER.to_owned(),
            _ => listener.to_owned(),
        }
    }

    /// How many of `requests` must become spans, and by how much the count may differ: five standard errors of the random
    /// decision, and five spans, because a native tracer holds back up to four until its next flush.
    pub(super) fn expected_spans(&self, requests: u64, failed: u64) -> (f64, f64) {
        if self.unchecked {
            return (0.0, f64::INFINITY);
        }
        let Some(rate) = self.rate else { return (0.0, 0.0) };
        let (requests, failed) = (requests as f64, if self.keeps_errors { failed as f64 } else { 0.0 });
        let drawn = requests - failed;
        (drawn * rate + failed, 5.0 * (drawn * rate * (1.0 - rate)).sqrt() + 5.0)
    }
}
