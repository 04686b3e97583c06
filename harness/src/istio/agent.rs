//! One `pilot-agent` and its Envoy: what stands beside the application in a pod.

use super::control::ControlPlane;
use super::sandbox::Sandbox;
use crate::client::Client;
use crate::directory::Directory;
use crate::envoy::{admin, stats, trap_lines};
use crate::network::free_port;
use crate::process::Process;
use crate::support::Patience;
use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running agent; it and its Envoy are killed when it is dropped.
pub struct Agent {
    // Before the directory: the processes end first.
    process: Process,
    sandbox: Sandbox,
    admin: Client,
    status: Client,
    directory: Directory,
}

/// What kind of proxy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
    /// Of an ambient mesh.
    Waypoint,
}

/// What the injector, the kubelet and the downward API would tell the agent.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) role: Role,
    pub(super) address: Ipv4Addr,
    pub(super) labels: Value,
    pub(super) annotations: Value,
    /// More variables of the proxy's container.
    pub(super) variables: Vec<(String, String)>,
}

const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The agent lets its Envoy drain for a second.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

// === impl Agent ===

impl Agent {
    /// Starts `pilot-agent` with the Envoy `binary`; [`Agent::ready`] waits for it.
    pub(super) async fn start(control: &ControlPlane, pod: &Pod, binary: &Path) -> Result<Self> {
        let directory = Directory::create(&format!("sidespan-{}-", pod.name))?;
        let sandbox = Sandbox::find()?;
        let (token, certificate) = control.credentials(&pod.name, &pod.namespace).await?;
        let write = |path: &str, content: &str| -> Result<()> {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(directory.path()))?;
            Ok(fs::write(path, content)?)
        };
        write("var/run/secrets/tokens/istio-token", &token)?;
        write("var/run/secrets/istio/root-cert.pem", &certificate)?;
        write("etc/istio/pod/labels", &downward(&pod.labels))?;
        write("etc/istio/pod/annotations", &downward(&pod.annotations))?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        let (admin, status) = (free_port()?, free_port()?);
        let mut command = sandbox.command(&control.programs().program("pilot-agent"), &data);
        pod.arguments(&mut command);
        pod.variables(&mut command);
        let config = json!({
            "discoveryAddress": control.discovery_address(), "binaryPath": binary, "configPath": "./etc/istio/proxy",
            "concurrency": 1, "proxyAdminPort": admin, "statusPort": status, "terminationDrainDuration": "1s",
        });
        command.env("PROXY_CONFIG", config.to_string());
        command.env("ISTIO_BOOTSTRAP", control.programs().bootstrap_template());
        command.env("WASM_INSECURE_REGISTRIES", control.registry.host());
        command.envs([("ENVOY_STATUS_PORT", free_port()?), ("ENVOY_PROMETHEUS_PORT", free_port()?)].map(as_text));
        let log = File::create(directory.path().join("agent.log"))?;
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process::spawn(command)?;
        Ok(Self { process, sandbox, admin: Client::http1(admin), status: Client::http1(status), directory })
    }

    /// Waits until the kubelet would call the container ready.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let patience = Patience::new("pilot-agent says it is ready", START_TIMEOUT);
        loop {
            if let Some(status) = self.process.exited() {
                bail!("pilot-agent has ended: {status}\n{}", self.directory.tail("agent.log"));
            }
            let asked = self.status.get("localhost", "/healthz/ready", &[]).await;
            let error = match asked {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => anyhow!("{} {}", reply.status, reply.text()),
                Err(error) => error,
            };
            let tail = || self.directory.tail("agent.log");
            patience.pause(error).await.with_context(tail)?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The port of Envoy's admin interface.
    pub fn admin_port(&self) -> u16 {
        self.admin.port()
    }

    /// The folder it runs in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the agent and its Envoy logged so far.
    pub fn log(&self) -> String {
        self.directory.file("agent.log")
    }

    /// The whole lines of the access log so far.
    pub fn access_log(&self) -> Vec<String> {
        let log = self.directory.file("access.log");
        // A last line without its end is still being written.
        log.rsplit_once('\n').map_or("", |(whole, _)| whole).lines().map(str::to_owned).collect()
    }

    /// The body of `GET <path>` at Envoy's admin interface.
    ///
    /// # Errors
    /// If it does not answer 200.
    pub async fn admin_get(&self, path: &str) -> Result<String> {
        admin(&self.admin, "GET", path).await
    }

    /// All counters and gauges of Envoy.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        stats(&self.admin).await
    }

    /// Counters and gauges of the agent itself that begin with `prefix`, as `name{labels}` and value.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn agent_metrics(&self, prefix: &str) -> Result<Vec<String>> {
        let text = self.status.get("localhost", "/stats/prometheus", &[]).await?.text();
        Ok(text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// The extensions that Envoy has from istiod, as the admin interface dumps them.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn extensions(&self) -> Result<String> {
        self.admin_get("/config_dump?resource=ecds_filters").await
    }

    /// Waits until [`Agent::extensions`] hold `text`.
    ///
    /// # Errors
    /// If they do not within a minute.
    pub async fn wait_for_extension(&self, text: &str) -> Result<()> {
        self.wait_for_extensions(&format!("{text} among the extensions"), |dump| dump.contains(text)).await
    }

    /// Waits until there is no extension any more.
    ///
    /// # Errors
    /// If there still is one after a minute.
    pub async fn wait_for_no_extension(&self) -> Result<()> {
        self.wait_for_extensions("no extension", |dump| !dump.contains("ecds_filter\"")).await
    }

    async fn wait_for_extensions(&self, what: &str, good: impl Fn(&str) -> bool) -> Result<()> {
        let patience = Patience::new(what, Duration::from_secs(60));
        loop {
            let dump = self.extensions().await.unwrap_or_else(|error| format!("{error:#}"));
            if good(&dump) {
                return Ok(());
            }
            patience.pause(anyhow!("{dump}\n{}", self.directory.tail("agent.log"))).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What a trapped, refused or missing wasm VM left in its logs.
    pub fn traps(&self) -> Vec<String> {
        let files = ["agent.log", "access.log"];
        files.iter().flat_map(|file| trap_lines(file, &self.directory.file(file))).collect()
    }

    /// Ends it as the kubelet does, by `SIGTERM`, and after twenty seconds by force; returns its log.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(mut self) -> Result<String> {
        let inner = self.sandbox.inner(self.process.id())?;
        if let Some(pid) = i32::try_from(inner).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        match self.process.wait(STOP_TIMEOUT).await {
            Some(_) => Ok(self.log()),
            None => bail!("pilot-agent did not end by SIGTERM:\n{}", self.directory.tail("agent.log")),
        }
    }
}

// === impl Pod ===

impl Pod {
    fn arguments(&self, command: &mut Command) {
        let role = match self.role {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
            Role::Waypoint => "waypoint",
        };
        command.args(["proxy", role, "--domain", &format!("{}.svc.cluster.local", self.namespace)]);
        command.args(["--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error,wasm:info,dynamic_modules:info"]);
        command.args(["--log_output_level=default:info", "--stsPort=0"]);
    }

    /// The names of the injector's template (`istio-discovery/files/injection-template.yaml`).
    fn variables(&self, command: &mut Command) {
        let Self { name, namespace, .. } = self;
        let pod = format!("{name}-6b9f7c5d8-x2x7k");
        let owner = format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let address = self.address.to_string();
        command.envs([
            ("POD_NAME", pod.as_str()),
            ("POD_NAMESPACE", namespace),
            ("INSTANCE_IP", &address),
            ("HOST_IP", "127.0.0.1"),
            ("SERVICE_ACCOUNT", name),
            ("TRUST_DOMAIN", "cluster.local"),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_META_NODE_NAME", "node-1"),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE"),
            // An agent that was not built by Istio's release does not know its version, which an EnvoyFilter may ask for.
            ("ISTIO_META_ISTIO_VERSION", "1.31.0"),
            ("ISTIO_META_WORKLOAD_NAME", name),
            ("ISTIO_META_OWNER", &owner),
            ("ISTIO_META_MESH_ID", "cluster.local"),
            ("ISTIO_META_APP_CONTAINERS", "app"),
            ("ISTIO_META_POD_PORTS", "[]"),
            ("PILOT_CERT_PROVIDER", "istiod"),
        ]);
        // istiod is known by address here, not by the name in its certificate.
        command.env("ISTIOD_SAN", "istiod.istio-system.svc");
        // Not in the template: no search for a cloud's metadata server, no second debug server on a fixed port.
        command.envs([("CLOUD_PLATFORM", "none"), ("PROXY_XDS_DEBUG_VIA_AGENT", "false")]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}

fn as_text((name, port): (&'static str, u16)) -> (&'static str, String) {
    (name, port.to_string())
}

/// As the downward API writes labels and annotations into a file.
fn downward(map: &Value) -> String {
    let line = |(name, value): (&String, &Value)| format!("{name}={value}\n");
    map.as_object().into_iter().flatten().map(line).collect()
}
