//! Kubernetes' API server with etcd, Istio's resource definitions, and istiod.

use super::kubectl::Kubectl;
use super::names::ROOT_NAMESPACE;
use super::registry::Registry;
use crate::directory::Directory;
use crate::network::free_port;
use crate::process::Process;
use crate::provide::IstioPrograms;
use crate::support::Patience;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running control plane; its processes are killed when it is dropped.
pub struct ControlPlane {
    // Before the directory: the processes end first.
    istiod: Process,
    api_server: Process,
    /// Where images are pushed to and pulled from.
    pub registry: Registry,
    programs: IstioPrograms,
    kubectl: Kubectl,
    discovery_port: u16,
    directory: Directory,
}

/// What is set in the mesh configuration, beside what makes istiod work here.
#[derive(Clone, Debug, Default)]
pub struct MeshConfig {
    /// Format of the access logs of all proxies, without the end of the line; each writes `access.log` in its folder.
    pub access_log_format: String,
    /// `extensionProviders`, such as native tracers.
    pub extension_providers: Vec<Value>,
}

const PATIENCE: Duration = Duration::from_secs(120);

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts everything, the API server first; `progress` is told what is about to start.
    ///
    /// # Errors
    /// If a process ends or is not ready within two minutes; the error ends with what it logged.
    pub async fn start(programs: &IstioPrograms, mesh: &MeshConfig, progress: impl Fn(&str)) -> Result<Self> {
        let directory = Directory::create("sidespan-istio-")?;
        let folder = directory.path().join("kubernetes");
        let kubectl = Kubectl {
            kubectl: programs.program("kubectl"),
            istioctl: programs.program("istioctl"),
            kubeconfig: folder.join("kubeconfig"),
        };
        progress("etcd and kube-apiserver");
        let mut api_server = start_api_server(programs, &directory, &folder)?;
        let ready = wait_for_api_server(&mut api_server, &kubectl).await;
        ready.with_context(|| format!("kube-apiserver:\n{}", directory.tail("kube-apiserver.log")))?;
        progress("Istio's resource definitions");
        prepare(&kubectl, programs).await?;
        progress("istiod");
        let discovery_port = free_port()?;
        let mut istiod = start_istiod(programs, &directory, &kubectl, mesh, discovery_port)?;
        let ready = wait_for_istiod(&mut istiod, &kubectl).await;
        ready.with_context(|| format!("istiod:\n{}", directory.tail("istiod.log")))?;
        let registry = Registry::start(&programs.image).await?;
        Ok(Self { istiod, api_server, registry, programs: programs.clone(), kubectl, discovery_port, directory })
    }

    /// Clients of its API server.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Where it keeps logs and data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything istiod logged so far.
    pub fn istiod_log(&self) -> String {
        self.directory.file("istiod.log")
    }

    /// Fails if a process has ended.
    ///
    /// # Errors
    /// Which one, and the end of its log.
    pub fn check(&mut self) -> Result<()> {
        let api_server = self.api_server.exited().map(|status| ("kube-apiserver", status));
        match api_server.or(self.istiod.exited().map(|status| ("istiod", status))) {
            None => Ok(()),
            Some((name, status)) => {
                bail!("{name} has ended: {status}\n{}", self.directory.tail(&format!("{name}.log")))
            }
        }
    }

    pub(super) fn programs(&self) -> &IstioPrograms {
        &self.programs
    }

    /// `host:port` of istiod for agents.
    pub(super) fn discovery_address(&self) -> String {
        format!("127.0.0.1:{}", self.discovery_port)
    }

    /// A token of a service account as the kubelet mounts it, and istiod's root certificate.
    pub(super) async fn credentials(&self, account: &str, namespace: &str) -> Result<(String, String)> {
        let token = ["create", "token", account, "-n", namespace, "--audience", "istio-ca", "--duration", "24h"];
        let token = self.kubectl.run(&token, "").await?.trim().to_owned();
        let map = ["get", "configmap", "istio-ca-root-cert", "-n", namespace, "-o", "jsonpath={.data.root-cert\\.pem}"];
        let patience = Patience::new(format!("istiod puts its root certificate into {namespace}"), PATIENCE);
        loop {
            match self.kubectl.run(&map, "").await {
                Ok(certificate) if certificate.contains("BEGIN CERTIFICATE") => return Ok((token, certificate)),
                Ok(other) => patience.pause(anyhow!("it is {other:?}")).await?,
                Err(error) => patience.pause(error).await?,
            }
        }
    }
}

fn start_api_server(programs: &IstioPrograms, directory: &Directory, folder: &Path) -> Result<Process> {
    let log = File::create(directory.path().join("kube-apiserver.log"))?;
    let mut command = Command::new(programs.program("kube-apiserver"));
    command.arg(folder).arg(free_port()?.to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Process::spawn(command)
}

async fn wait_for_api_server(process: &mut Process, kubectl: &Kubectl) -> Result<()> {
    let patience = Patience::new("the API server is ready", PATIENCE);
    loop {
        if let Some(status) = process.exited() {
            bail!("it has ended: {status}");
        }
        match kubectl.run(&["get", "--raw", "/readyz"], "").await {
            Ok(_) => return Ok(()),
            Err(error) => patience.pause(error).await?,
        }
    }
}

async fn prepare(kubectl: &Kubectl, programs: &IstioPrograms) -> Result<()> {
    let crds = programs.crds();
    let crds = crds.to_str().context("the path of the resource definitions is not UTF-8")?;
    kubectl.run(&["apply", "--server-side", "-f", crds], "").await?;
    kubectl.run(&["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"], "").await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOT_NAMESPACE}});
    kubectl.apply_all(vec![namespace]).await
}

fn start_istiod(
    programs: &IstioPrograms,
    directory: &Directory,
    kubectl: &Kubectl,
    mesh: &MeshConfig,
    discovery_port: u16,
) -> Result<Process> {
    let folder = directory.path().join("istiod");
    fs::create_dir(&folder)?;
    let config = json!({
        "accessLogFile": "access.log",
        "accessLogFormat": format!("{}\n", mesh.access_log_format),
        "rootNamespace": ROOT_NAMESPACE,
        "extensionProviders": mesh.extension_providers,
    });
    fs::write(folder.join("mesh.yaml"), config.to_string())?;
    let log = File::create(directory.path().join("istiod.log"))?;
    let mut command = Command::new(programs.program("pilot-discovery"));
    command.current_dir(&folder).arg("discovery").arg("--kubeconfig").arg(&kubectl.kubeconfig);
    command.args(["--meshConfig", "mesh.yaml", "--httpsAddr=", "--grpcAddr=", "--ctrlz_port=0"]);
    command.arg(format!("--httpAddr=127.0.0.1:{}", free_port()?));
    command.arg(format!("--monitoringAddr=127.0.0.1:{}", free_port()?));
    command.arg(format!("--secureGRPCAddr=127.0.0.1:{discovery_port}"));
    command.envs([("POD_NAME", "istiod"), ("POD_NAMESPACE", ROOT_NAMESPACE)]);
    // Envoy as it is published lacks the filters of these two.
    command.envs([("PILOT_ENABLE_METADATA_EXCHANGE", "false"), ("PILOT_ENABLE_ALPN_FILTER", "false")]);
    command.env("PILOT_ENABLE_GATEWAY_API", "false");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Process::spawn(command)
}

/// Its certificate authority works once the root certificate stands in a namespace.
async fn wait_for_istiod(process: &mut Process, kubectl: &Kubectl) -> Result<()> {
    let patience = Patience::new("istiod is ready", PATIENCE);
    loop {
        if let Some(status) = process.exited() {
            bail!("it has ended: {status}");
        }
        let map = ["get", "configmap", "istio-ca-root-cert", "-n", ROOT_NAMESPACE, "-o", "name"];
        match kubectl.run(&map, "").await {
            Ok(_) => return Ok(()),
            Err(error) => patience.pause(error).await?,
        }
    }
}

impl Drop for ControlPlane {
    /// Agents are gone by then; istiod first, or it complains of the API server.
    fn drop(&mut self) {
        self.istiod.terminate();
        self.api_server.terminate();
    }
}
