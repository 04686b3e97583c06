//! The resource definitions of Envoy Gateway, from its Go module.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The oldest version whose resources know dynamic modules.
const MODULE: &str = "github.com/envoyproxy/gateway@v1.8.0";
const FOLDER: &str = "charts/gateway-crds-helm/templates/generated";
const RESOURCES: [&str; 2] = ["envoyproxies", "envoyextensionpolicies"];

/// The definitions of `EnvoyProxy` and `EnvoyExtensionPolicy` as YAML, downloaded at the first call. It needs Go.
///
/// # Errors
/// If there is no Go, no way to the Go module proxy, or the module has other files.
pub fn envoy_gateway_definitions() -> Result<String> {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", MODULE]).env("GOWORK", "off").env("GOFLAGS", "-mod=mod");
    let output = command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).output().context("cannot run go")?;
    let said: Value = serde_json::from_slice(&output.stdout).context("go mod download")?;
    let folder = said["Dir"].as_str().with_context(|| format!("go mod download {MODULE}: {said}"))?;
    let definitions = RESOURCES.map(|resource| definition(Path::new(folder), resource));
    Ok(definitions.into_iter().collect::<Result<Vec<_>>>()?.join("---\n"))
}

/// One file, without the lines that are for Helm.
fn definition(folder: &Path, resource: &str) -> Result<String> {
    let path = folder.join(FOLDER).join(format!("gateway.envoyproxy.io_{resource}.yaml"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.contains("dynamicModule"), "{} knows no dynamic modules", path.display());
    Ok(text.lines().filter(|line| !line.starts_with("{{")).map(|line| format!("{line}\n")).collect())
}
