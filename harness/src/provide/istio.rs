//! A Kubernetes API server with etcd, Istio's control plane and agent, and a registry: built from their Go modules.

use super::go::{GoModule, GoProgress, cache_folder};
use super::workspace::workspace_root;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct IstioPrograms {
    folder: PathBuf,
    /// The program of `xtask/image`: registry, and pushing to one.
    pub image: PathBuf,
}

/// About how many packages are compiled if Go has none of them in its cache, for a progress bar.
pub const ISTIO_PACKAGES: usize = 3_100;

const GO_IS_MISSING: &str = "Kubernetes' API server, Istio's control plane and the registry are built from their Go modules, and there is no `go`.\n\
    Either of these helps:\n\
    \x20 - install Go 1.26 or later: https://go.dev/dl, or your distribution's package (golang-go)\n\
    \x20 - leave out what needs it: `cargo xtask test` without --istio, `cargo xtask demo` instead of `cargo xtask istio`,\n\
    \x20   `cargo xtask image` without --push (any tool that reads OCI image layouts pushes what it writes)";

const ISTIO: &str = "istio.io/istio";

/// What is taken from the sources of Istio as it is: path there, and name here.
const FILES: [(&str, &str); 2] = [
    ("manifests/charts/base/files/crd-all.gen.yaml", "crds.yaml"),
    ("tools/packaging/common/envoy_bootstrap.json", "envoy_bootstrap.json"),
];

/// The programs of `xtask/istio` and `xtask/image`, built at the first call and whenever their sources have changed.
///
/// # Errors
/// A message that says what to do, if there is no Go, or what Go said, if it does not compile.
pub fn istio_programs(progress: impl Fn(GoProgress)) -> Result<IstioPrograms> {
    let module = GoModule {
        sources: &workspace_root().join("xtask/istio"),
        files: &["kube-apiserver/main.go", "kubectl/main.go"],
        packages: &["./kube-apiserver", "./kubectl", "tool"],
        tags: "",
        programs: &["kube-apiserver", "kubectl", "istioctl", "pilot-agent", "pilot-discovery"],
        cache: &cache_folder("istio")?,
        go: "go",
        missing: GO_IS_MISSING,
    };
    let copy = |folder: &Path| {
        let source = module.folder_of(ISTIO)?;
        for (path, name) in FILES {
            let file = source.join(path);
            let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            fs::write(folder.join(name), content)?;
        }
        Ok(())
    };
    let folder = module.provide(&progress, &copy)?;
    Ok(IstioPrograms { folder, image: image_program(progress)? })
}

/// The program of `xtask/image`, built at the first call and whenever its sources have changed.
///
/// # Errors
/// As [`istio_programs`].
pub fn image_program(progress: impl Fn(GoProgress)) -> Result<PathBuf> {
    let module = GoModule {
        sources: &workspace_root().join("xtask/image"),
        files: &["main.go"],
        packages: &["."],
        tags: "",
        programs: &["image"],
        cache: &cache_folder("image")?,
        go: "go",
        missing: GO_IS_MISSING,
    };
    Ok(module.provide(&progress, &|_| Ok(()))?.join("image"))
}

// === impl IstioPrograms ===

impl IstioPrograms {
    /// A program by its name: `kube-apiserver`, `kubectl`, `istioctl`, `pilot-agent`, `pilot-discovery`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The manifest with all of Istio's custom resource definitions.
    pub fn crds(&self) -> PathBuf {
        self.folder.join("crds.yaml")
    }

    /// The template of Envoy's bootstrap that the agent fills.
    pub fn bootstrap_template(&self) -> PathBuf {
        self.folder.join("envoy_bootstrap.json")
    }
}
