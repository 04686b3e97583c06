//! What runs: a control plane, the image in its registry, the manifest, and the mesh.

use crate::demo::access_log::{self, LogEntry};
use crate::demo::demo_mesh::services;
use crate::demo::hop::Hop;
use crate::demo::source::Source;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sidespan_harness::istio::{ControlPlane, IstioMesh, MeshConfig, ROOT_NAMESPACE};
use sidespan_harness::mesh::{Exchange, Forwarding};
use sidespan_harness::provide::IstioPrograms;
use sidespan_harness::{ReceivedSpan, Receiver, oci};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Everything that runs.
pub(crate) struct Stage {
    /// Gateway and services.
    pub mesh: IstioMesh,
    /// API server, istiod, registry.
    pub control: ControlPlane,
    /// Where spans arrive.
    pub receiver: Receiver,
    /// What the filter had counted before the traffic began.
    before: BTreeMap<String, u64>,
}

/// What stands in an access log before the demo's own format: it tells the listeners of one proxy apart.
const LISTENER: &str = "%DOWNSTREAM_LOCAL_ADDRESS%";

/// The path of requests that only ask whether the mesh is there.
const PROBE: &str = "/readyz";

/// Starts the control plane, pushes the image, and applies the manifest with image and digest put in.
pub(crate) async fn start_control_plane(
    programs: &IstioPrograms,
    layout: &Path,
    digest: &str,
    manifest: &Path,
) -> Result<ControlPlane> {
    let mesh =
        MeshConfig { access_log_format: format!("{LISTENER}\t{}", access_log::format()), ..MeshConfig::default() };
    let control = ControlPlane::start(programs, &mesh, |what| println!("    {what}")).await?;
    let tag = concat!("sidespan:", env!("CARGO_PKG_VERSION"));
    let pushed = control.registry.push(layout, tag)?;
    ensure!(pushed == digest, "the registry has sha256:{pushed}, written was sha256:{digest}");
    println!("    pushed {}/{tag}, sha256:{digest}", control.registry.host());
    let text = match manifest.is_dir() {
        true => resources_of_istio(&control.kubectl().kustomize(manifest).await?),
        false => fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?,
    };
    ensure!(text.contains("url: oci://"), "{} has no `url: oci://…` to put the image in", manifest.display());
    let (pinned, _) = oci::pin(&text, Some(&format!("{}/{tag}", control.registry.host())), digest);
    control.kubectl().apply(&pinned).await?;
    let what = if manifest.is_dir() { "the plugins and Telemetries of the kustomization" } else { "the manifest" };
    println!("    applied {what}, changed in image and digest alone");
    Ok(control)
}

/// Of what kustomize made, the plugins and the Telemetries: there is nobody here to run a Deployment, and the collector is the receiver.
fn resources_of_istio(built: &str) -> String {
    let kinds = ["kind: WasmPlugin", "kind: TrafficExtension", "kind: Telemetry"];
    let of_istio = |document: &&str| document.lines().any(|line| kinds.contains(&line));
    built.split("\n---\n").filter(of_istio).collect::<Vec<_>>().join("\n---\n")
}

// === impl Stage ===

impl Stage {
    /// Starts the demo's services and their agents.
    pub(crate) async fn start(control: ControlPlane, envoy: &Path) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let builder =
            services(Forwarding::All).into_iter().fold(IstioMesh::builder(), |mesh, service| mesh.service(service));
        let mesh = builder.gateway("frontend").start(&control, envoy, receiver.port()).await?;
        let before = settled(&mesh).await?;
        Ok(Self { mesh, control, receiver, before })
    }

    /// The configuration that is in force, as the API server has it.
    pub(crate) async fn plugin_config(&self) -> Result<Value> {
        let get = ["get", "wasmplugin", "sidespan", "-n", ROOT_NAMESPACE, "-o", "jsonpath={.spec.pluginConfig}"];
        let text = self.control.kubectl().run(&get, "").await?;
        serde_json::from_str(&text).with_context(|| format!("pluginConfig: {text}"))
    }

    /// Ends the agents in order, then the rest.
    pub(crate) async fn stop(self) -> Result<()> {
        self.mesh.stop().await
    }
}

impl Source for Stage {
    async fn metrics(&self) -> Result<BTreeMap<String, u64>> {
        let mut metrics = self.mesh.metrics().await?;
        for (name, value) in metrics.iter_mut().filter(|(name, _)| name.ends_with("_total")) {
            *value = value.saturating_sub(self.before.get(name).copied().unwrap_or_default());
        }
        Ok(metrics)
    }

    fn entries(&self) -> Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for (name, agent) in self.mesh.agents() {
            for line in agent.access_log() {
                let (listener, rest) = line.split_once('\t').context("a line of another format")?;
                let hop = hop(name, listener).with_context(|| format!("access log of {name}: {line:?}"))?;
                let entry = LogEntry::read(hop, rest)?;
                if entry.path != PROBE {
                    entries.push(entry);
                }
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
        self.mesh.traps()
    }
}

/// The metrics, once they do not change any more: the filter publishes what it counted about once a second.
async fn settled(mesh: &IstioMesh) -> Result<BTreeMap<String, u64>> {
    let mut last = mesh.metrics().await?;
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let metrics = mesh.metrics().await?;
        if metrics == last {
            return Ok(metrics);
        }
        last = metrics;
    }
}

/// The harness gives inbound listeners the addresses 127.x.x.10 to 99, outbound ones those from 100 on.
fn hop(workload: &str, listener: &str) -> Option<Hop> {
    let address: std::net::SocketAddrV4 = listener.parse().ok()?;
    let outbound = address.ip().octets()[3] >= 100;
    Hop::all().find(|hop| hop.service() == workload && (hop.is_first() || hop.is_inbound() != outbound))
}

/// Who says what of its peers: service, attribute and principal, each once, in order.
pub(crate) fn principals(spans: &[ReceivedSpan]) -> BTreeSet<(&str, &str, &str)> {
    let of = |attribute: &'static str| {
        let entry = move |span| Some((ReceivedSpan::service(span), attribute, ReceivedSpan::text(span, attribute)?));
        spans.iter().filter_map(entry)
    };
    of("istio.source_principal").chain(of("istio.destination_principal")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_kustomize_makes_only_resources_of_istio_are_applied() {
        let document = |kind| format!("apiVersion: v1\ndata:\n  kind: WasmPlugin\nkind: {kind}");
        let built = ["ConfigMap", "WasmPlugin", "Deployment", "Telemetry"].map(document).join("\n---\n");
        let kept = resources_of_istio(&(built + "\n"));
        assert_eq!(kept, format!("{}\n---\n{}\n", document("WasmPlugin"), document("Telemetry")));
    }
}
