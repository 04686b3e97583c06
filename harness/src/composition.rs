//! The processes of a compose file, without containers: the same commands, environment and configuration files.
//!
//! One step replaces what containers give. Each service gets a loopback address of its own in place of a container's network; a
//! service with `network_mode: service:NAME` has the address of NAME. In commands, environment and configuration files
//!
//! | stands | becomes |
//! |---|---|
//! | the path of a mounted file | the path of a copy, in which the same is replaced |
//! | `0.0.0.0`, `127.0.0.1`, `localhost` | the address of the service itself |
//! | the name of a service before a port (`backend:8080`), or after `address:` | the address of that service |
//!
//! and Envoys are told not to share memory with each other (`--disable-hot-restart`), as in containers of their own.

use crate::directory::Directory;
use crate::network::Network;
use crate::process::Process;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A compose file, as Docker Compose's own loader reads it.
#[derive(Debug, Deserialize)]
pub struct Composition {
    /// By name.
    pub services: BTreeMap<String, Service>,
}

/// What this project uses of a service.
#[derive(Debug, Deserialize)]
pub struct Service {
    /// The image that it runs; none if it is built.
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    network_mode: Option<String>,
    /// Mounted files.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// A file of this machine in a container.
#[derive(Debug, Deserialize)]
pub struct Volume {
    /// Path on this machine.
    pub source: PathBuf,
    target: String,
}

/// Services that run as processes; they end when it is dropped.
pub struct Running<'a> {
    composition: &'a Composition,
    network: Network,
    /// `service:port` that another program of the test stands in for.
    stand_ins: BTreeMap<String, SocketAddr>,
    processes: BTreeMap<String, Process>,
    directory: Directory,
}

// === impl Composition ===

impl Composition {
    /// Reads and validates the file with `reader` ([`crate::provide::example_programs`]).
    ///
    /// # Errors
    /// What the loader has to say against it.
    pub fn read(reader: &Path, file: &Path) -> Result<Self> {
        let output = Command::new(reader).arg(file).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("what the reader prints")
    }

    /// Nothing runs yet. Where a name of `stand_ins` (`jaeger:4318`) is called, that address is called instead.
    ///
    /// # Errors
    /// If there can be no folder for the files.
    pub fn run(&self, stand_ins: &[(&str, SocketAddr)]) -> Result<Running<'_>> {
        let stand_ins = stand_ins.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        let directory = Directory::create("sidespan-composition-")?;
        Ok(Running { composition: self, network: Network::new(), stand_ins, processes: BTreeMap::new(), directory })
    }

    /// The service whose network `name` has.
    fn pod<'a>(&'a self, name: &'a str) -> &'a str {
        let mode = self.services.get(name).and_then(|service| service.network_mode.as_deref());
        mode.and_then(|mode| mode.strip_prefix("service:")).unwrap_or(name)
    }
}

// === impl Running ===

impl Running<'_> {
    /// Starts a service: `program` with the arguments of its command (without the first, where that is the program itself).
    ///
    /// # Errors
    /// If there is no such service, or it cannot be started.
    pub fn start(&mut self, name: &str, program: &Path) -> Result<()> {
        let service = self.composition.services.get(name).with_context(|| format!("no service {name}"))?;
        let folder = self.directory.path().join(name);
        fs::create_dir(&folder)?;
        let mounted = self.mount(name, service, &folder)?;
        let replaced = |text: &str| mounted.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let replaced = |text: &str| self.replace(name, &replaced(text));
        let arguments = service.command.iter().flatten().filter(|argument| *argument != "envoy");
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new(program);
        command.current_dir(&folder).args(arguments.map(|argument| replaced(argument)));
        if service.image.as_ref().is_some_and(|image| image.starts_with("envoyproxy/")) {
            command.arg("--disable-hot-restart");
        }
        let variables = service.environment.iter().flatten();
        command.envs(variables.map(|(name, value)| (name, replaced(value.as_deref().unwrap_or_default()))));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.insert(name.to_owned(), Process::spawn(command)?);
        Ok(())
    }

    /// Where a service listens.
    ///
    /// # Errors
    /// If there is no such service.
    pub fn address(&self, name: &str, port: u16) -> Result<SocketAddr> {
        let pod = self.composition.pod(name);
        let place = self.composition.services.keys().position(|known| known == pod);
        let host = u8::try_from(place.with_context(|| format!("no service {name}"))?)?.saturating_add(10);
        Ok(SocketAddr::from((self.network.address(host), port)))
    }

    /// Waits until a service listens on a port.
    ///
    /// # Errors
    /// If it ends, or does not listen within 60 seconds; with what it logged.
    pub async fn listens(&mut self, name: &str, port: u16) -> Result<()> {
        let address = self.address(name, port)?;
        let patience = crate::support::Patience::new("it listens", std::time::Duration::from_secs(60));
        while let Err(error) = tokio::net::TcpStream::connect(address).await {
            if let Some(status) = self.processes.get_mut(name).and_then(Process::exited) {
                bail!("{name} has ended: {status}\n{}", self.log(name));
            }
            patience.pause(error.into()).await.with_context(|| format!("{name} at {address}\n{}", self.log(name)))?;
        }
        Ok(())
    }

    /// What a service has logged.
    pub fn log(&self, name: &str) -> String {
        self.directory.file(&format!("{name}/log"))
    }

    /// Copies the mounted files; their paths in the container and here.
    fn mount(&self, name: &str, service: &Service, folder: &Path) -> Result<Vec<(String, String)>> {
        let mut mounted = Vec::new();
        for Volume { source, target } in &service.volumes {
            let file = source.file_name().with_context(|| format!("{} is no file", source.display()))?;
            mounted.push((target.clone(), folder.join(file).display().to_string()));
        }
        for (volume, (_, copy)) in service.volumes.iter().zip(&mounted) {
            let content = fs::read(&volume.source).with_context(|| volume.source.display().to_string())?;
            let content = match String::from_utf8(content) {
                Ok(text) => {
                    let text = mounted.iter().fold(text, |text, (from, to)| text.replace(from, to));
                    self.replace(name, &text).into_bytes()
                }
                Err(binary) => binary.into_bytes(),
            };
            fs::write(copy, content)?;
        }
        Ok(mounted)
    }

    /// The text with the addresses of this run, for the service `name`.
    fn replace(&self, name: &str, text: &str) -> String {
        let own = self.address(name, 0).map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string());
        let mut text =
            text.replace("0.0.0.0", "127.0.0.1").replace("localhost", "127.0.0.1").replace("127.0.0.1", &own);
        for (place, address) in &self.stand_ins {
            text = text.replace(place, &address.to_string());
        }
        for service in self.composition.services.keys() {
            if let Ok(address) = self.address(service, 0) {
                text = with_address(&text, service, address.ip());
            }
        }
        text
    }
}

/// Replaces a name before a port or after `address: `, where it is a whole word.
fn with_address(text: &str, name: &str, address: IpAddr) -> String {
    let mut parts = text.split(name);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let whole = !result.ends_with(|before: char| before.is_alphanumeric() || ['-', '_', '.'].contains(&before));
        let before_port =
            rest.strip_prefix(':').is_some_and(|port| port.starts_with(|digit: char| digit.is_ascii_digit()));
        let after_address = result.ends_with("address: ") && rest.starts_with([',', '}', '\n']);
        match whole && (before_port || after_address) {
            true => result.push_str(&address.to_string()),
            false => result.push_str(name),
        }
        result.push_str(rest);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_name_is_replaced_where_it_is_an_address() {
        let cases = [
            ("http://backend:8080/x", "http://127.9.9.9:8080/x"),
            ("[\"backend:9901\"]", "[\"127.9.9.9:9901\"]"),
            ("{address: backend, port_value: 1}", "{address: 127.9.9.9, port_value: 1}"),
            ("name: backend", "name: backend"),
            ("{cluster: backend}", "{cluster: backend}"),
            ("my-backend:8080", "my-backend:8080"),
            ("backend: x", "backend: x"),
        ];
        for (text, expected) in cases {
            assert_eq!(with_address(text, "backend", Ipv4Addr::new(127, 9, 9, 9).into()), expected, "{text}");
        }
    }
}
