//! The shortest proof that everything is connected, with either shell.

use crate::stage::{Stage, config, filter};
use anyhow::Context as _;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Listener, Node};
use sidespan_harness::provide::{self, Shell};
use sidespan_harness::{Result, Upstream, envoy_binary};
use std::process::Command;

/// Makes Prometheus see the metrics of a dynamic module without the prefix that stands in `/stats`.
const STRIP: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";

#[tokio::test]
async fn a_request_gives_one_span_whose_id_went_upstream() -> Result<()> {
    let mut stage = Stage::start(Upstream::ok().await?, &config(json!({}))).await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = stage.client("inbound")?.get("backend", "/api/users/42", &[("traceparent", parent)]).await?;
    assert_eq!(reply.status, 200);
    let spans = stage.spans(1).await?;
    let span = &spans[0];
    println!("{span:#?}");
    assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id, "00f067aa0ba902b7");
    let sent = stage.app.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(sent, Some(format!("00-{}-{}-01", span.trace_id, span.span_id)));
    println!("{}", stage.envoy.log());
    stage.envoy.assert_no_trap();
    Ok(())
}

#[test]
fn envoy_accepts_the_example() -> Result<()> {
    let shell = Shell::from_environment()?;
    let example = match shell {
        Shell::Wasm => "examples/envoy/envoy.yaml",
        Shell::Module => "examples/module/envoy.yaml",
    };
    let text = std::fs::read_to_string(provide::workspace_root().join(example))?;
    let built = shell.default_file();
    let file = format!("target/{}", built.file_name().context("a file")?.to_string_lossy());
    assert!(text.contains(&file), "{example} loads {file}");
    let text = text.replace(&file, &shell.file()?.to_string_lossy());
    let output = Command::new(envoy_binary()?).args(["--mode", "validate", "--config-yaml", &text]).output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("pluginConfig"), "{log}");
    Ok(())
}

/// The name under which Prometheus finds the number of created spans.
async fn prometheus_name(patch: Value, strip: bool) -> Result<String> {
    let listener = Listener::inbound("app").filter(filter(&config(json!({})))?.with(patch));
    let app = Upstream::ok().await?;
    let stage = Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        let bootstrap = bootstrap.listener(listener);
        if strip { bootstrap.runtime(STRIP, true) } else { bootstrap }
    })
    .await?;
    stage.client("inbound")?.get("backend", "/", &[]).await?;
    stage.spans(1).await?;
    let text = stage.envoy.admin_get("/stats/prometheus").await?;
    let line = text.lines().find(|line| !line.starts_with('#') && line.contains("sidespan_spans_created_total"));
    Ok(line.with_context(|| text.clone())?.split('{').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn prometheus_finds_the_metrics_under_the_names_of_the_documentation() -> Result<()> {
    let none = || json!({});
    if Shell::from_environment()? == Shell::Wasm {
        assert_eq!(prometheus_name(none(), false).await?, "sidespan_spans_created_total");
        return Ok(());
    }
    assert_eq!(prometheus_name(none(), true).await?, "sidespan_spans_created_total");
    assert_eq!(prometheus_name(none(), false).await?, "envoy_wasmcustom_sidespan_spans_created_total");
    let default = || json!({"dynamic_module_config": {"metrics_namespace": ""}});
    assert_eq!(prometheus_name(default(), true).await?, "sidespan_spans_created_total");
    assert_eq!(prometheus_name(default(), false).await?, "envoy_dynamicmodulescustom_sidespan_spans_created_total");
    Ok(())
}
