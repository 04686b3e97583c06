//! The resource definitions of the Prometheus operator, from its Go module.

use super::workspace::workspace_root;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";

const KINDS: [&str; 2] = ["podmonitors", "prometheusrules"];

/// The definitions of `PodMonitor` and `PrometheusRule`, of the version in `xtask/prometheus-operator/go.mod`. Go downloads the module once
/// (4 MB) and compares it with `go.sum`.
///
/// # Errors
/// If there is no Go, or what Go said.
pub fn prometheus_operator_crds() -> Result<Vec<PathBuf>> {
    let mut command = Command::new("go");
    command.current_dir(workspace_root().join("xtask/prometheus-operator")).stdin(Stdio::null());
    command.args(["mod", "download", "-json", MODULE]).env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the resource definitions of the Prometheus operator come from its Go module, and there is no `go`")
        }
        output => output.context("cannot run go")?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // A failed download writes JSON too, with a field `Error`.
    let module: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("go mod download: {said}"))?;
    let Some(folder) = module["Dir"].as_str() else {
        bail!("go mod download {MODULE}: {} {said}", module["Error"]);
    };
    let folder = Path::new(folder).join("example/prometheus-operator-crd");
    Ok(KINDS.iter().map(|kind| folder.join(format!("monitoring.coreos.com_{kind}.yaml"))).collect())
}
