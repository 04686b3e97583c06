//! What is compared: one listener of the same Envoy for each.

use super::modules::Modules;
use super::scenario::Scenario;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Listener, Tracer, Wasm};
use sidespan_harness::merge;
use std::path::PathBuf;

/// One thing that is measured.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What the report calls it.
    pub name: String,
    /// Of the requests, how many become spans whatever their outcome; `None`: it makes no spans.
    pub rate: Option<f64>,
    /// Errors become spans too.
    pub keeps_errors: bool,
    /// Its spans are not counted: nobody knows how many there must be.
    unchecked: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    OpenTelemetry,
    Zipkin,
    Wasm(PathBuf, Option<Value>),
}

/// What everything is compared with.
pub const BASE: &str = "no tracing";
/// Envoy's own tracer at a percentage.
pub fn native(percentage: f64) -> String {
    format!("native OpenTelemetry {percentage} %")
}
/// The filter at a percentage, with error bias and whole path as they are by default.
pub fn sidespan(percentage: f64) -> String {
    format!("sidespan {percentage} %")
}
/// The cheapest filter that sees what sidespan sees.
pub const NO_OP: &str = "no-op wasm, stripped";

/// A filter that reads one request header, writes it, reads the status and at the end the flags: the least that propagates a
/// context of one dialect and sees errors. It thinks nothing.
pub const LEAST: &str = "bare host calls, unsampled";
/// The same, and at the end what a span is made of.
pub const LEAST_SPAN: &str = "bare host calls, sampled";
/// What both do before the end, and what each does there.
const LEAST_ERRANDS: &str = "request 1 header traceparent; request 1 replace traceparent; response 1 header :status";
const END_ERRANDS: &str = "log 1 property response.flags";
const SPAN_ERRANDS: &str = "log 1 pairs; log 1 expression [request.time, request.duration, request.protocol, request.size, response.flags, response.size, \
    response.code_details, upstream.address, upstream.request_attempt_count, xds.cluster_name, xds.route_name, source.address]";

const RATES: [f64; 3] = [100.0, 10.0, 1.0];
/// Every option on that does not exclude another.
const EVERY_OPTION: &str = include_str!("every_option.json");

/// All that issue and documentation compare, and `candidates`: other builds of the module, by name.
pub fn all(modules: &Modules, candidates: &[(String, PathBuf)]) -> Result<Vec<Variant>> {
    let mut all = vec![Variant::silent(BASE, Kind::Plain)];
    all.extend(RATES.map(|rate| Variant::tracer(native(rate), rate, Kind::OpenTelemetry)));
    all.push(Variant::tracer("native Zipkin 100 %".to_owned(), 100.0, Kind::Zipkin));
    all.push(Variant::silent("no-op wasm, all exports", Kind::Wasm(modules.no_op.clone(), None)));
    all.push(Variant::silent(NO_OP, Kind::Wasm(modules.no_op_stripped.clone(), None)));
    for (name, end) in [(LEAST, END_ERRANDS), (LEAST_SPAN, SPAN_ERRANDS)] {
        all.push(Variant::errand(name, &modules.no_op_stripped, &format!("{LEAST_ERRANDS}; {end}")));
    }
    for rate in RATES.into_iter().chain([0.0]) {
        all.push(Variant::filter(sidespan(rate), rate, &modules.sidespan, json!({})));
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

// === impl Variant ===

impl Variant {
    fn silent(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), rate: None, keeps_errors: false, unchecked: false, kind }
    }

    fn tracer(name: String, percentage: f64, kind: Kind) -> Self {
        Self { name, rate: Some(percentage / 100.0), keeps_errors: false, unchecked: false, kind }
    }

    fn filter(name: String, percentage: f64, module: &std::path::Path, options: Value) -> Self {
        let mut config = json!({
            "exporter": {"otlp": {"cluster": "collector"}, "batch": {"delay": "100ms"}},
            // A cap that no burst reaches: else the number of spans would depend on the machine's speed.
            "sampling": {"randomSamplingPercentage": percentage, "errors": {"maxPerSecond": 1_000_000}},
        });
        merge(&mut config, options);
        let kind = Kind::Wasm(module.to_owned(), Some(config));
        Self { name, rate: Some(percentage / 100.0), keeps_errors: true, unchecked: false, kind }
    }

    /// The filter with a `pluginConfig` of the reader's own. Its exporter is replaced by one that reaches the receiver here.
    pub fn configured(name: &str, module: &std::path::Path, file: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("--config {}", file.display()))?;
        let options: Value = serde_json::from_str(&text)
            .with_context(|| format!("--config {}: a pluginConfig as JSON is needed", file.display()))?;
        Ok(Self { unchecked: true, ..Self::filter(name.to_owned(), 100.0, module, options) })
    }

    /// A filter that runs errands of the probe: see `benches/probe`.
    pub fn errand(name: &str, module: &std::path::Path, errands: &str) -> Self {
        Self::silent(name, Kind::Wasm(module.to_owned(), Some(Value::String(errands.to_owned()))))
    }

    /// Its listener, whose name is also the service of its spans.
    pub fn listener(&self, scenario: &Scenario, name: &str) -> Listener {
        let listener = scenario.listener().named(name);
        let percentage = self.rate.unwrap_or_default() * 100.0;
        let (cluster, service) = ("collector".to_owned(), name.to_owned());
        match &self.kind {
            Kind::Plain => listener,
            Kind::OpenTelemetry => listener.tracer(&Tracer::OpenTelemetry { cluster, service }, percentage),
            Kind::Zipkin => listener.tracer(&Tracer::Zipkin { cluster }, percentage),
            Kind::Wasm(module, None) => listener.filter(Wasm::new(module).named(name)),
            Kind::Wasm(module, Some(Value::String(text))) => {
                listener.filter(Wasm::new(module).named(name).raw_configuration(text))
            }
            Kind::Wasm(module, Some(config)) => {
                let mut config = config.clone();
                merge(&mut config, json!({"resource": {"service.name": name}}));
                listener.filter(Wasm::new(module).named(name).configuration(&config))
            }
        }
    }

    /// The service that its spans carry.
    pub fn service(&self, listener: &str) -> String {
        match self.kind {
            Kind::Zipkin => super::stage::NODE_CLUSTER.to_owned(),
            _ => listener.to_owned(),
        }
    }

    /// How many of `requests` must become spans, and by how much the count may differ: what a decision draws is random
    /// (five standard errors), and a native tracer keeps fewer than a flush of five to itself.
    pub fn expected_spans(&self, requests: u64, failed: u64) -> (f64, f64) {
        if self.unchecked {
            return (0.0, f64::INFINITY);
        }
        let Some(rate) = self.rate else { return (0.0, 0.0) };
        let (requests, failed) = (requests as f64, if self.keeps_errors { failed as f64 } else { 0.0 });
        let drawn = requests - failed;
        (drawn * rate + failed, 5.0 * (drawn * rate * (1.0 - rate)).sqrt() + 5.0)
    }
}
