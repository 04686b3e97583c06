//! What is shipped, against the API server with Istio's resource definitions, and against istioctl.

use crate::world::World;
use sidespan_harness::Result;
use sidespan_harness::provide::{envoy_gateway_definitions, workspace_root};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub async fn every_manifest_is_accepted_by_the_api_server_and_by_istioctl(world: &mut World) -> Result<()> {
    define_resources_of_envoy_gateway(world).await?;
    let mut files = vec![workspace_root().join("wasmplugin.yaml")];
    collect(&workspace_root().join("examples"), &mut files)?;
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let (path, text) = (file.to_string_lossy(), std::fs::read_to_string(&file)?);
        for namespace in namespaces(&text) {
            let created = world.kubectl().attempt(&["create", "namespace", &namespace], "").await?;
            assert!(created.success || created.text.contains("already exists"), "{}", created.text);
        }
        let applied = world.kubectl().attempt(&["apply", "--dry-run=server", "-f", &path], "").await?;
        assert!(applied.success, "{path}: {}", applied.text);
        for arguments in [&["validate", "-f", &*path][..], &["analyze", "--use-kube=false", &*path]] {
            let said = world.kubectl().istioctl(arguments, "").await?;
            assert!(said.success, "istioctl {}: {}", arguments.join(" "), said.text);
            assert!(!said.text.contains("Warning") && !said.text.contains("Error"), "{}", said.text);
        }
    }
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
        assert!(text.contains(from));
        let applied =
            world.kubectl().attempt(&["apply", "--dry-run=server", "-f", "-"], &text.replace(from, to)).await?;
        assert!(!applied.success, "{to}: {}", applied.text);
    }
    let said =
        world.kubectl().istioctl(&["validate", "-f", "-"], &text.replace("url: oci://", "url: gopher://")).await?;
    assert!(!said.success, "{}", said.text);
    Ok(())
}

/// For examples/module/envoy-gateway.yaml. A client-side `apply` would put each whole definition into an annotation, which is too small.
async fn define_resources_of_envoy_gateway(world: &World) -> Result<()> {
    let definitions = tokio::task::spawn_blocking(envoy_gateway_definitions).await??;
    world.kubectl().run(&["apply", "--server-side", "-f", "-"], &definitions).await?;
    world.kubectl().run(&["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"], "").await?;
    Ok(())
}

/// The files that are for `kubectl apply`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml")
            && std::fs::read_to_string(&path)?.lines().any(|line| line.starts_with("apiVersion: "))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn namespaces(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  namespace: "));
    lines.map(|name| name.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}
