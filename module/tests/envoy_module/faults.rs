//! A panic in any hook: the request passes, the panic is counted, and Envoy lives.
//!
//! The library of these tests has the feature `fault`, so it is another one than that of the others.

use crate::stage::{config, filter, newest, with_library};
use anyhow::{Context as _, ensure};
use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Listener, Node};
use sidespan_harness::client::Client;
use sidespan_harness::receiver::Reply;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, provide};
use std::path::PathBuf;
use std::process::Command;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Hooks that a request and its export reach, in their order.
const REACHED: &[&str] = &[
    "config_new",
    "new",
    "request_headers",
    "request_body",
    "response_headers",
    "response_body",
    "stream_complete",
    "destroy",
    "config_scheduled",
    "config_stream_headers",
    "config_stream_data",
    "config_stream_complete",
    "local_reply",
    "config_destroy",
];

/// The library with the feature `fault`, built by cargo.
fn faulty_library() -> Result<PathBuf> {
    let folder = provide::target_dir().join("fault");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(provide::workspace_root())
        .args(["rustc", "--quiet", "--package", "sidespan-module", "--lib", "--crate-type", "cdylib"])
        .args(["--features", "fault", "--target-dir"])
        .arg(&folder)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the library with the feature `fault` does not compile");
    let library = folder.join("libsidespan.so");
    std::fs::copy(folder.join("debug/libsidespan_module.so"), &library)?;
    Ok(library)
}

/// What the application sees of a request, and how it is answered, with a panic in one hook.
async fn serve(library: &std::path::Path, hook: &str) -> Result<(u64, String)> {
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    // An answer with a body.
    receiver.answer_with(Reply::Partial { rejected: 0, message: "a warning".to_owned() });
    let filter = filter(&config(json!({})));
    let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()))
        .listener(Listener::inbound("app").filter(filter.clone()))
        .listener(Listener::inbound("nowhere").named("nowhere").filter(filter))
        .environment("SIDESPAN_FAULT", hook);
    let envoy = Envoy::start(&newest()?, &with_library(bootstrap, library)?).await?;
    let client = Client::http1(envoy.port("inbound")?);
    for _ in 0..3 {
        let reply = client.send(client.request("POST", "backend", "/", &[("traceparent", PARENT)], "body")?).await?;
        ensure!(reply.status == 200, "{hook}: {}", reply.status);
    }
    // There is no cluster of this name, so Envoy answers.
    let reply = Client::http1(envoy.port("nowhere")?).get("backend", "/", &[]).await?;
    ensure!(reply.status == 503, "{hook}: {}", reply.status);
    for request in app.requests() {
        let sent = request.header("traceparent").unwrap_or_default();
        ensure!(sent.starts_with(&PARENT[..36]), "{hook}: {sent}");
        ensure!((hook != "request_headers" && hook != "all") || sent == PARENT, "{hook}: untouched, but {sent}");
    }
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    envoy.admin_get("/ready").await?;
    let stats = envoy.stats().await?;
    let counted = stats.get("dynamicmodulescustom.sidespan_panics_total").copied().unwrap_or_default();
    let log = envoy.log();
    ensure!(!log.contains("Caught Segmentation fault") && !log.contains("Caught Aborted"), "{hook}: {log}");
    let (status, log) = envoy.quit().await.map_err(|error| error.context(format!("with a panic in {hook}")))?;
    ensure!(status.success(), "{hook}: Envoy ended with {status}");
    Ok((counted, log))
}

#[tokio::test]
async fn a_panic_in_any_hook_is_caught_and_counted_and_the_request_passes() -> Result<()> {
    let library = tokio::task::spawn_blocking(faulty_library).await??;
    let (counted, log) = serve(&library, "none").await?;
    assert_eq!((counted, log.contains("because of a fault of the module")), (0, false));
    for hook in REACHED.iter().chain(&["all", "program_init"]) {
        let (counted, log) = serve(&library, hook).await?;
        let reported = log.lines().filter(|line| line.contains("fault of the module")).count();
        assert!((1..=10).contains(&reported), "{hook}: {reported} lines in the log");
        assert!(log.contains(&format!("provoked in {}", if *hook == "all" { "" } else { hook })), "{hook}");
        // Metrics are reported where the main thread is reached, and a configuration was made.
        let silent = ["config_scheduled", "config_new", "all", "config_destroy", "program_init"].contains(hook);
        assert!(silent || counted > 0, "{hook}: nothing was counted");
    }
    Ok(())
}
