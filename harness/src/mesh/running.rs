//! A mesh that runs: its proxies and applications.

use super::app::{App, Exchange};
use crate::client::Client;
use crate::envoy::Envoy;
use crate::upstream::Recorded;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// A running mesh; every process and server of it ends when it is dropped.
pub struct Mesh {
    pub(super) gateway: Option<Envoy>,
    pub(super) sidecars: BTreeMap<String, (Envoy, App)>,
    pub(super) entry: u16,
    pub(super) entry_host: String,
    pub(super) http2: bool,
}

// === impl Mesh ===

impl Mesh {
    /// The port that clients from outside talk to: the gateway's, or the first service's inbound listener.
    pub fn entry(&self) -> u16 {
        self.entry
    }

    /// The host that clients from outside ask for.
    pub fn host(&self) -> &str {
        &self.entry_host
    }

    /// A new client of the entry.
    pub fn client(&self) -> Client {
        if self.http2 { Client::http2(self.entry) } else { Client::http1(self.entry) }
    }

    /// The sidecar of a service.
    ///
    /// # Errors
    /// If there is no such service.
    pub fn sidecar(&self, service: &str) -> Result<&Envoy> {
        self.sidecars.get(service).map(|(envoy, _)| envoy).with_context(|| format!("no service {service}"))
    }

    /// The gateway, if there is one.
    pub fn gateway(&self) -> Option<&Envoy> {
        self.gateway.as_ref()
    }

    /// Every Envoy with the name of its service; the gateway is first and called `gateway`.
    pub fn envoys(&self) -> impl Iterator<Item = (&str, &Envoy)> {
        let gateway = self.gateway.iter().map(|envoy| ("gateway", envoy));
        gateway.chain(self.sidecars.iter().map(|(name, (envoy, _))| (name.as_str(), envoy)))
    }

    /// The exchanges of an application so far, in the order of its answers.
    ///
    /// # Errors
    /// If there is no such service.
    pub fn exchanges(&self, service: &str) -> Result<Vec<Exchange>> {
        let (_, app) = self.sidecars.get(service).with_context(|| format!("no service {service}"))?;
        Ok(app.exchanges())
    }

    /// The requests that have come to an application so far, answered or not.
    ///
    /// # Errors
    /// If there is no such service.
    pub fn arrivals(&self, service: &str) -> Result<Vec<Recorded>> {
        let (_, app) = self.sidecars.get(service).with_context(|| format!("no service {service}"))?;
        Ok(app.arrivals())
    }

    /// Removes the recorded exchanges of all applications.
    pub fn clear(&self) {
        self.sidecars.values().for_each(|(_, app)| app.clear());
    }

    /// As [`Envoy::assert_no_trap`], for each Envoy.
    ///
    /// # Panics
    /// With the first trap found.
    pub fn assert_no_trap(&mut self) {
        self.gateway.iter_mut().for_each(Envoy::assert_no_trap);
        self.sidecars.values_mut().for_each(|(envoy, _)| envoy.assert_no_trap());
    }

    /// Ends all Envoys gracefully, the gateway first.
    ///
    /// # Errors
    /// If one had to be killed or ended with an error.
    pub async fn quit(self) -> Result<()> {
        let sidecars = self.sidecars.into_iter().map(|(name, (envoy, _))| (name, envoy));
        for (name, envoy) in self.gateway.map(|envoy| ("gateway".to_owned(), envoy)).into_iter().chain(sidecars) {
            let (status, log) = envoy.quit().await.with_context(|| name.clone())?;
            ensure!(status.success(), "{name} ended with {status}:\n{log}");
        }
        Ok(())
    }
}
