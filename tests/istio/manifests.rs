//! What is shipped, against the API server with the resource definitions of Istio and of the Prometheus operator, against istioctl, and
//! against `sidespan check`.

use crate::world::{NATIVE_TRACING_OFF, World};
use serde_json::Value;
use sidespan_cli::check::check_text;
use sidespan_harness::Result;
use sidespan_harness::provide::{envoy_gateway_definitions, workspace_root};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Without `--all-namespaces` it looks at the namespace `default` alone.
const ANALYZE: [&str; 3] = ["analyze", "--all-namespaces", "--use-kube=false"];

pub async fn every_manifest_is_accepted_by_the_api_server_and_by_istioctl(world: &mut World) -> Result<()> {
    define_resources_of_envoy_gateway(world).await?;
    let mut files = vec![workspace_root().join("wasmplugin.yaml"), workspace_root().join(NATIVE_TRACING_OFF)];
    collect(&workspace_root().join("examples"), &mut files)?;
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let (path, text) = (file.to_string_lossy(), std::fs::read_to_string(&file)?);
        create_namespaces(world, &text).await?;
        let applied = world.kubectl().attempt(&["apply", "--dry-run=server", "-f", &path], "").await?;
        assert!(applied.success, "{path}: {}", applied.text);
        assert_istioctl_accepts(world, &path).await?;
    }
    Ok(())
}

pub async fn every_kustomization_is_accepted_by_the_api_server_by_istioctl_and_by_the_check(
    world: &mut World,
) -> Result<()> {
    let mut kustomizations = vec![workspace_root().join("deploy/base")];
    for overlay in std::fs::read_dir(workspace_root().join("deploy/overlays"))? {
        kustomizations.push(overlay?.path());
    }
    assert!(kustomizations.len() >= 6, "{kustomizations:?}");
    let folder = tempfile::tempdir()?;
    for kustomization in kustomizations {
        let path = kustomization.to_string_lossy();
        let text = world.kubectl().kustomize(&kustomization).await?;
        create_namespaces(world, &text).await?;
        let applied = world.kubectl().attempt(&["apply", "--dry-run=server", "-k", &path], "").await?;
        assert!(applied.success, "{path}: {}", applied.text);
        assert_eq!(applied.text.matches("(server dry run)").count(), text.split("\n---\n").count(), "{}", applied.text);
        assert!(!applied.text.contains("mesh-default"), "{}", applied.text);
        let built = folder.path().join("built.yaml");
        std::fs::write(&built, &text)?;
        assert_istioctl_accepts(world, &built.to_string_lossy()).await?;
        let outcome = check_text(&path, &text);
        assert!(outcome.is_good(true), "{path}: {:#?}", outcome.findings);
        assert!(outcome.checked > 0, "{path}");
    }
    Ok(())
}

/// A kustomization of every component, as a user may write it.
pub async fn components_add_to_each_other(world: &mut World) -> Result<()> {
    let folder = workspace_root().join("target").join(format!("kustomization-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let text = "resources: [../../deploy/base]\ncomponents:\n";
    let components = ["waypoint", "rates-by-service", "rates-by-namespace", "tags", "native-tracing-off"];
    let components = components.map(|name| format!("- ../../deploy/components/{name}\n"));
    std::fs::write(folder.join("kustomization.yaml"), format!("{text}{}", components.concat()))?;
    let built = world.kubectl().kustomize(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    let json = world.kubectl().run(&["create", "--dry-run=client", "-o", "json", "-f", "-"], &built?).await?;
    let objects = serde_json::Deserializer::from_str(&json).into_iter::<Value>().collect::<Result<Vec<_>, _>>()?;
    let objects = objects.iter().flat_map(|object| object["items"].as_array().cloned().unwrap_or(vec![object.clone()]));
    let plugins: Vec<_> = objects.filter(|object| object["kind"] == "WasmPlugin").collect();
    let names: Vec<_> = plugins.iter().map(|plugin| plugin["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["sidespan", "sidespan-waypoint"]);
    for plugin in &plugins {
        let config = &plugin["spec"]["pluginConfig"];
        let rules = config["sampling"]["rules"].as_array().expect("rules");
        let rules: Vec<_> = rules.iter().map(|rule| rule["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(rules, ["probes", "frontend", "backend", "payments", "logging"], "those of the base come first");
        let tags: Vec<_> = config["customTags"].as_object().expect("tags").keys().cloned().collect();
        assert_eq!(tags, ["cluster", "environment", "tenant", "upstream"]);
        let resource = &config["resource"];
        assert_eq!(
            (&resource["deployment.environment.name"], &resource["cloud.region"]),
            (&"production".into(), &"us-west-2".into())
        );
    }
    assert_eq!(plugins[1]["spec"]["targetRefs"][0]["kind"], "GatewayClass");
    Ok(())
}

pub async fn a_mistake_in_a_manifest_is_refused(world: &mut World) -> Result<()> {
    let text = std::fs::read_to_string(workspace_root().join("wasmplugin.yaml"))?;
    let gateway = std::fs::read_to_string(workspace_root().join("examples/module/envoy-gateway.yaml"))?;
    define_resources_of_envoy_gateway(world).await?;
    for (text, from, to) in [
        (&text, "phase: AUTHN", "phase: FIRST"),
        (&text, "failStrategy:", "failureStrategy:"),
        (&gateway, "filterName:", "filtername:"),
        (&gateway, "type: Local", "type: Folder"),
    ] {
        assert_refused(world, text, from, to).await?;
    }
    let built = world.kubectl().kustomize(&workspace_root().join("deploy/overlays/production")).await?;
    for (from, to) in [("podMetricsEndpoints:", "podMetricEndpoints:"), ("alert: SidespanConfigRefused", "alarm: x")] {
        assert_refused(world, &built, from, to).await?;
    }
    let said =
        world.kubectl().istioctl(&["validate", "-f", "-"], &text.replace("url: oci://", "url: gopher://")).await?;
    assert!(!said.success, "{}", said.text);
    // Two Telemetries without a selector in one namespace, as if the other one were that of a team.
    let telemetry = std::fs::read_to_string(workspace_root().join(NATIVE_TRACING_OFF))?;
    let other = telemetry.replace("sidespan-native-tracing-off", "mesh-default");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("two.yaml");
    std::fs::write(&file, format!("{telemetry}---\n{other}"))?;
    let said = world.kubectl().istioctl(&[&ANALYZE[..], &[&file.to_string_lossy()]].concat(), "").await?;
    assert!(!said.success && said.text.contains("IST0160"), "{}", said.text);
    Ok(())
}

async fn assert_istioctl_accepts(world: &World, path: &str) -> Result<()> {
    for arguments in [&["validate", "-f", path][..], &[&ANALYZE[..], &[path]].concat()] {
        let said = world.kubectl().istioctl(arguments, "").await?;
        assert!(said.success, "istioctl {}: {}", arguments.join(" "), said.text);
        // istioctl has this warning for every EnvoyFilter; Istio has no other API for a dynamic module.
        let mut bad = said.text.lines().filter(|line| line.contains("Warning") || line.contains("Error"));
        assert!(bad.all(|line| line.contains("[IST0133] (EnvoyFilter ")), "{}", said.text);
    }
    Ok(())
}

async fn assert_refused(world: &World, text: &str, from: &str, to: &str) -> Result<()> {
    assert!(text.contains(from), "{from}");
    let applied = world.kubectl().attempt(&["apply", "--dry-run=server", "-f", "-"], &text.replace(from, to)).await?;
    assert!(!applied.success, "{to}: {}", applied.text);
    Ok(())
}

/// For examples/module/envoy-gateway.yaml. A client-side `apply` would put each whole definition into an annotation, which is too small.
async fn define_resources_of_envoy_gateway(world: &World) -> Result<()> {
    let definitions = tokio::task::spawn_blocking(envoy_gateway_definitions).await??;
    world.kubectl().run(&["apply", "--server-side", "-f", "-"], &definitions).await?;
    world.kubectl().run(&["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"], "").await?;
    Ok(())
}

/// The files that are for `kubectl apply -f`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path)?;
            let mut versions = text.lines().filter_map(|line| line.strip_prefix("apiVersion: "));
            let kustomization = versions.next().is_some_and(|version| version.starts_with("kustomize.config.k8s.io"));
            // Grafana's files have an `apiVersion` too, but no kind.
            if text.lines().any(|line| line.starts_with("kind: ")) && !kustomization {
                files.push(path);
            }
        }
    }
    Ok(())
}

async fn create_namespaces(world: &World, text: &str) -> Result<()> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  namespace: ").or(one_line_namespace(line)));
    let names: BTreeSet<_> = lines.map(|name| name.split([' ', ',', '}']).next().unwrap_or_default()).collect();
    for namespace in names {
        let created = world.kubectl().attempt(&["create", "namespace", namespace], "").await?;
        assert!(created.success || created.text.contains("already exists"), "{}", created.text);
    }
    Ok(())
}

/// The namespace in `metadata: {name: a, namespace: b}`.
fn one_line_namespace(line: &str) -> Option<&str> {
    line.strip_prefix("metadata: {")?.split_once("namespace: ").map(|(_, rest)| rest)
}
