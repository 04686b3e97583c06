//! The fate of a configuration: a bad first one leaves traffic alone, a bad update changes nothing, an empty one propagates.

use crate::stage::{SOON, Stage, config, filter};
use anyhow::ensure;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node, Plugin};
use sidespan_harness::client::Client;
use sidespan_harness::provide::Shell;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary, eventually, provide};
use std::time::Duration;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B3: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1";
const CONFIG_ERRORS: &str = "wasmcustom.sidespan_config_errors_total";
const REFUSED: &str = "wasmcustom.sidespan_configuration_refused";

fn raw(text: &str) -> Result<Plugin> {
    Ok(Plugin::new(&provide::module()?).root_id("sidespan").raw_configuration(text))
}

fn complaints(envoy: &Envoy) -> Vec<String> {
    envoy.log().lines().filter(|line| line.contains("pluginConfig is not usable")).map(str::to_owned).collect()
}

/// Waits until the gauge of refused configurations has come to zero, or to more.
async fn wait_until_refused(envoy: &Envoy, refused: bool) -> Result<()> {
    eventually(&format!("{REFUSED}, refused: {refused}"), SOON, async || {
        let value = envoy.stats().await?.get(REFUSED).copied();
        ensure!(value.is_some_and(|value| (value > 0) == refused), "it is {value:?}");
        Ok(())
    })
    .await
}

/// One Envoy whose only listener has this filter.
async fn start(wasm: Plugin, app: &Upstream, receiver: &Receiver) -> Result<Envoy> {
    let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .listener(Listener::inbound("app").filter(wasm))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()));
    Envoy::start(&envoy_binary()?, &bootstrap).await
}

#[tokio::test]
async fn a_bad_first_configuration_passes_traffic_untouched_with_one_error_and_a_metric() -> Result<()> {
    let shell = Shell::from_environment()?;
    let mut unknown = config(json!({}));
    unknown["sampling"]["randomSamplingPercent"] = json!(50);
    let wrong = config(json!({"propagation": {"trust": "everybody"}}));
    let bad = [
        ("unknown", unknown.to_string(), "sampling.randomSamplingPercent"),
        ("wrong", wrong.to_string(), "propagation.trust"),
        ("no-json", "exporter: {otlp: {}}".to_owned(), "not JSON"),
        ("no-object", "[1, 2]".to_owned(), "give an object"),
    ];
    let filters =
        bad.iter().map(|(name, text, _)| Ok((*name, raw(text)?.named(&format!("test.{name}")).root_id(name))));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let add = |bootstrap: Bootstrap| {
        filters.iter().fold(bootstrap, |bootstrap, (name, filter)| {
            bootstrap.listener(Listener::inbound("app").named(name).filter(filter.clone()))
        })
    };
    // The listeners beside them, of a good configuration, do not suffer.
    let mut stage = Stage::with(Upstream::ok().await?, &config(json!({})), add).await?;
    for (name, _, path) in &bad {
        let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("b3", "0"), ("x-b3-parentspanid", "1")];
        for sent in [&headers[..], &[]] {
            stage.app.take();
            assert_eq!(stage.client(name)?.get("backend", "/", sent).await?.status, 200);
            let received = stage.app.take().remove(0);
            let ours = ["traceparent", "tracestate", "b3", "x-b3-parentspanid"];
            let kept: Vec<_> = ours.iter().filter_map(|name| Some((*name, received.header(name)?))).collect();
            assert_eq!(kept, sent, "{name}: untouched");
        }
        // The log names the root of a wasm filter. A dynamic module has no name, but each problem has its own path.
        let own = |line: &String| match shell {
            Shell::Wasm => line.contains(&format!("wasm log {name}")),
            Shell::Module => line.contains(path),
        };
        let lines: Vec<_> = complaints(&stage.envoy).into_iter().filter(own).collect();
        // Envoy configures a module three times here: in a canary, on the main thread, and on its one worker.
        assert!((1..=3).contains(&lines.len()) && lines.iter().all(|line| line.contains(path)), "{name}: {lines:?}");
    }
    assert_eq!(stage.client("inbound")?.get("backend", "/", &[]).await?.status, 200);
    stage.spans(1).await?;
    stage.envoy.wait_for_stat(CONFIG_ERRORS, bad.len() as u64, SOON).await?;
    assert_eq!(stage.receiver.spans().len(), 1, "nothing of the others");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_bad_update_leaves_the_old_configuration_in_force() -> Result<()> {
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    let with = |patch: Value| Ok::<_, anyhow::Error>(filter(&config(patch))?.discovered());
    let mut envoy = start(with(json!({"customTags": {"n": {"literal": {"value": "one"}}}}))?, &app, &receiver).await?;
    let client = Client::http1(envoy.port("inbound")?);
    let tag = async || {
        receiver.clear();
        assert_eq!(client.get("backend", "/", &[("traceparent", PARENT)]).await?.status, 200);
        let span = receiver.wait_for(1, SOON).await?.remove(0);
        assert_eq!(span.parent_span_id, "00f067aa0ba902b7");
        Ok::<_, anyhow::Error>(span.text("n").unwrap_or_default().to_owned())
    };
    assert_eq!(tag().await?, "one");
    envoy.assert_no_trap();
    // The first tick has left the trace that makes the next bad configuration an update.
    for bad in [json!({"samplin": {}}), json!({"exporter": {"otlp": {"timeout": "0s"}}})] {
        assert!(!envoy.update_plugin(&with(bad)?).await?, "refused");
        assert_eq!(tag().await?, "one", "the old one is in force");
    }
    wait_until_refused(&envoy, true).await?;
    let lines = complaints(&envoy);
    assert!(
        lines.len() >= 2 && lines.iter().all(|line| line.contains("the configuration in force stays")),
        "{lines:?}"
    );
    // What Envoy says of a refused update is no trap of ours.
    let trapped = ["backtrace", "Uncaught", "panicked", "wasm_fail_stream"];
    let traps: Vec<_> =
        envoy.traps().into_iter().filter(|line| trapped.iter().any(|word| line.contains(word))).collect();
    assert!(traps.is_empty(), "{traps:#?}");
    assert!(envoy.update_plugin(&with(json!({"customTags": {"n": {"literal": {"value": "two"}}}}))?).await?, "taken");
    eventually("the new one is in force", SOON, async || {
        let tag = tag().await?;
        ensure!(tag == "two", "{tag:?}");
        Ok(())
    })
    .await?;
    wait_until_refused(&envoy, false).await?;
    // A tracer says at its first tick that it is in force.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Envoy does not hand over what is in force already, so the gauge stays until something is different. Nor does it hand over once
    // more what was refused before: it remembers that, so this is another one.
    assert!(!envoy.update_plugin(&with(json!({"another": {}}))?).await?, "refused");
    wait_until_refused(&envoy, true).await?;
    assert!(
        envoy.update_plugin(&with(json!({"customTags": {"n": {"literal": {"value": "two"}}}}))?).await?,
        "taken back"
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    wait_until_refused(&envoy, true).await?;
    assert!(envoy.update_plugin(&with(json!({"customTags": {"n": {"literal": {"value": "three"}}}}))?).await?, "taken");
    wait_until_refused(&envoy, false).await?;
    assert!(!envoy.log().contains("panicked"));
    Ok(())
}

#[tokio::test]
async fn after_a_bad_first_configuration_a_good_one_takes_over() -> Result<()> {
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    let mut envoy = start(raw(r#"{"samplin": {}}"#)?.discovered(), &app, &receiver).await?;
    let client = Client::http1(envoy.port("inbound")?);
    assert_eq!(client.get("backend", "/", &[("traceparent", PARENT)]).await?.status, 200);
    assert_eq!(app.take()[0].header("traceparent"), Some(PARENT));
    wait_until_refused(&envoy, true).await?;
    // Another bad one is still a first one.
    assert!(envoy.update_plugin(&raw("nonsense")?.discovered()).await?, "traffic must not be stopped by it");
    assert_eq!(client.get("backend", "/", &[("traceparent", PARENT)]).await?.status, 200);
    assert!(envoy.update_plugin(&filter(&config(json!({})))?.discovered()).await?);
    eventually("the good one is in force", SOON, async || {
        assert_eq!(client.get("backend", "/", &[("traceparent", PARENT)]).await?.status, 200);
        ensure!(!receiver.spans().is_empty(), "no span yet");
        Ok(())
    })
    .await?;
    wait_until_refused(&envoy, false).await?;
    envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn an_empty_configuration_propagates_and_nothing_else() -> Result<()> {
    let none = Plugin::new(&provide::module()?).root_id("sidespan").named("test.none");
    let empty = raw("{}")?.named("test.empty");
    let add = |bootstrap: Bootstrap| {
        let listeners = [("none", none), ("empty", empty)];
        listeners.into_iter().fold(bootstrap, |bootstrap, (name, filter)| {
            bootstrap.listener(Listener::inbound("app").named(name).filter(filter))
        })
    };
    let mut stage = Stage::with(Upstream::ok().await?, &config(json!({})), add).await?;
    for name in ["none", "empty"] {
        let client = stage.client(name)?;
        assert_eq!(client.get("backend", "/", &[("b3", B3)]).await?.status, 200);
        let received = stage.app.take().remove(0);
        let parent = received.header("traceparent").unwrap_or_default();
        assert!(parent.starts_with(&PARENT[..36]) && parent.ends_with("-01") && parent != PARENT, "{name}: {parent}");
        assert_eq!(received.header("b3"), Some(format!("{}-1", &parent[3..52]).as_str()), "{name}");
        // Istio's rate of 1 % for a trace that starts here: decided and told, with its probability where it is kept.
        assert_eq!(client.get("backend", "/", &[]).await?.status, 200);
        let received = stage.app.take().remove(0);
        let started = received.header("traceparent").unwrap_or_default();
        assert!(started.ends_with("-02") || received.header("tracestate") == Some("ot=th:fd70a"), "{received:?}");
    }
    assert_eq!(stage.client("inbound")?.get("backend", "/", &[]).await?.status, 200);
    stage.spans(1).await?;
    assert_eq!((stage.receiver.spans().len(), stage.receiver.exports().len()), (1, 1));
    assert!(complaints(&stage.envoy).is_empty());
    stage.envoy.assert_no_trap();
    Ok(())
}
