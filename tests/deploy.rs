//! What is in `deploy/`, as far as it can be read without kustomize. `tests/istio/manifests.rs` builds it and applies it.

// The lints of the package guard what runs in a proxy; a test may panic.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::Value;
use sidespan_cli::yaml;
use std::fs;
use std::path::{Path, PathBuf};

const RULE: &str = "deploy/components/monitoring/prometheus-rule.yaml";
const ALERTS: &str = "examples/dashboards/alerts.yaml";
/// Set to write what is made of other files.
const UPDATE: &str = "UPDATE_MANIFESTS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(path: impl AsRef<Path>) -> Value {
    let documents =
        yaml::read(&read(path.as_ref())).unwrap_or_else(|broken| panic!("{}: {broken:?}", path.as_ref().display()));
    documents.into_iter().next().expect("a document").value
}

/// Every file below a folder.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(path) } else { vec![path] }).collect()
}

/// The resource of the Prometheus operator for a rule file of Prometheus: its groups are the `spec`.
fn prometheus_rule(alerts: &str) -> String {
    let groups = alerts.lines().skip_while(|line| *line != "groups:");
    let spec: String =
        groups.map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
    format!(
        "# Made of {ALERTS} by `{UPDATE}=1 cargo test --test deploy`: change that file instead.\n\
         apiVersion: monitoring.coreos.com/v1\n\
         kind: PrometheusRule\n\
         metadata:\n\
         \x20 name: sidespan\n\
         \x20 namespace: istio-system\n\
         \x20 # In many installations the operator looks for the second label; yours is in `kubectl get prometheus -A -o yaml`, ruleSelector.\n\
         \x20 labels: {{app.kubernetes.io/name: sidespan, release: kube-prometheus-stack}}\n\
         spec:\n{spec}"
    )
}

#[test]
fn the_prometheus_rule_is_made_of_the_alert_rules() {
    let made = prometheus_rule(&read(ALERTS));
    if std::env::var_os(UPDATE).is_some() {
        fs::write(root().join(RULE), &made).expect("written");
    }
    assert!(read(RULE) == made, "{ALERTS} has changed: run `{UPDATE}=1 cargo test --test deploy`, which writes {RULE}");
    let (rule, alerts) = (document(RULE), document(ALERTS));
    assert_eq!(rule["spec"], alerts);
    assert!(alerts["groups"].as_array().is_some_and(|groups| !groups.is_empty()), "{alerts}");
}

#[test]
fn the_plugin_at_the_top_is_that_of_the_base() {
    let file = |path| fs::canonicalize(root().join(path)).expect("a file");
    assert_eq!(
        file("wasmplugin.yaml"),
        file("deploy/base/wasmplugin.yaml"),
        "a link, so that nothing is written twice"
    );
}

#[test]
fn nothing_in_deploy_has_the_name_of_a_telemetry_that_a_team_may_have_or_is_a_namespace() {
    for path in files(root().join("deploy")) {
        let text = fs::read_to_string(&path).expect("readable");
        // `kubectl delete -k` would delete all that is in the namespace.
        assert!(!text.lines().any(|line| line == "kind: Namespace"), "{}", path.display());
        assert!(!text.contains("name: mesh-default"), "{}", path.display());
    }
}

#[test]
fn every_file_in_deploy_is_part_of_a_kustomization_and_every_part_exists() {
    let all = files(root().join("deploy"));
    let kustomizations: Vec<_> = all.iter().filter(|path| path.ends_with("kustomization.yaml")).collect();
    assert!(kustomizations.len() >= 15, "{kustomizations:?}");
    for path in &all {
        if path.ends_with("kustomization.yaml") || path.ends_with("README.md") {
            continue;
        }
        let (folder, name) = (path.parent().expect("a folder"), path.file_name().expect("a name"));
        let text = fs::read_to_string(folder.join("kustomization.yaml")).unwrap_or_default();
        assert!(text.contains(name.to_str().expect("UTF-8")), "{} is part of nothing", path.display());
    }
    for path in kustomizations {
        let (kustomization, folder) = (document(path), path.parent().expect("a folder"));
        let parts = ["resources", "components"].iter().filter_map(|key| kustomization[key].as_array()).flatten();
        for part in parts.map(|part| folder.join(part.as_str().expect("a path"))) {
            let found = part.is_file() || part.join("kustomization.yaml").is_file();
            assert!(found, "{}: {}", path.display(), part.display());
        }
    }
}
