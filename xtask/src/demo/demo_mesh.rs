//! The mesh of the demo: a gateway and three services, each Envoy a process of its own, and a receiver for their spans.

use super::access_log::{self, LogEntry};
use super::hop::{self, Hop};
use super::source::Source;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sidespan_harness::bootstrap::{Cluster, Plugin};
use sidespan_harness::mesh::{Exchange, Forwarding, Mesh, Service};
use sidespan_harness::{Envoy, Receiver};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The running mesh and the receiver of its spans.
pub(super) struct DemoMesh {
    /// Proxies and applications.
    pub mesh: Mesh,
    /// Receives the spans.
    pub receiver: Receiver,
}

/// How the filter finds the receiver.
#[derive(Debug, PartialEq, Eq)]
struct Collector {
    /// The Envoy cluster that the configuration names.
    cluster: String,
    http2: bool,
}

// === impl DemoMesh ===

impl DemoMesh {
    /// Starts everything, the filter with `config` on every listener.
    pub(super) async fn start(envoy: &Path, module: &Path, config: &Value) -> Result<Self> {
        let collector = Collector::of(config)?;
        let receiver = Receiver::start().await?;
        let cluster = Cluster::new(&collector.cluster, receiver.port());
        let filter = Plugin::new(module).root_id("sidespan").configuration(config);
        let mesh = services(forwarding_of_backend(config))
            .into_iter()
            .fold(Mesh::builder(), |mesh, service| mesh.service(service))
            .gateway(hop::GATEWAY, "frontend")
            .filter(filter)
            .cluster(if collector.http2 { cluster.http2() } else { cluster })
            .access_log(&access_log::format())
            .start(envoy)
            .await?;
        let demo = Self { mesh, receiver };
        demo.refuse_unusable_configuration()?;
        Ok(demo)
    }

    /// The Envoy that a hop belongs to.
    fn envoy(&self, hop: Hop) -> Result<&Envoy> {
        match hop.service() {
            hop::GATEWAY => self.mesh.gateway().context("the mesh has a gateway"),
            service => self.mesh.sidecar(service),
        }
    }

    /// Warnings of the filter about its configuration, without duplicates.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.mesh.envoys().flat_map(|(_, envoy)| log_lines_after(envoy, "pluginConfig: ")).collect();
        warnings.sort_unstable();
        warnings.dedup();
        warnings
    }

    /// Fails if the filter refused the configuration: it would let traffic pass without spans.
    fn refuse_unusable_configuration(&self) -> Result<()> {
        let refused =
            self.mesh.envoys().find_map(|(_, envoy)| log_lines_after(envoy, "pluginConfig is not usable").pop());
        let Some(line) = refused else { return Ok(()) };
        // The log line says first what the filter does instead, then the problems.
        bail!(
            "the filter refuses the configuration: {}",
            line.split_once(": ").map_or(&*line, |(_, problems)| problems)
        )
    }
}

impl Source for DemoMesh {
    async fn metrics(&self) -> Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        for (name, envoy) in self.mesh.envoys() {
            for (metric, value) in envoy.stats().await.with_context(|| format!("metrics of the Envoy of {name}"))? {
                if let Some(metric) = metric.strip_prefix("wasmcustom.") {
                    *sums.entry(metric.to_owned()).or_default() += value;
                }
            }
        }
        Ok(sums)
    }

    fn entries(&self) -> Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for hop in Hop::all() {
            let log = self.envoy(hop)?.file(&hop.access_log());
            // A last line without a line end is still being written.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            for line in whole.lines() {
                entries.push(LogEntry::read(hop, line)?);
            }
        }
        Ok(entries)
    }

    fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    fn exchanges(&self, service: &str) -> Result<Vec<Exchange>> {
        self.mesh.exchanges(service)
    }

    fn traps(&self) -> Vec<String> {
        let of = |(name, envoy): (&str, &Envoy)| -> Vec<String> {
            envoy.traps().iter().map(|line| format!("{name}: {line}")).collect()
        };
        self.mesh.envoys().flat_map(of).collect()
    }
}

/// The frontend forwards W3C headers, as an OpenTelemetry SDK does. The backend forwards B3 headers, as a Zipkin library does, if the filter is configured
/// to write them; if not, it forwards all headers, because a trace would end at an application that forwards none.
fn forwarding_of_backend(config: &Value) -> Forwarding {
    let inject = config["propagation"]["inject"].as_array().map_or(&[][..], Vec::as_slice);
    match inject.iter().any(|format| matches!(format.as_str(), Some("b3" | "b3multi"))) {
        true => Forwarding::B3,
        false => Forwarding::All,
    }
}

/// Frontend, backend and database; the frontend forwards W3C headers, the backend those of `backend`.
pub(crate) fn services(backend: Forwarding) -> [Service; 3] {
    let milliseconds = Duration::from_millis;
    let frontend = Service::new("frontend", "shop").calls("backend", "/api/stock/4711").forwards(Forwarding::W3c);
    let backend = Service::new("backend", "shop").calls("database", "/query/stock").forwards(backend);
    [
        frontend.works_for(milliseconds(2)),
        backend.works_for(milliseconds(3)),
        Service::new("database", "data").works_for(milliseconds(4)),
    ]
}

/// The rest of each log line that contains `words`, after these words.
fn log_lines_after(envoy: &Envoy, words: &str) -> Vec<String> {
    let log = envoy.log();
    log.lines()
        .filter_map(|line| line.split_once(words))
        .map(|(_, rest)| rest.trim_start_matches(", ").to_owned())
        .collect()
}

// === impl Collector ===

impl Collector {
    /// Reads the name of the cluster from the configuration, so that a production configuration works in the demo.
    fn of(config: &Value) -> Result<Self> {
        let otlp = &config["exporter"]["otlp"];
        if !otlp.is_object() {
            bail!(
                "the configuration has no exporter.otlp: the demo would have no spans to show (see xtask/src/demo/config.json)"
            );
        }
        let http2 = otlp["protocol"] == "grpc";
        let port = otlp["port"].as_u64().unwrap_or(if http2 { 4317 } else { 4318 });
        let cluster = match (otlp["cluster"].as_str(), otlp["service"].as_str()) {
            (Some(cluster), _) => cluster.to_owned(),
            (None, Some(service)) => format!("outbound|{port}||{service}"),
            (None, None) => bail!("exporter.otlp names neither a service nor a cluster"),
        };
        Ok(Self { cluster, http2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_backend_forwards_only_headers_that_the_filter_writes() {
        let of = |inject: Value| forwarding_of_backend(&json!({"propagation": {"inject": inject}}));
        assert_eq!(of(json!(["tracecontext", "b3"])), Forwarding::B3);
        assert_eq!(of(json!(["b3multi"])), Forwarding::B3);
        assert_eq!(of(json!(["tracecontext"])), Forwarding::All);
        assert_eq!(of(Value::Null), Forwarding::All, "the default is tracecontext");
    }

    #[test]
    fn the_receiver_answers_to_the_name_that_the_configuration_exports_to() {
        let table = [
            (json!({"service": "otel.obs"}), Some(("outbound|4318||otel.obs", false)), "Istio's name, default port"),
            (json!({"service": "otel.obs", "port": 80}), Some(("outbound|80||otel.obs", false)), "another port"),
            (json!({"service": "otel.obs", "protocol": "grpc"}), Some(("outbound|4317||otel.obs", true)), "gRPC"),
            (json!({"cluster": "collector"}), Some(("collector", false)), "an Envoy cluster"),
            (json!({}), None, "no name"),
            (Value::Null, None, "no exporter"),
        ];
        for (otlp, expected, why) in table {
            let found = Collector::of(&json!({"exporter": {"otlp": otlp}})).ok();
            let found = found.as_ref().map(|found| (found.cluster.as_str(), found.http2));
            assert_eq!(found, expected, "{why}");
        }
    }
}
