//! An OCI registry that keeps images in memory.

use crate::network::free_port;
use crate::process::Process;
use crate::support::Patience;
use anyhow::{Result, anyhow, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;

/// A registry process; killed when dropped.
pub struct Registry {
    program: PathBuf,
    port: u16,
    process: Process,
}

// === impl Registry ===

impl Registry {
    /// Starts the program of `xtask/image` ([`crate::provide::image_program`]) on a free port.
    ///
    /// # Errors
    /// If it does not listen within ten seconds.
    pub async fn start(program: &Path) -> Result<Self> {
        let port = free_port()?;
        let registry = Self { program: program.to_owned(), port, process: Self::spawn(program, port)? };
        registry.wait().await?;
        Ok(registry)
    }

    fn spawn(program: &Path, port: u16) -> Result<Process> {
        let mut command = Command::new(program);
        command.args(["serve", &format!("127.0.0.1:{port}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process::spawn(command)
    }

    async fn wait(&self) -> Result<()> {
        let patience = Patience::new("the registry listens", Duration::from_secs(10));
        while let Err(error) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await {
            patience.pause(anyhow!(error)).await?;
        }
        Ok(())
    }

    /// Its name in references, such as `127.0.0.1:41234`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the image of an OCI image layout and reads it back; returns the digest of its manifest as hexadecimal digits.
    ///
    /// # Errors
    /// If the registry refuses it, or does not have it afterwards.
    pub fn push(&self, layout: &Path, repository: &str) -> Result<String> {
        push(&self.program, layout, &format!("{}/{repository}", self.host()))
    }

    /// Ends it: connections are refused, and what it held is gone.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// If it still runs, or does not listen within ten seconds.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(!self.is_running(), "the registry still runs");
        self.process = Self::spawn(&self.program, self.port)?;
        self.wait().await
    }
}

/// Has the program of `xtask/image` push the image of an OCI image layout and read it back; returns the digest of its manifest
/// as hexadecimal digits.
///
/// # Errors
/// What the program said.
pub fn push(program: &Path, layout: &Path, reference: &str) -> Result<String> {
    let output = Command::new(program).arg("push").arg(layout).arg(reference).stdin(Stdio::null()).output()?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "push to {reference}: {}", error.trim());
    match said.trim().strip_prefix("sha256:") {
        Some(digest) => Ok(digest.to_owned()),
        None => bail!("push to {reference}: no digest in {said:?}"),
    }
}
