//! A running Envoy process: started, watched, asked, ended.

use crate::bootstrap::{Bootstrap, Plugin};
use crate::client::Client;
use crate::directory::Directory;
use crate::process::Process;
use crate::provide::parse_version;
use crate::support::Patience;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// An Envoy process. Killed when dropped; its directory goes with it, unless `HARNESS_KEEP` is set in the environment.
pub struct Envoy {
    // Before the directory: the process ends first.
    process: Process,
    admin: Client,
    ports: BTreeMap<String, u16>,
    directory: Directory,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What a trapped, refused or missing wasm VM leaves in Envoy's log or in an access log, and a dynamic module with a fault.
const TRAPS: &[&str] = &[
    "because of a fault of the module",
    "Proxy-Wasm plugin in-VM backtrace",
    "Uncaught RuntimeError",
    "panicked at",
    "wasm_fail_stream",
    "Failed to load Wasm",
    "Wasm VM failed",
    "Plugin configured to fail",
    "Failed to initialize Wasm",
    "Unable to create Wasm",
];

/// The binary named by `ENVOY_BIN`.
///
/// # Errors
/// If the variable is not set or names no file; the error says how to get an Envoy.
pub fn envoy_binary() -> Result<PathBuf> {
    let path = std::env::var_os("ENVOY_BIN").map(PathBuf::from).context(
        "ENVOY_BIN is not set. Run `cargo xtask test`, which provides an Envoy, or: \
         export ENVOY_BIN=$(cargo xtask envoy)",
    )?;
    ensure!(path.is_file(), "ENVOY_BIN={} is no file; `cargo xtask envoy` downloads one", path.display());
    Ok(path)
}

/// Major and minor version of the binary named by `ENVOY_BIN`, for what changed between versions.
///
/// # Errors
/// As [`envoy_binary`], or if the program does not say its version as Envoy does.
pub fn envoy_version() -> Result<(u32, u32)> {
    let output = std::process::Command::new(envoy_binary()?).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
    let version = text.split("version: ").nth(1).and_then(|rest| rest.split('/').nth(1));
    // Builds of a branch say `1.41.0-dev`.
    let number = version.and_then(|version| parse_version(version.split('-').next()?));
    let (major, minor, _) = number.with_context(|| format!("no version of Envoy: {text}"))?;
    Ok((major, minor))
}

// === impl Envoy ===

impl Envoy {
    /// Starts `binary` and returns once it is live and all listeners are bound.
    ///
    /// # Errors
    /// If it exits, or is not ready within a minute; the error ends with the last lines of its log.
    pub async fn start(binary: &Path, bootstrap: &Bootstrap) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("Envoy binary {}", binary.display()))?;
        let directory = Directory::create("sidespan-envoy-")?;
        let files = bootstrap.files();
        for (name, content) in &files {
            fs::write(directory.path().join(name), content.to_string())?;
        }
        fs::write(directory.path().join("bootstrap.json"), serde_json::to_vec_pretty(&bootstrap.to_json())?)?;
        let process = Process::spawn(command(&binary, bootstrap, directory.path())?)?;
        let mut envoy = Self { process, admin: Client::http1(0), ports: BTreeMap::new(), directory };
        let started = envoy.become_ready(bootstrap).await;
        started.with_context(|| format!("Envoy did not start; its last lines:\n{}", envoy.log_tail()))?;
        Ok(envoy)
    }

    /// The port of a listener on 127.0.0.1.
    ///
    /// # Errors
    /// If there is no such listener.
    pub fn port(&self, listener: &str) -> Result<u16> {
        let known = || format!("no listener {listener}, only {:?}", self.ports.keys());
        self.ports.get(listener).copied().with_context(known)
    }

    /// The port of the admin interface.
    pub fn admin_port(&self) -> u16 {
        self.admin.port()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The directory it runs in: bootstrap, log, access logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file of that directory, such as an access log; empty if it does not exist (yet).
    pub fn file(&self, name: &str) -> String {
        self.directory.file(name)
    }

    /// Waits until an access log has at least `lines` lines, and returns them.
    ///
    /// # Errors
    /// If they do not come within `timeout`.
    pub async fn access_log(&self, file: &str, lines: usize, timeout: Duration) -> Result<Vec<String>> {
        let patience = Patience::new(format!("{lines} lines in {file}"), timeout);
        loop {
            let found: Vec<String> = self.file(file).lines().map(str::to_owned).collect();
            if found.len() >= lines {
                return Ok(found);
            }
            patience.pause(anyhow!("{} lines: {found:?}", found.len())).await?;
        }
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.file("envoy.log")
    }

    /// The body of `GET <path>` at the admin interface.
    ///
    /// # Errors
    /// If it does not answer 200.
    pub async fn admin_get(&self, path: &str) -> Result<String> {
        admin(&self.admin, "GET", path).await
    }

    /// The body of `POST <path>` at the admin interface.
    ///
    /// # Errors
    /// If it does not answer 200.
    pub async fn admin_post(&self, path: &str) -> Result<String> {
        admin(&self.admin, "POST", path).await
    }

    /// All counters and gauges.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        stats(&self.admin).await
    }

    /// Waits until a counter or gauge reaches at least `value`; returns what it is.
    ///
    /// # Errors
    /// If it does not within `timeout`.
    pub async fn wait_for_stat(&self, name: &str, value: u64, timeout: Duration) -> Result<u64> {
        let patience = Patience::new(format!("{name} >= {value}"), timeout);
        loop {
            match self.stats().await?.get(name).copied() {
                Some(current) if current >= value => return Ok(current),
                current => patience.pause(anyhow!("it is {current:?}")).await?,
            }
        }
    }

    /// Replaces a [`Plugin::discovered`] filter and waits until Envoy has taken (or refused) the new one; `true` if taken.
    ///
    /// # Errors
    /// If the filter is not delivered by discovery, or Envoy does not react within ten seconds.
    pub async fn update_plugin(&self, plugin: &Plugin) -> Result<bool> {
        let (name, content) = plugin.discovery_file().context("the filter is not delivered by discovery")?;
        let before = self.discovery_outcomes().await?;
        let staged = self.directory.path().join("staged.json");
        fs::write(&staged, content.to_string())?;
        // Envoy watches for files moved into place, never for files written in place.
        fs::rename(&staged, self.directory.path().join(name))?;
        let patience = Patience::new("Envoy takes or refuses the filter", Duration::from_secs(10));
        loop {
            let after = self.discovery_outcomes().await?;
            if after != before {
                return Ok(after.0 > before.0);
            }
            patience.pause(anyhow!("(taken, refused) = {after:?}")).await?;
        }
    }

    /// Lines of its log and access logs that say that a wasm VM trapped, failed a stream or could not be loaded. (An update
    /// that the module refused is among them, although nothing is broken then.)
    pub fn traps(&self) -> Vec<String> {
        self.text_files().iter().flat_map(|(file, text)| trap_lines(file, text)).collect()
    }

    /// Fails if there are [`Envoy::traps`], or if the process has ended.
    ///
    /// # Panics
    /// With those lines and the end of the log.
    pub fn assert_no_trap(&mut self) {
        if let Some(status) = self.process.exited() {
            panic!("Envoy has ended: {status}; its last lines:\n{}", self.log_tail());
        }
        let traps = self.traps();
        assert!(traps.is_empty(), "a wasm VM failed:\n{}\nthe last lines:\n{}", traps.join("\n"), self.log_tail());
    }

    /// Ends it gracefully (`POST /quitquitquit`), after ten seconds by force; returns its exit status and its log.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn quit(mut self) -> Result<(ExitStatus, String)> {
        // The answer may be lost in the shutdown that it announces.
        let _ = self.admin_post("/quitquitquit").await;
        self.finish().await
    }

    /// Ends it as Kubernetes does, by `SIGTERM`; otherwise as [`Envoy::quit`].
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn terminate(mut self) -> Result<(ExitStatus, String)> {
        self.process.terminate();
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(ExitStatus, String)> {
        match self.process.wait(Duration::from_secs(10)).await {
            Some(status) => Ok((status, self.log())),
            None => {
                self.process.kill();
                bail!("Envoy did not end within ten seconds; its last lines:\n{}", self.log_tail())
            }
        }
    }

    async fn become_ready(&mut self, bootstrap: &Bootstrap) -> Result<()> {
        let patience = Patience::new("Envoy is ready", START_TIMEOUT);
        loop {
            if let Some(status) = self.process.exited() {
                bail!("it has ended: {status}");
            }
            match self.probe(bootstrap).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.pause(error).await?,
            }
        }
    }

    /// `Ok` once it is live and every listener has a port.
    async fn probe(&mut self, bootstrap: &Bootstrap) -> Result<()> {
        if self.admin.port() == 0 {
            self.admin = Client::http1(admin_port(self.directory.path())?);
        }
        self.admin_get("/ready").await?;
        self.ports = listener_ports(&self.admin).await?;
        let missing = bootstrap.listener_names().find(|name| !self.ports.contains_key(*name));
        missing.map_or(Ok(()), |name| bail!("listener {name} is not bound"))
    }

    /// How many discovered filters were taken and how many refused, so far.
    async fn discovery_outcomes(&self) -> Result<(u64, u64)> {
        let stats = self.stats().await?;
        let sum = |suffix: &str| -> u64 {
            let matching = |name: &str| name.starts_with("extension_config_discovery.") && name.ends_with(suffix);
            stats.iter().filter(|(name, _)| matching(name)).map(|(_, value)| value).sum()
        };
        Ok((sum(".update_success"), sum(".update_rejected") + sum(".update_failure")))
    }

    fn text_files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.ends_with(".json")).map(|name| (name.clone(), self.file(&name))).collect()
    }

    fn log_tail(&self) -> String {
        self.directory.tail("envoy.log")
    }
}

fn command(binary: &Path, bootstrap: &Bootstrap, directory: &Path) -> Result<Command> {
    let log = fs::File::create(directory.join("envoy.log"))?;
    let mut command = Command::new(binary);
    command
        .current_dir(directory)
        .args(["--config-path", "bootstrap.json", "--admin-address-path", "admin-address"])
        .args(bootstrap.arguments())
        .envs(bootstrap.variables())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Envoy writes the address of its admin interface once it is bound.
fn admin_port(directory: &Path) -> Result<u16> {
    let address = fs::read_to_string(directory.join("admin-address")).context("admin address not written yet")?;
    let (_, port) = address.trim().rsplit_once(':').context("admin address has no port")?;
    Ok(port.parse()?)
}

async fn listener_ports(client: &Client) -> Result<BTreeMap<String, u16>> {
    let answer: Value = serde_json::from_str(&admin(client, "GET", "/listeners?format=json").await?)?;
    let statuses = answer["listener_statuses"].as_array().cloned().unwrap_or_default();
    let entry = |status: &Value| {
        let port = status.pointer("/local_address/socket_address/port_value")?.as_u64()?;
        Some((status["name"].as_str()?.to_owned(), u16::try_from(port).ok()?))
    };
    Ok(statuses.iter().filter_map(entry).collect())
}

/// The lines of a log that say that a wasm VM trapped, failed a stream or could not be loaded, each after the file's name.
pub(crate) fn trap_lines(file: &str, text: &str) -> Vec<String> {
    let is_trap = |line: &&str| TRAPS.iter().any(|trap| line.contains(trap));
    text.lines().filter(is_trap).map(|line| format!("{file}: {line}")).collect()
}

/// All counters and gauges of the Envoy behind an admin interface.
pub(crate) async fn stats(client: &Client) -> Result<BTreeMap<String, u64>> {
    let answer: Value = serde_json::from_str(&admin(client, "GET", "/stats?format=json").await?)?;
    let stats = answer["stats"].as_array().context("no stats")?;
    let entry = |stat: &Value| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?));
    Ok(stats.iter().filter_map(entry).collect())
}

/// The body that an admin interface answers with 200.
pub(crate) async fn admin(client: &Client, method: &str, path: &str) -> Result<String> {
    let request = http::Request::builder().method(method).uri(path).header("host", "admin");
    let reply = client.send(request.body(crate::server::empty())?).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    ensure!(reply.status == 200, "{method} {path}: {}: {text}", reply.status);
    Ok(text)
}
