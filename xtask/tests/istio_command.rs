//! `cargo xtask istio` as a user runs it: exit code, what it prints, and that nothing is left running.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that is wrong must fail loudly")]

use sidespan_harness::{istio::Registry, provide};
use std::process::Command;

/// Runs the command and returns whether it succeeded, and standard output.
fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("xtask runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_shipped_manifest_keeps_every_failing_path_under_a_real_istio() {
    let (success, text) = run(&["istio", "--seconds", "2", "--rate", "150"]);
    assert!(success, "{text}");
    for expected in [
        "applied the manifest, changed in image and digest alone",
        "with every span root to error   12 of 12   100 %",
        "= exported ",
        " + dropped 0 + queued 0",
        "checked  every failing request has its whole path",
        "frontend              istio.source_principal       spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway",
        "backend               istio.destination_principal  spiffe://cluster.local/ns/data/sa/database",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn an_image_is_pushed_read_back_and_pinned() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("plugin.yaml");
    let shipped = std::fs::read_to_string(provide::workspace_root().join("wasmplugin.yaml")).expect("a file");
    std::fs::write(&manifest, &shipped).expect("written");
    let program = provide::image_program(|_| {}).expect("Go builds it");
    let registry = sidespan_harness::run(Registry::start(&program)).expect("a registry");
    let (reference, layout) = (format!("{}/team/sidespan:1", registry.host()), folder.path().join("layout"));
    let (file, layout) = (manifest.to_string_lossy(), layout.to_string_lossy());
    let (success, text) = run(&["image", "--push", &reference, "--pin", &file, "--layout", &layout]);
    assert!(success, "{text}");
    let digest = text.lines().find_map(|line| line.strip_prefix("sha256:")).expect("the digest on standard output");
    let pinned = std::fs::read_to_string(&manifest).expect("a file");
    assert!(pinned.contains(&format!("  url: oci://{reference}\n")), "{pinned}");
    assert!(pinned.contains(&format!("  sha256: {digest}\n")), "{pinned}");
    assert_eq!(pinned.lines().count(), shipped.lines().count());
    // A registry that is not there is an error that names it.
    drop(registry);
    let (success, text) = run(&["image", "--push", &reference, "--layout", &layout]);
    assert!(!success && text.contains("connection refused"), "{text}");
}
