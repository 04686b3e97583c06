//! Configurations: those that are equal share one exporter, and one that is not usable stops no request.

use crate::ledger::Ledger;
use crate::stage::{SOON, Stage, config, filter, filter_with, newest, text_filter};
use serde_json::json;
use sidespan_harness::bootstrap::Listener;
use sidespan_harness::upstream::status;
use sidespan_harness::{Result, Upstream};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn fifty_listeners_with_one_configuration_share_one_exporter() -> Result<()> {
    // One batch holds the spans of all listeners, so they leave in few calls: with an exporter each there would be fifty.
    let config = config(json!({"exporter": {"batch": {"delay": "1s"}}}));
    let names: Vec<_> = (0..50).map(|number| format!("listener-{number}")).collect();
    let mut stage = Stage::with(&newest()?, Upstream::ok().await?, |bootstrap| {
        names.iter().fold(bootstrap.concurrency(2), |bootstrap, name| {
            bootstrap.listener(Listener::inbound("app").named(name).filter(filter(&config)))
        })
    })
    .await?;
    for name in &names {
        assert_eq!(stage.client(name)?.get("backend", "/", &[]).await?.status, 200);
    }
    let ledger = Ledger::settled(&stage.envoy, 50, SOON).await?;
    assert_eq!(ledger.get("spans_exported"), 50);
    assert!((1..=5).contains(&ledger.get("calls")), "{} calls", ledger.get("calls"));
    let banners = stage.envoy.log().lines().filter(|line| line.contains("exporting to collector")).count();
    assert_eq!(banners, 1, "one configuration was put into force");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_cap_holds_for_all_listeners_and_workers_of_the_process() -> Result<()> {
    let config = config(json!({
        "sampling": {"randomSamplingPercentage": 0, "errors": {"maxPerSecond": 5}},
    }));
    let names: Vec<_> = (0..8).map(|number| format!("listener-{number}")).collect();
    let mut stage = Stage::with(&newest()?, Upstream::start(|_| status(503, "no")).await?, |bootstrap| {
        names.iter().fold(bootstrap.concurrency(2), |bootstrap, name| {
            bootstrap.listener(Listener::inbound("app").named(name).filter(filter(&config)))
        })
    })
    .await?;
    for _ in 0..50 {
        for name in &names {
            assert_eq!(stage.client(name)?.get("backend", "/", &[]).await?.status, 503);
        }
    }
    stage.envoy.wait_for_stat("dynamicmodulescustom.sidespan_requests_inbound_total", 400, SOON).await?;
    let ledger = Ledger::read(&stage.envoy).await?;
    // With a cap for each listener, eight times as many could be kept.
    let (kept, capped) = (ledger.get("kept_error"), ledger.get("capped"));
    assert_eq!(kept + capped, 400);
    assert!(kept < 200, "{kept} kept");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_is_not_usable_passes_requests_untouched_with_one_error_and_a_metric() -> Result<()> {
    let bad = [
        ("unknown", r#"{"sampling": {"randomSamplingPercent": 50}}"#, "sampling.randomSamplingPercent"),
        ("no-json", "exporter: {otlp: {}}", "not JSON"),
        ("no-object", "[1, 2]", "give an object"),
    ];
    let good = filter(&config(json!({})));
    let mut stage = Stage::with(&newest()?, Upstream::ok().await?, |bootstrap| {
        let bootstrap = bootstrap.listener(Listener::inbound("app").named("good").filter(good));
        bad.iter().fold(bootstrap, |bootstrap, (name, text, _)| {
            // Twice: equal texts are read once.
            let again = format!("{name}-again");
            bootstrap
                .listener(Listener::inbound("app").named(name).filter(text_filter(text)))
                .listener(Listener::inbound("app").named(&again).filter(text_filter(text)))
        })
    })
    .await?;
    for (name, _, path) in bad {
        for listener in [name.to_owned(), format!("{name}-again")] {
            stage.app.take();
            let sent = [("traceparent", PARENT), ("tracestate", "a=1")];
            assert_eq!(stage.client(&listener)?.get("backend", "/", &sent).await?.status, 200);
            let received = stage.app.take().remove(0);
            assert_eq!(received.header("traceparent"), Some(PARENT), "{listener}");
            assert_eq!(received.header("tracestate"), Some("a=1"), "{listener}");
        }
        let log = stage.envoy.log();
        let lines = log.lines().filter(|line| line.contains("pluginConfig is not usable") && line.contains(path));
        assert_eq!(lines.count(), 1, "{name}");
    }
    assert_eq!(stage.client("good")?.get("backend", "/", &[]).await?.status, 200);
    stage.spans(1).await?;
    stage.envoy.wait_for_stat("dynamicmodulescustom.sidespan_config_errors_total", 3, SOON).await?;
    assert_eq!(stage.receiver.spans().len(), 1, "nothing of the others");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn the_configuration_may_be_a_struct() -> Result<()> {
    let config = config(json!({"customTags": {"n": {"literal": {"value": "one"}}}}));
    let filter = filter_with(json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": config}));
    let mut stage = Stage::start(&newest()?, Upstream::ok().await?, &filter).await?;
    assert_eq!(stage.client("inbound")?.get("backend", "/", &[]).await?.status, 200);
    let span = stage.spans(1).await?.remove(0);
    assert_eq!(span.text("n"), Some("one"));
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn without_a_configuration_it_propagates_only() -> Result<()> {
    let mut stage = Stage::start(&newest()?, Upstream::ok().await?, &text_filter("")).await?;
    assert_eq!(stage.client("inbound")?.get("backend", "/", &[("traceparent", PARENT)]).await?.status, 200);
    let received = stage.app.take().remove(0);
    let sent = received.header("traceparent").unwrap_or_default();
    assert!(sent.starts_with(&PARENT[..36]) && sent != PARENT, "{sent}");
    stage.envoy.assert_no_trap();
    Ok(())
}
