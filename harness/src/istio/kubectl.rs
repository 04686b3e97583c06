//! The command line clients of Kubernetes and Istio, for one API server.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// `kubectl` and `istioctl` with the kubeconfig of one API server.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub(super) kubectl: PathBuf,
    pub(super) istioctl: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its exit code was 0.
    pub success: bool,
    /// Standard output and standard error, one after the other.
    pub text: String,
}

// === impl Kubectl ===

impl Kubectl {
    /// The kubeconfig, for `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The program `kubectl`.
    pub fn program(&self) -> &Path {
        &self.kubectl
    }

    /// Runs `kubectl` and returns its output.
    ///
    /// # Errors
    /// If it fails; the error holds what it said.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let outcome = call(&self.kubectl, &self.kubeconfig, arguments, input).await?;
        ensure!(outcome.success, "kubectl {}: {}", arguments.join(" "), outcome.text.trim());
        Ok(outcome.text)
    }

    /// Runs `kubectl`, whatever comes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn attempt(&self, arguments: &[&str], input: &str) -> Result<Outcome> {
        call(&self.kubectl, &self.kubeconfig, arguments, input).await
    }

    /// Runs `istioctl`, whatever comes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn istioctl(&self, arguments: &[&str], input: &str) -> Result<Outcome> {
        call(&self.istioctl, &self.kubeconfig, arguments, input).await
    }

    /// What `kubectl kustomize` makes of a folder with a kustomization.
    ///
    /// # Errors
    /// If it is none; the error holds what it said.
    pub async fn kustomize(&self, folder: &Path) -> Result<String> {
        self.run(&["kustomize", &folder.to_string_lossy()], "").await
    }

    /// `kubectl apply` of YAML or JSON with any number of documents.
    ///
    /// # Errors
    /// If the API server refuses any of it.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        self.run(&["apply", "-f", "-"], manifest).await.map(drop)
    }

    /// `kubectl apply` of several objects.
    ///
    /// # Errors
    /// If the API server refuses any of them.
    pub async fn apply_all(&self, objects: Vec<Value>) -> Result<()> {
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await
    }

    /// `kubectl delete` of what a manifest names; what is not there is no error.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn delete(&self, manifest: &str) -> Result<()> {
        self.run(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], manifest).await.map(drop)
    }
}

async fn call(program: &Path, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<Outcome> {
    let mut command = Command::new(program);
    // A home folder of its own: kubectl keeps a cache, and reads preferences of the user.
    let home = kubeconfig.parent().unwrap_or(Path::new("/"));
    command.args(arguments).env("KUBECONFIG", kubeconfig).env("HOME", home);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    // It may end without reading all of its input.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Outcome { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
}
