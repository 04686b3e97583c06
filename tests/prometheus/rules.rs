//! The tests.

use crate::dashboard::{complaints, queries, value};
use crate::proxies::Proxies;
use crate::{example, programs, served_metrics};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::prometheus::Target;
use sidespan_harness::{Prometheus, Result, eventually};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Until all alerts without `for` fire, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The names of all alerts.
fn alerts() -> Vec<String> {
    let text = std::fs::read_to_string(example("alerts.yaml")).expect("the rules");
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn promtool_proves_of_each_alert_rule_that_it_fires_and_that_it_is_silent() -> Result<()> {
    let promtool = programs().await?.promtool;
    for arguments in [&["check", "rules", "alerts.yaml"][..], &["test", "rules", "alerts_test.yaml"]] {
        let output = Command::new(&promtool).current_dir(example("")).args(arguments).output()?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{arguments:?}: {}", said.concat());
    }
    // promtool says nothing of an alert without a test. That all are silent where all is well is one of the tests.
    let tests = std::fs::read_to_string(example("alerts_test.yaml"))?;
    let fires = |alert: &String| {
        tests.split("alertname: ").skip(1).any(|part| {
            let mut lines = part.lines();
            lines.next().is_some_and(|name| name == alert)
                && lines.next().is_some_and(|next| next.contains("exp_alerts:"))
        })
    };
    let untested: Vec<_> = alerts().into_iter().filter(|alert| !fires(alert)).collect();
    assert!(untested.is_empty() && alerts().len() >= 9, "no test in which these fire: {untested:?}");
    assert!(tests.contains("{expr: 'ALERTS', eval_time: 45m, exp_samples: []}"));
    Ok(())
}

#[tokio::test]
async fn a_real_prometheus_answers_every_query_and_every_alert_is_of_the_proxy_with_the_fault() -> Result<()> {
    let programs = programs().await?;
    let (proxies, collector) = (Proxies::start().await?, served_metrics::of_collector().await?);
    let module = served_metrics::of_dynamic_module(proxies.calm_admin_port()).await?;
    let relabel = relabel_configuration()?;
    let mut targets = proxies.targets();
    let prometheus =
        Prometheus::start(&programs.prometheus, &targets, &example("alerts.yaml"), relabel.clone()).await?;

    // Before the first request: zero, or the panel's own text.
    eventually("all proxies are scraped", PATIENCE, async || {
        let up = prometheus.query("up == 1").await?.len();
        ensure!(up == targets.len(), "{up} of {}", targets.len());
        Ok(())
    })
    .await?;
    let silent: Vec<_> = queries().into_iter().filter(|query| !query.has_text_for_no_data).collect();
    assert!(silent.len() > 50 && silent.len() < queries().len());
    assert_eq!(complaints(&prometheus, &silent).await?, Vec::<String>::new());
    drop(prometheus);

    targets.push(Target { port: module.port(), labels: vec![("namespace", "module"), ("pod", "backend-0")] });
    targets
        .push(Target { port: collector.port(), labels: vec![("namespace", "observability"), ("pod", "collector-0")] });
    let prometheus =
        Prometheus::start(&programs.prometheus, &targets, &example("alerts.yaml"), relabel.clone()).await?;
    let only = |name: &str| vec![name.to_owned()];
    let expected = BTreeMap::from([
        ("SidespanSpansDropped", vec!["hidden".to_owned(), "lossy".to_owned()]),
        ("SidespanErrorSpansDropped", vec!["hidden".to_owned(), "lossy".to_owned()]),
        ("SidespanCollectorDown", vec!["hidden".to_owned(), "lossy".to_owned()]),
        ("SidespanCollectorUnreachableFromSome", only("hidden")),
        ("SidespanConfigRefused", only("refused")),
        ("SidespanPropagationOverwritten", only("overwritten")),
    ]);
    // With traffic: data everywhere, and each alert is active, but for that of a collector that is down.
    eventually("every query has data and every alert is active", PATIENCE, async || {
        proxies.send_requests().await?;
        let complaints = complaints(&prometheus, &queries()).await?;
        ensure!(complaints.is_empty(), "{complaints:#?}");
        let active = active_alerts(&prometheus).await?;
        let missing: Vec<_> = alerts().into_iter().filter(|alert| !active.contains_key(alert)).collect();
        ensure!(missing == ["OtelCollectorDown"], "not active: {missing:?}");
        // Not all proxies lose their first span at the same time.
        for (alert, namespaces) in &expected {
            ensure!(active[*alert] == *namespaces, "{alert}: {:?} instead of {namespaces:?}", active[*alert]);
        }
        Ok(())
    })
    .await?;
    for (panel, least) in [("Requests seen", 10.0), ("Spans exported", 10.0), ("Spans dropped", 1.0)] {
        let value = value(&prometheus, panel).await?;
        assert!(value >= least, "{panel}: {value}");
    }
    assert_eq!(value(&prometheus, "Proxies that refuse their configuration").await?, 1.0);
    // The dynamic module has the same names after the rule of the README.
    let count = async |namespace: &str| {
        let samples = prometheus.query(&format!("sum(sidespan_spans_kept_total{{namespace=\"{namespace}\"}})")).await?;
        Ok::<_, anyhow::Error>(samples.first().map_or(0.0, |(_, value)| *value))
    };
    let (module, calm) = (count("module").await?, count("calm").await?);
    assert!(module > 0.0 && calm > 0.0, "{module} by the dynamic module's names, {calm} by those of the wasm filter");
    let failed = value(&prometheus, "Calls that failed").await?;
    assert!(failed > 0.0 && failed < 1.0, "{failed}");
    Ok(())
}

/// `metric_relabel_configs` as in the README.
fn relabel_configuration() -> Result<Value> {
    let readme = std::fs::read_to_string(example("README.md"))?;
    let rule = readme.lines().find(|line| line.contains("target_label: __name__")).context("the rule")?;
    let regex = rule.split('\'').nth(1).context("a regex")?;
    ensure!(rule.contains("source_labels: [__name__]") && rule.contains("replacement: $1"), "another rule: {rule}");
    Ok(json!([{"source_labels": ["__name__"], "regex": regex, "target_label": "__name__", "replacement": "$1"}]))
}

/// Alerts that fire or wait for the end of their `for`, with the namespaces that they are about. Every rule must be in good health.
async fn active_alerts(prometheus: &Prometheus) -> Result<BTreeMap<String, Vec<String>>> {
    let mut active = BTreeMap::new();
    for rule in prometheus.rules().await? {
        let name = rule["name"].as_str().context("a rule without a name")?;
        ensure!(rule["health"] == "ok", "{name}: {} {}", rule["health"], rule["lastError"]);
        let namespace = |alert: &Value| alert["labels"]["namespace"].as_str().unwrap_or_default().to_owned();
        let mut namespaces: Vec<_> = rule["alerts"].as_array().into_iter().flatten().map(namespace).collect();
        namespaces.sort();
        if !namespaces.is_empty() {
            active.insert(name.to_owned(), namespaces);
        }
    }
    Ok(active)
}
