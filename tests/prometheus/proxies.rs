//! Real Envoys with the filter, one of them without a fault, the others each with one; and their traffic.

use crate::stage::{Stage, config, filter};
use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node, Plugin, Tracer};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::prometheus::Target;
use sidespan_harness::upstream::{Request, status};
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary, provide};

pub struct Proxies {
    /// Errors of the application, and nothing wrong with the spans.
    calm: Stage,
    /// Envoy's own tracer is on; failing traces take each other's marks.
    overwritten: Stage,
    /// The collector refuses connections, the queue is small.
    lossy: Envoy,
    /// The collector's cluster does not exist.
    hidden: Envoy,
    /// Its first configuration is refused.
    refused: Envoy,
    /// Serve the Envoys above.
    _servers: (Upstream, Receiver),
}

/// Requests of each round, to each listener.
const REQUESTS: usize = 150;

impl Proxies {
    pub async fn start() -> Result<Self> {
        let (app, receiver) = (application().await?, Receiver::start().await?);
        receiver.refuse().await?;
        let alone = async |wasm: Plugin| {
            let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
                .listener(Listener::inbound("app").filter(wasm))
                .cluster(Cluster::new("app", app.port()))
                .cluster(Cluster::new("collector", receiver.port()));
            Envoy::start(&envoy_binary()?, &bootstrap).await
        };
        let nowhere = |cluster: &str| {
            filter(&config(json!({
                "exporter": {"otlp": {"cluster": cluster}, "queue": {"maxBytes": "64KiB"},
                    "retry": {"initial": "100ms", "max": "200ms", "maxElapsed": "1s"}},
                "sampling": {"errors": {"maxPerSecond": 0}},
            })))
        };
        let tracer = Tracer::OpenTelemetry { cluster: "collector".to_owned(), service: "native".to_owned() };
        let uncapped = config(json!({"sampling": {"errors": {"maxPerSecond": 0}}}));
        let traced = Listener::inbound("app").named("traced").filter(filter(&uncapped)?).tracer(&tracer, 100.0);
        Ok(Self {
            calm: Stage::start(application().await?, &uncapped).await?,
            overwritten: Stage::with(application().await?, &uncapped, |bootstrap| bootstrap.listener(traced)).await?,
            lossy: alone(nowhere("collector")?).await?,
            hidden: alone(nowhere("missing")?).await?,
            refused: alone(Plugin::new(&provide::module()?).root_id("sidespan").raw_configuration("nonsense")).await?,
            _servers: (app, receiver),
        })
    }

    /// Each proxy is a pod in a namespace of its fault's name.
    pub fn targets(&self) -> Vec<Target> {
        let of = |namespace, envoy: &Envoy| Target {
            port: envoy.admin_port(),
            labels: vec![("namespace", namespace), ("pod", "backend-0")],
        };
        vec![
            of("calm", &self.calm.envoy),
            of("overwritten", &self.overwritten.envoy),
            of("lossy", &self.lossy),
            of("hidden", &self.hidden),
            of("refused", &self.refused),
        ]
    }

    /// The admin port of the one without a fault.
    pub fn calm_admin_port(&self) -> u16 {
        self.calm.envoy.admin_port()
    }

    /// Requests to every listener, a third of them fail.
    pub async fn send_requests(&self) -> Result<()> {
        let of = |envoy: &Envoy, listener: &str| Ok::<_, anyhow::Error>(Client::http1(envoy.port(listener)?));
        let clients = [
            of(&self.calm.envoy, "inbound")?,
            of(&self.calm.envoy, "outbound")?,
            of(&self.overwritten.envoy, "traced")?,
            of(&self.overwritten.envoy, "outbound")?,
            of(&self.lossy, "inbound")?,
            of(&self.hidden, "inbound")?,
            of(&self.refused, "inbound")?,
        ];
        for client in &clients {
            let answers = fire(REQUESTS, 8, |number| async move {
                // The marks of all these traces have the same slot: the last three digits are the same.
                let parent = format!("00-4bf92f3577b34da6a3{number:011x}abc-00f067aa0ba902b7-01");
                let path = if number % 3 == 0 { "/fail" } else { "/" };
                client.get("backend", path, &[("traceparent", &parent)]).await
            });
            answers.await.into_iter().collect::<Result<Vec<_>>>()?;
        }
        Ok(())
    }
}

async fn application() -> Result<Upstream> {
    Upstream::start(|request: Request<_>| async move {
        status(if request.uri().path() == "/fail" { 500 } else { 200 }, "done").await
    })
    .await
}
