//! Workloads with their agents under one control plane, and a gateway in front.

use super::agent::{Agent, Pod, Role};
use super::control::ControlPlane;
use super::names::{GATEWAY, ROOT_NAMESPACE, SERVICE_PORT};
use super::resources::{self, Workload};
use crate::client::Client;
use crate::mesh::app::{App, Behaviour};
use crate::mesh::{Action, Exchange, PLAN, Plan, Service};
use crate::network::Network;
use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What to start.
#[derive(Default)]
pub struct IstioMeshBuilder {
    services: Vec<Service>,
    entry: String,
    variables: Vec<(String, String)>,
}

/// A running mesh; every process and server of it ends when it is dropped.
pub struct IstioMesh {
    agents: BTreeMap<String, Agent>,
    apps: BTreeMap<String, App>,
    workloads: BTreeMap<String, Workload>,
    gateway: SocketAddr,
    host: String,
}

// === impl IstioMeshBuilder ===

impl IstioMeshBuilder {
    /// Adds a service, in any order. Retries and metadata of it are ignored: these are Istio's to configure.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// The service that the gateway sends everything to.
    #[must_use]
    pub fn gateway(mut self, service: &str) -> Self {
        service.clone_into(&mut self.entry);
        self
    }

    /// A variable of every proxy's container.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Applies the resources (mutual TLS STRICT among them), starts an agent for each workload, and waits until all are
    /// ready. `receiver` is the port of the collector on 127.0.0.1.
    ///
    /// # Errors
    /// If the API server refuses something, or an agent does not become ready.
    pub async fn start(self, control: &ControlPlane, binary: &Path, receiver: u16) -> Result<IstioMesh> {
        let network = Network::new();
        let mut apps = BTreeMap::new();
        let mut workloads = Vec::new();
        for (number, service) in (0_u8..).zip(&self.services) {
            let app = App::start(self.behaviour(service)?).await?;
            workloads.push(Workload {
                name: service.name.clone(),
                namespace: service.namespace.clone(),
                inbound: network.address(10 + number),
                outbound: network.address(100 + number),
                application: app.port(),
            });
            apps.insert(service.name.clone(), app);
        }
        let entry =
            workloads.iter().find(|workload| workload.name == self.entry).context("no service at the gateway")?;
        let host = entry.host();
        let gateway = SocketAddr::from((network.address(1), SERVICE_PORT));
        let mut objects: Vec<_> = namespaces(&workloads).into_iter().map(resources::namespace).collect();
        objects.extend([resources::strict_mtls(), resources::collector(receiver)]);
        objects.push(resources::service_account(GATEWAY, ROOT_NAMESPACE));
        objects.extend(resources::gateway(network.address(1), &host));
        objects.extend(workloads.iter().flat_map(Workload::objects));
        control.kubectl().apply_all(objects).await?;
        for workload in &workloads {
            let address = SocketAddr::from((workload.outbound, SERVICE_PORT));
            apps[&workload.name].set_outbound(Client::http1_at(address));
        }
        let mut pods: Vec<Pod> = workloads.iter().map(|workload| self.pod(workload)).collect();
        pods.push(self.gateway_pod(network));
        let agents = try_join_all(pods.iter().map(|pod| start(control, pod, binary))).await?;
        let workloads = workloads.into_iter().map(|workload| (workload.name.clone(), workload)).collect();
        let mesh = IstioMesh { agents: agents.into_iter().collect(), apps, workloads, gateway, host };
        mesh.wait_for_first_answer().await?;
        Ok(mesh)
    }

    fn behaviour(&self, service: &Service) -> Result<Behaviour> {
        let mut calls = Vec::new();
        for (to, path) in &service.calls {
            let callee = self.services.iter().find(|other| other.name == *to);
            let callee = callee.with_context(|| format!("no service {to}"))?;
            calls.push((format!("{}:{SERVICE_PORT}", callee.full_name()), path.clone()));
        }
        Ok(Behaviour {
            parallel: false,
            name: service.name.clone(),
            forwarding: service.forwarding,
            masks: service.masks,
            work: service.work,
            calls,
        })
    }

    fn pod(&self, workload: &Workload) -> Pod {
        Pod {
            name: workload.name.clone(),
            namespace: workload.namespace.clone(),
            role: Role::Sidecar,
            address: workload.inbound,
            labels: workload.labels(),
            annotations: json!({}),
            variables: self.variables.clone(),
        }
    }

    fn gateway_pod(&self, network: Network) -> Pod {
        Pod {
            name: GATEWAY.to_owned(),
            namespace: ROOT_NAMESPACE.to_owned(),
            role: Role::Router,
            address: network.address(1),
            labels: resources::gateway_labels(),
            annotations: json!({}),
            variables: self.variables.clone(),
        }
    }
}

async fn start(control: &ControlPlane, pod: &Pod, binary: &Path) -> Result<(String, Agent)> {
    let mut agent = Agent::start(control, pod, binary).await.with_context(|| pod.name.clone())?;
    agent.ready().await.with_context(|| pod.name.clone())?;
    Ok((pod.name.clone(), agent))
}

fn namespaces(workloads: &[Workload]) -> BTreeSet<&str> {
    workloads.iter().map(|workload| workload.namespace.as_str()).collect()
}

// === impl IstioMesh ===

impl IstioMesh {
    /// A mesh to describe.
    pub fn builder() -> IstioMeshBuilder {
        IstioMeshBuilder::default()
    }

    /// Where clients from outside connect to: the gateway.
    pub fn entry(&self) -> SocketAddr {
        self.gateway
    }

    /// The host that clients from outside ask for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A new client of the gateway.
    pub fn client(&self) -> Client {
        Client::http1_at(self.gateway)
    }

    /// A new client of the outbound listener of a workload's proxy: what it sends is a call of that workload's application.
    ///
    /// # Errors
    /// If there is no such workload.
    pub fn outbound(&self, workload: &str) -> Result<Client> {
        let outbound = self.workload(workload)?.outbound;
        Ok(Client::http1_at(SocketAddr::from((outbound, SERVICE_PORT))))
    }

    /// Host and port of a workload's service, as its callers name it.
    ///
    /// # Errors
    /// If there is no such workload.
    pub fn service(&self, workload: &str) -> Result<String> {
        Ok(format!("{}:{SERVICE_PORT}", self.workload(workload)?.host()))
    }

    /// Where the inbound listener of a workload's proxy is: the address of the pod.
    ///
    /// # Errors
    /// If there is no such workload.
    pub fn inbound(&self, workload: &str) -> Result<SocketAddr> {
        Ok(SocketAddr::from((self.workload(workload)?.inbound, SERVICE_PORT)))
    }

    fn workload(&self, workload: &str) -> Result<&Workload> {
        self.workloads.get(workload).with_context(|| format!("no workload {workload}"))
    }

    /// The agent of a workload; the gateway's is called [`GATEWAY`].
    ///
    /// # Errors
    /// If there is no such workload.
    pub fn agent(&self, workload: &str) -> Result<&Agent> {
        self.agents.get(workload).with_context(|| format!("no workload {workload}"))
    }

    /// Every agent with the name of its workload.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.agents.iter().map(|(name, agent)| (name.as_str(), agent))
    }

    /// What an application has lived through so far, in the order in which it answered.
    ///
    /// # Errors
    /// If there is no such workload.
    pub fn exchanges(&self, workload: &str) -> Result<Vec<Exchange>> {
        Ok(self.apps.get(workload).with_context(|| format!("no workload {workload}"))?.exchanges())
    }

    /// Lets all applications forget what they have lived through.
    pub fn clear(&self) {
        self.apps.values().for_each(App::clear);
    }

    /// Sums of the filter's counters and gauges over all proxies, by name.
    ///
    /// # Errors
    /// If an admin interface does not answer.
    pub async fn metrics(&self) -> Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        for (name, agent) in self.agents() {
            for (metric, value) in agent.stats().await.with_context(|| format!("metrics of {name}"))? {
                if let Some(metric) = metric.strip_prefix("wasmcustom.") {
                    *sums.entry(metric.to_owned()).or_default() += value;
                }
            }
        }
        Ok(sums)
    }

    /// What a trapped VM left in the logs of all proxies.
    pub fn traps(&self) -> Vec<String> {
        self.agents()
            .flat_map(|(name, agent)| agent.traps().into_iter().map(move |line| format!("{name}: {line}")))
            .collect()
    }

    /// Ends all agents as the kubelet does.
    ///
    /// # Errors
    /// If one had to be killed.
    pub async fn stop(self) -> Result<()> {
        try_join_all(self.agents.into_values().map(Agent::stop)).await.map(drop)
    }

    /// Agents are ready as soon as they have their own configuration; certificates and endpoints of others may be under way.
    async fn wait_for_first_answer(&self) -> Result<()> {
        let client = self.client();
        // The first application answers by itself: what is behind it gets traffic only from the tests.
        let entry = self.host.split('.').next().unwrap_or_default();
        let header = Plan::new().with(entry, Action::Status(200)).to_string();
        let plan = [(PLAN, header.as_str())];
        let answered = crate::eventually("the mesh answers", Duration::from_secs(60), async || {
            let reply = client.get(&self.host, "/readyz", &plan).await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
            Ok(())
        });
        answered.await?;
        self.clear();
        Ok(())
    }
}
