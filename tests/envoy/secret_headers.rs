//! Headers of export calls whose values come from the environment of the VM, in a real Envoy.

use crate::ledger::Ledger;
use crate::stage::{SOON, config, filter};
use anyhow::ensure;
use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Route};
use sidespan_harness::client::Client;
use sidespan_harness::upstream::status;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary};

const TOKEN: &str = "Bearer e30.s3cret";

#[tokio::test]
async fn the_receiver_sees_the_value_of_the_variable_and_a_missing_one_is_an_error_without_values() -> Result<()> {
    let app = Upstream::start(|_| status(200, "done")).await?;
    let receiver = Receiver::start().await?;
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()))
        .cluster(Cluster::new("collector-h2", receiver.port()).http2());
    // The variable with the line feed of a file's end, as it comes from a Kubernetes Secret.
    let variables =
        [("set", "OTLP_TOKEN"), ("default", "OTLP_OTHER"), ("missing", "OTLP_ABSENT"), ("grpc", "OTLP_TOKEN")];
    for (name, variable) in variables {
        let default = if name == "default" { json!("Bearer default") } else { json!(null) };
        let otlp = json!({
            "cluster": if name == "grpc" { "collector-h2" } else { "collector" },
            "protocol": if name == "grpc" { "grpc" } else { "http/protobuf" },
            "headers": {"x-case": name, "Authorization": {"environment": {"name": variable, "defaultValue": default}}},
        });
        let wasm = filter(&config(json!({"exporter": {"otlp": otlp}})))?;
        let wasm = wasm.named(&format!("istio-system.{name}")).environment("OTLP_TOKEN", &format!("{TOKEN}\n"));
        let listener = Listener::new(name, Direction::Inbound).route(Route::cluster("/", "app")).filter(wasm);
        bootstrap = bootstrap.listener(listener);
    }
    let mut envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    for (name, _) in variables {
        let reply = Client::http1(envoy.port(name)?).get("backend", "/", &[]).await?;
        ensure!(reply.status == 200, "{name}: {}", reply.status);
    }
    Ledger::settled(&envoy, &Ledger::default(), 3, SOON).await?;
    let mut seen: Vec<_> = receiver
        .exports()
        .iter()
        .map(|export| [export.header("x-case"), export.header("authorization")].map(|it| it.unwrap_or("-").to_owned()))
        .collect();
    seen.sort();
    assert_eq!(seen, [["default", "Bearer default"], ["grpc", TOKEN], ["set", TOKEN]]);
    let log = envoy.log();
    assert!(log.contains("the environment variable `OTLP_ABSENT` is not set"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
    envoy.assert_no_trap();
    Ok(())
}
