//! One sidecar with the filter on its listeners, an application behind it, and a receiver for its spans.

use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node, Plugin};
use sidespan_harness::client::Client;
use sidespan_harness::provide;
use sidespan_harness::{Envoy, ReceivedSpan, Receiver, Result, Upstream, envoy_binary, merge};
use std::time::Duration;

/// Longer than anything here should take, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A running sidecar `backend` in namespace `shop`.
pub struct Stage {
    pub envoy: Envoy,
    pub app: Upstream,
    pub receiver: Receiver,
}

/// `pluginConfig` that exports to the stage's receiver every 100 ms and samples everything, changed by `patch`.
pub fn config(patch: Value) -> Value {
    let mut config = json!({
        "exporter": {"otlp": {"cluster": "collector", "timeout": "5s"}, "batch": {"delay": "100ms"}},
        "sampling": {"randomSamplingPercentage": 100},
    });
    merge(&mut config, patch);
    config
}

/// The filter with a configuration.
pub fn filter(config: &Value) -> Result<Plugin> {
    Ok(Plugin::new(&provide::module()?).root_id("sidespan").configuration(config))
}

impl Stage {
    /// An inbound listener `inbound` and an outbound one `outbound`, both to `app`.
    pub async fn start(app: Upstream, config: &Value) -> Result<Self> {
        Self::with(app, config, |bootstrap| bootstrap).await
    }

    /// The same, with a changed bootstrap.
    pub async fn with(app: Upstream, config: &Value, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Result<Self> {
        let (inbound, outbound) = (filter(config)?, filter(config)?);
        Self::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
            change(
                bootstrap
                    .listener(Listener::inbound("app").filter(inbound))
                    .listener(Listener::outbound("app").filter(outbound)),
            )
        })
        .await
    }

    /// No listener yet, any node; the clusters are `app` and `collector`.
    pub async fn bare(node: Node, app: Upstream, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let bootstrap = Bootstrap::new(node)
            .cluster(Cluster::new("app", app.port()))
            .cluster(Cluster::new("collector", receiver.port()));
        let envoy = Envoy::start(&envoy_binary()?, &change(bootstrap)).await?;
        Ok(Self { envoy, app, receiver })
    }

    /// An HTTP/1.1 client of a listener.
    pub fn client(&self, listener: &str) -> Result<Client> {
        Ok(Client::http1(self.envoy.port(listener)?))
    }

    /// Waits for `n` spans.
    pub async fn spans(&self, n: usize) -> Result<Vec<ReceivedSpan>> {
        self.receiver.wait_for(n, SOON).await
    }
}
