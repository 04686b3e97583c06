//! The place of a wasm filter, shown with a module of a few lines: it adds `x-wasm: <length of its configuration>` to each
//! request, refuses a configuration of three bytes, and traps on a request with more than 20 headers.

use serde_json::json;
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Filter, Listener, Node, Plugin};
use sidespan_harness::client::{Client, Reply};
use sidespan_harness::{Envoy, Result, Upstream, envoy_binary, eventually};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

const SOON: Duration = Duration::from_secs(10);

const MODULE: &str = r#"(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-wasm")
  (data (i32.const 16) "0123456789")
  (global $length (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (global.set $length (local.get 1))
    (i32.ne (local.get 1) (i32.const 3)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.gt_u (local.get 1) (i32.const 20)) (then unreachable))
    (drop (call $add (i32.const 0) (i32.const 0) (i32.const 6)
                     (i32.add (i32.const 16) (global.get $length)) (i32.const 1)))
    (i32.const 0)))"#;

fn module() -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(&wat::parse_str(MODULE)?)?;
    Ok(file)
}

async fn start(app: &Upstream, filter: impl Into<Filter>) -> Result<Envoy> {
    let listener = Listener::inbound("app").filter(filter).access_log("inbound.log", "%RESPONSE_CODE_DETAILS%");
    let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop")).cluster(Cluster::new("app", app.port()));
    Envoy::start(&envoy_binary()?, &bootstrap.listener(listener)).await
}

async fn get(envoy: &Envoy, headers: &[(&str, &str)]) -> Result<Reply> {
    Client::http1(envoy.port("inbound")?).get("backend", "/", headers).await
}

fn trapped(envoy: &mut Envoy) -> bool {
    catch_unwind(AssertUnwindSafe(|| envoy.assert_no_trap())).is_err()
}

/// What the module wrote on the last request.
fn configured_length(app: &Upstream) -> Option<String> {
    app.take().pop().and_then(|request| request.header("x-wasm").map(str::to_owned))
}

#[tokio::test]
async fn a_module_gets_its_configuration_and_a_trap_is_noticed() -> Result<()> {
    let (app, module) = (Upstream::ok().await?, module()?);
    let wasm = Plugin::new(module.path()).raw_configuration("abcd").environment("A", "b").host_environment("PATH");
    let mut envoy = start(&app, wasm).await?;
    assert_eq!(get(&envoy, &[]).await?.status, 200);
    assert_eq!(configured_length(&app).as_deref(), Some("4"));
    envoy.assert_no_trap();
    get(&envoy, &[("x-many", "1"); 30]).await?;
    envoy.access_log("inbound.log", 2, SOON).await?;
    assert!(trapped(&mut envoy), "{}", envoy.log());
    Ok(())
}

#[tokio::test]
async fn a_module_that_is_missing_or_broken_or_refuses_its_configuration_is_noticed() -> Result<()> {
    let (app, module) = (Upstream::ok().await?, module()?);
    assert!(start(&app, Plugin::new(Path::new("/nowhere/filter.wasm"))).await.is_err());
    for wasm in [
        Plugin::new(module.path()).raw_configuration("bad"),
        Plugin::new(module.path())
            .with(json!({"vm_config": {"code": {"local": {"filename": null, "inline_string": "x"}}}})),
    ] {
        // An Envoy that refuses to start has noticed by itself.
        if let Ok(mut envoy) = start(&app, wasm).await {
            assert!(trapped(&mut envoy), "{}", envoy.log());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_discovered_filter_is_replaced_while_envoy_runs_unless_it_refuses() -> Result<()> {
    let (app, module) = (Upstream::ok().await?, module()?);
    let filter = |configuration| Plugin::new(module.path()).discovered().raw_configuration(configuration);
    let mut envoy = start(&app, filter("abcd")).await?;
    assert_eq!(get(&envoy, &[]).await?.status, 200);
    assert_eq!(configured_length(&app).as_deref(), Some("4"));
    assert!(envoy.update_plugin(&filter("abcdef")).await?, "taken");
    eventually("every worker has the new one", SOON, async || {
        assert_eq!(get(&envoy, &[]).await?.status, 200);
        anyhow::ensure!(configured_length(&app).as_deref() == Some("6"), "not yet");
        Ok(())
    })
    .await?;
    envoy.assert_no_trap();
    assert!(!envoy.update_plugin(&filter("bad")).await?, "refused");
    assert_eq!(get(&envoy, &[]).await?.status, 200);
    assert!(envoy.traps().iter().all(|line| !line.contains("backtrace")), "{:?}", envoy.traps());
    Ok(())
}
