//! One sidecar with the module on its listeners, an application behind it, and a receiver for its spans.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Filter, Listener, Node};
use sidespan_harness::client::Client;
use sidespan_harness::{Envoy, ReceivedSpan, Receiver, Result, Upstream, merge, provide};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than anything here should take, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A running sidecar `backend` in namespace `shop`.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    pub(crate) app: Upstream,
    pub(crate) receiver: Receiver,
}

/// The library: `SIDESPAN_MODULE`, else where `cargo xtask build` puts it.
pub(crate) fn library() -> Result<PathBuf> {
    let named = std::env::var_os("SIDESPAN_MODULE").map(PathBuf::from);
    let path = named.unwrap_or_else(|| provide::target_dir().join("libsidespan.so"));
    ensure!(path.is_file(), "no library at {}: run `cargo xtask build` first", path.display());
    Ok(std::path::absolute(path)?)
}

/// `pluginConfig` that exports to the stage's receiver every 100 ms and samples everything, changed by `patch`.
pub(crate) fn config(patch: Value) -> Value {
    let mut config = json!({
        "exporter": {"otlp": {"cluster": "collector", "timeout": "5s"}, "batch": {"delay": "100ms"}},
        "sampling": {"randomSamplingPercentage": 100},
    });
    merge(&mut config, patch);
    config
}

/// The filter with `filter_config` as a text.
pub(crate) fn filter(config: &Value) -> Filter {
    text_filter(&config.to_string())
}

/// A text that need not be JSON.
pub(crate) fn text_filter(text: &str) -> Filter {
    filter_with(json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text}))
}

/// Any `filter_config`.
pub(crate) fn filter_with(filter_config: Value) -> Filter {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {"name": "sidespan", "do_not_close": true},
        "filter_name": "sidespan",
        "filter_config": filter_config,
    });
    json!({"name": "sidespan", "typed_config": config}).into()
}

/// The bootstrap, with the folder of the library.
pub(crate) fn with_library(bootstrap: Bootstrap, library: &Path) -> Result<Bootstrap> {
    let folder = library.parent().and_then(Path::to_str).context("the path of the library is not UTF-8")?;
    Ok(bootstrap.environment("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", folder))
}

/// An Envoy of this version.
pub(crate) fn envoy(version: &str) -> Result<PathBuf> {
    provide::envoy_version_binary(version, |_| ())
}

/// The Envoy of `ENVOY_BIN`, else the newest one.
pub(crate) fn newest() -> Result<PathBuf> {
    provide::envoy_binary(None, |_| ())
}

impl Stage {
    /// An inbound listener `inbound` and an outbound one `outbound`, both to `app`.
    pub(crate) async fn start(binary: &Path, app: Upstream, filter: &Filter) -> Result<Self> {
        Self::with(binary, app, |bootstrap| {
            bootstrap
                .listener(Listener::inbound("app").filter(filter.clone()))
                .listener(Listener::outbound("app").filter(filter.clone()))
        })
        .await
    }

    /// No listener yet; the clusters are `app` and `collector`.
    pub(crate) async fn with(
        binary: &Path,
        app: Upstream,
        change: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
            .cluster(Cluster::new("app", app.port()))
            .cluster(Cluster::new("collector", receiver.port()));
        let bootstrap = with_library(change(bootstrap), &library()?)?;
        let envoy = Envoy::start(binary, &bootstrap).await?;
        Ok(Self { envoy, app, receiver })
    }

    /// As [`Self::with`], with files that the bootstrap refers to.
    pub(crate) async fn with_files(
        binary: &Path,
        app: Upstream,
        change: impl FnOnce(Bootstrap) -> Bootstrap,
        files: &[(&str, Value)],
    ) -> Result<Self> {
        Self::with(binary, app, |bootstrap| {
            files.iter().fold(change(bootstrap), |bootstrap, (name, content)| bootstrap.file(name, content.clone()))
        })
        .await
    }

    /// An HTTP/1.1 client of a listener.
    pub(crate) fn client(&self, listener: &str) -> Result<Client> {
        Ok(Client::http1(self.envoy.port(listener)?))
    }

    /// Waits for `n` spans.
    pub(crate) async fn spans(&self, n: usize) -> Result<Vec<ReceivedSpan>> {
        self.receiver.wait_for(n, SOON).await
    }
}
