//! Starts the processes of a mesh, those called before their callers.

use super::app::{App, Behaviour};
use super::native_tracing::NativeTracing;
use super::running::Mesh;
use super::service::Service;
use crate::bootstrap::{Bootstrap, Cluster, Direction, Filter, Listener, Node, Route, VirtualHost};
use crate::client::Client;
use crate::envoy::Envoy;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What to start.
#[derive(Default)]
pub struct MeshBuilder {
    services: Vec<Service>,
    gateway: Option<(String, String)>,
    filters: Vec<Filter>,
    clusters: Vec<Cluster>,
    access_log: Option<String>,
    native_tracing: Option<NativeTracing>,
    http2: bool,
    listeners: Option<Change<Listener>>,
    bootstraps: Option<Change<Bootstrap>>,
}

type Change<T> = Box<dyn Fn(&str, T) -> T + Send + Sync>;

// === impl Mesh ===

impl Mesh {
    /// Describes a mesh, which [`MeshBuilder::start`] starts.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }
}

// === impl MeshBuilder ===

impl MeshBuilder {
    /// Adds a service, in any order.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// An ingress gateway that sends everything to one service.
    #[must_use]
    pub fn gateway(mut self, name: &str, service: &str) -> Self {
        self.gateway = Some((name.to_owned(), service.to_owned()));
        self
    }

    /// A filter on every listener: inbound, outbound, gateway.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// A cluster that every Envoy knows, such as the collector's.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// An access log on every listener; its file is `<listener>.log`.
    #[must_use]
    pub fn access_log(mut self, format: &str) -> Self {
        self.access_log = Some(format.to_owned());
        self
    }

    /// Envoy's own tracer on every listener.
    #[must_use]
    pub fn native_tracing(mut self, tracing: NativeTracing) -> Self {
        self.native_tracing = Some(tracing);
        self
    }

    /// HTTP/2 on every hop, which gRPC needs.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Changes listeners before they are started; it is given the name of the service or gateway.
    #[must_use]
    pub fn listeners(mut self, change: impl Fn(&str, Listener) -> Listener + Send + Sync + 'static) -> Self {
        self.listeners = Some(Box::new(change));
        self
    }

    /// Changes bootstraps before they are started; it is given the name of the service or gateway.
    #[must_use]
    pub fn bootstraps(mut self, change: impl Fn(&str, Bootstrap) -> Bootstrap + Send + Sync + 'static) -> Self {
        self.bootstraps = Some(Box::new(change));
        self
    }

    /// Starts everything; those called start before their callers.
    ///
    /// # Errors
    /// If a service calls one that is not there, or calls go round in a circle, or anything does not start.
    pub async fn start(self, binary: &Path) -> Result<Mesh> {
        let mut sidecars = BTreeMap::<String, (Envoy, App)>::new();
        while sidecars.len() < self.services.len() {
            let ready = |service: &&Service| {
                let external = |to: &String| service.externals.iter().any(|(host, _)| host == to);
                !sidecars.contains_key(&service.name)
                    && service.calls.iter().all(|(to, _)| sidecars.contains_key(to) || external(to))
            };
            let Some(service) = self.services.iter().find(ready) else {
                bail!("started {:?}; the others call unknown services or each other", sidecars.keys());
            };
            let started = self.start_service(service, &sidecars, binary).await;
            sidecars.insert(service.name.clone(), started.with_context(|| format!("service {}", service.name))?);
        }
        let gateway = self.start_gateway(&sidecars, binary).await?;
        let first = self.services.first().context("a mesh without services")?;
        let (entry, entry_host) = match (&gateway, &self.gateway) {
            (Some(envoy), Some((_, service))) => (envoy.port("gateway")?, self.find(service)?.full_name()),
            _ => (inbound_port(&sidecars, &first.name)?, first.full_name()),
        };
        Ok(Mesh { gateway, sidecars, entry, entry_host, http2: self.http2 })
    }

    async fn start_service(
        &self,
        service: &Service,
        others: &BTreeMap<String, (Envoy, App)>,
        binary: &Path,
    ) -> Result<(Envoy, App)> {
        let mut calls = Vec::new();
        let mut outbound = self.listener(&service.name, Listener::new("outbound", Direction::Outbound));
        let mut clusters = Vec::new();
        let is_external = |to: &str| service.externals.iter().any(|(host, _)| host == to);
        for (to, path) in &service.calls {
            let host = match is_external(to) {
                true => to.clone(),
                false => self.find(to).map(|callee| format!("{}.{}", callee.name, callee.namespace))?,
            };
            calls.push((host, path.clone()));
        }
        // Several calls of one service share a host and a cluster.
        for to in service.calls.iter().map(|(to, _)| to).filter(|to| !is_external(to)).collect::<BTreeSet<_>>() {
            let callee = self.find(to)?;
            outbound = outbound.virtual_host(callee.virtual_host(service));
            clusters.push(self.hop(&callee.cluster_name(), inbound_port(others, to)?));
        }
        for (host, cluster) in &service.externals {
            outbound = outbound.virtual_host(VirtualHost::new(host, &[host], [service.route(cluster.name())]));
            clusters.push(cluster.clone());
        }
        let app = App::start(Behaviour {
            name: service.name.clone(),
            forwarding: service.forwarding,
            masks: service.masks,
            work: service.work,
            calls,
            parallel: service.parallel,
        })
        .await?;
        let route = Route::cluster("/", "inbound|8080||").named("default");
        let host = VirtualHost::new("inbound|http|8080", &["*"], [route]);
        let inbound = Listener::new("inbound", Direction::Inbound).virtual_host(host);
        clusters.push(self.hop("inbound|8080||", app.port()));
        let node = Node::sidecar(&service.name, &service.namespace).metadata(service.metadata.clone());
        let listeners = [self.listener(&service.name, inbound), outbound];
        let envoy = Envoy::start(binary, &self.bootstrap(&service.name, node, listeners, clusters)).await?;
        let port = envoy.port("outbound")?;
        app.set_outbound(if self.http2 { Client::http2(port) } else { Client::http1(port) });
        Ok((envoy, app))
    }

    async fn start_gateway(&self, services: &BTreeMap<String, (Envoy, App)>, binary: &Path) -> Result<Option<Envoy>> {
        let Some((name, to)) = &self.gateway else { return Ok(None) };
        let service = self.find(to)?;
        let route = Route::cluster("/", &service.cluster_name()).named("default");
        // Istio's gateways say OUTBOUND, and trust nobody in front of them.
        let listener = Listener::new("gateway", Direction::Outbound)
            .virtual_host(VirtualHost::any([route]))
            .manager(json!({"use_remote_address": true}));
        let cluster = self.hop(&service.cluster_name(), inbound_port(services, to)?);
        let node = Node::gateway(name, "istio-system");
        let bootstrap = self.bootstrap(name, node, [self.listener(name, listener)], [cluster]);
        Envoy::start(binary, &bootstrap).await.map(Some).with_context(|| format!("gateway {name}"))
    }

    /// A listener with what all listeners have.
    fn listener(&self, owner: &str, listener: Listener) -> Listener {
        let mut listener = self.filters.iter().fold(listener, |listener, filter| listener.filter(filter.clone()));
        if let Some(format) = &self.access_log {
            let file = format!("{}.log", listener.name());
            listener = listener.access_log(&file, format);
        }
        match &self.listeners {
            Some(change) => change(owner, listener),
            None => listener,
        }
    }

    fn bootstrap(
        &self,
        owner: &str,
        node: Node,
        listeners: impl IntoIterator<Item = Listener>,
        clusters: impl IntoIterator<Item = Cluster>,
    ) -> Bootstrap {
        let traced = |listener| match &self.native_tracing {
            Some(tracing) => tracing.listener(listener, &node),
            None => listener,
        };
        let listeners: Vec<Listener> = listeners.into_iter().map(traced).collect();
        let bootstrap = listeners.into_iter().fold(Bootstrap::new(node), Bootstrap::listener);
        let bootstrap = self.native_tracing.iter().fold(bootstrap, |bootstrap, tracing| tracing.bootstrap(bootstrap));
        let bootstrap = clusters.into_iter().chain(self.clusters.iter().cloned()).fold(bootstrap, Bootstrap::cluster);
        match &self.bootstraps {
            Some(change) => change(owner, bootstrap),
            None => bootstrap,
        }
    }

    fn hop(&self, name: &str, port: u16) -> Cluster {
        let cluster = Cluster::new(name, port);
        if self.http2 { cluster.http2() } else { cluster }
    }

    fn find(&self, name: &str) -> Result<&Service> {
        self.services.iter().find(|service| service.name == name).with_context(|| format!("no service {name}"))
    }
}

fn inbound_port(sidecars: &BTreeMap<String, (Envoy, App)>, service: &str) -> Result<u16> {
    let (envoy, _) = sidecars.get(service).with_context(|| format!("no service {service}"))?;
    envoy.port("inbound")
}
