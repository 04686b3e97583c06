//! A running OpenTelemetry Collector: OTLP over gRPC and HTTP and Zipkin in, OTLP out to a receiver of this process.

use crate::process::Process;
use crate::server::reserve;
use crate::support::Patience;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

/// A collector process; killed when dropped.
pub struct Collector {
    // Before the directory: the process ends first.
    process: Process,
    directory: TempDir,
    ports: [Port; 3],
}

/// What the collector does with spans between taking and sending them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pipeline {
    /// That of the integration guide: the probabilistic sampler, at 100 %.
    Guide,
    /// Nothing: who sends has sampled.
    Pass,
    /// Traces are held for a while, then kept if they hold an error, else at a percentage.
    TailSampling {
        /// How long a trace is waited for after its first span.
        wait: Duration,
        /// Of the traces without an error.
        percentage: f64,
    },
}

/// A port that stays reserved for the process: it is bound here too, but nobody listens.
struct Port {
    number: u16,
    _reservation: TcpSocket,
}

const START_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Collector ===

impl Collector {
    /// Starts `binary` ([`crate::provide::collector_binary`]) with OTLP and Zipkin receivers, memory limiter, the pipeline, batch;
    /// what comes out goes to `receiver` by OTLP/HTTP.
    ///
    /// # Errors
    /// If it ends, or does not listen within 30 seconds; the error ends with what it logged.
    pub async fn start(binary: &Path, pipeline: Pipeline, receiver: u16) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("sidespan-collector-").tempdir()?;
        let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let config = pipeline.configuration([ports[0].number, ports[1].number, ports[2].number], receiver);
        fs::write(directory.path().join("config.yaml"), config.to_string())?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new(binary);
        command.current_dir(directory.path()).args(["--config", "config.yaml"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut collector = Self { process: Process::spawn(command)?, directory, ports };
        let started = collector.become_ready().await;
        started.with_context(|| format!("the collector did not start:\n{}", collector.log()))?;
        Ok(collector)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Port of OTLP/gRPC.
    pub fn grpc_port(&self) -> u16 {
        self.ports[0].number
    }

    /// Port of OTLP/HTTP.
    pub fn http_port(&self) -> u16 {
        self.ports[1].number
    }

    /// Port of Zipkin.
    pub fn zipkin_port(&self) -> u16 {
        self.ports[2].number
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn become_ready(&mut self) -> Result<()> {
        let patience = Patience::new("the collector listens", START_TIMEOUT);
        for index in 0..self.ports.len() {
            while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[index].number)).await {
                if let Some(status) = self.process.exited() {
                    bail!("it has ended: {status}");
                }
                patience.pause(anyhow!(error)).await?;
            }
        }
        Ok(())
    }
}

// === impl Port ===

impl Port {
    fn reserve() -> Result<Self> {
        let reservation = reserve(0)?;
        Ok(Self { number: reservation.local_addr()?.port(), _reservation: reservation })
    }
}

// === impl Pipeline ===

impl Pipeline {
    /// JSON is YAML.
    fn configuration(self, [grpc, http, zipkin]: [u16; 3], receiver: u16) -> Value {
        let at = |port: u16| json!({"endpoint": format!("127.0.0.1:{port}")});
        let mut processors = json!({
            "memory_limiter": {"check_interval": "1s", "limit_mib": 256},
            "batch": {"timeout": "50ms"},
        });
        let mut order = vec!["memory_limiter"];
        if let Some((name, settings)) = self.sampler() {
            processors[name] = settings;
            order.push(name);
        }
        order.push("batch");
        json!({
            "receivers": {"otlp": {"protocols": {"grpc": at(grpc), "http": at(http)}}, "zipkin": at(zipkin)},
            "processors": processors,
            "exporters": {"otlp_http": {"endpoint": format!("http://127.0.0.1:{receiver}"), "compression": "none"}},
            "service": {
                // Its own metrics would be on a fixed port.
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {
                    "receivers": ["otlp", "zipkin"],
                    "processors": order,
                    "exporters": ["otlp_http"],
                }},
            },
        })
    }

    fn sampler(self) -> Option<(&'static str, Value)> {
        match self {
            // Its default mode, `hash_seed`, drops every span whose tracestate says how it was sampled (`ot=th:`).
            Self::Guide => Some(("probabilistic_sampler", json!({"mode": "proportional", "sampling_percentage": 100}))),
            Self::Pass => None,
            Self::TailSampling { wait, percentage } => {
                let policies = json!([
                    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
                    {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": percentage}},
                ]);
                Some(("tail_sampling", json!({"decision_wait": format!("{}s", wait.as_secs()), "policies": policies})))
            }
        }
    }
}
