//! The demo as a visitor runs it, shorter. `cargo xtask test` provides the module and the Envoy.

use sidespan_harness::provide::{self, Shell};
use sidespan_harness::{Result, envoy_binary};
use std::path::Path;
use std::process::{Command, Output};
#[cfg(target_os = "linux")]
use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

/// One screen: lines, and columns of the widest line.
const SCREEN: (usize, usize) = (42, 100);

fn command(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", folder);
    command.env(Shell::from_environment()?.variable(), provide::module()?).env("ENVOY_BIN", envoy_binary()?);
    Ok(command)
}

fn demo(folder: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(command(folder, arguments)?.output()?)
}

#[test]
// With fewer requests, head sampling could select all failing ones of a kind.
fn two_seconds_of_traffic_show_every_kind_of_trace_and_all_checks_hold() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = demo(folder.path(), &["--seconds", "2"])?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    let mut rest = &*text;
    for expected in [
        "A failed request",
        "500 error   error   1\n",
        "requests                               400",
        "failing requests                        16",
        "16 of 16   100 %",
        "dropped 0 + queued 0",
        "failures at all hops",
        "each kept with probability 1",
        "checked",
        "demo/index.html",
        "traces.json",
    ] {
        let (_, after) = rest.split_once(expected).unwrap_or_else(|| panic!("no {expected:?} in:\n{rest}\n{errors}"));
        rest = after;
    }
    assert!(!text.contains('\x1b'), "no colour where there is no terminal");
    assert!(text.lines().count() <= SCREEN.0, "{} lines:\n{text}", text.lines().count());
    let files = |line: &&str| !line.contains(&*folder.path().to_string_lossy()) && !line.contains("SIDESPAN_WASM");
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > SCREEN.1).filter(files).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let page = std::fs::read_to_string(folder.path().join("demo/index.html"))?;
    for expected in [
        "A failure that the client did not see",
        "A connection that was reset",
        "A client that sends B3 headers",
        "forwards W3C headers only",
        "forwards B3 headers only",
        "a3ce929d0e0e4736",
        "16 <small>of 16</small>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.path().join("demo/traces.json"))?)?;
    let spans: usize = document["resourceSpans"].as_array().into_iter().flatten().map(count).sum();
    let account = format!("spans exported                 {spans:>11}");
    assert!(text.contains(&account), "the file holds what the account says, {account:?}:\n{text}");
    Ok(())
}

fn count(resource: &serde_json::Value) -> usize {
    let scopes = resource["scopeSpans"].as_array().into_iter().flatten();
    scopes.map(|scope| scope["spans"].as_array().map_or(0, Vec::len)).sum()
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    file("broken.json", "{")?;
    file("other.yaml", "kind: Telemetry\n")?;
    file("mute.json", "{}")?;
    file("wrong.json", r#"{"exporter": {"otlp": {"cluster": "c"}}, "sampling": {"randomSamplingPercentge": 5}}"#)?;
    let table = [
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--config", "broken.json"], "xtask/src/demo/config.json"),
        (["--config", "other.yaml"], "no WasmPlugin"),
        (["--config", "mute.json"], "no exporter.otlp"),
        (["--config", "wrong.json"], "randomSamplingPercentge"),
        (["--rate", "0"], "--rate"),
        (["--seconds", "NaN"], "--seconds"),
    ];
    for (arguments, expected) in table {
        let output = demo(folder.path(), &arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(expected), "{arguments:?}: {errors}");
    }
    Ok(())
}

#[test]
fn the_shipped_wasm_plugin_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plugin = provide::workspace_root().join("wasmplugin.yaml");
    let plugin = plugin.to_string_lossy();
    let output = demo(folder.path(), &["--seconds", "1", "--rate", "100", "--config", &plugin])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("head sampling at 1 % alone"), "{text}");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_mesh_that_is_kept_says_its_ports_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments = ["--seconds", "0.5", "--rate", "20", "--keep"];
    let mut child = command(folder.path(), &arguments)?.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe was asked for")).lines();
    let runs = lines.find(|line| line.as_ref().is_ok_and(|line| line == "Running until Ctrl-C"));
    let ports: Vec<String> = lines.by_ref().take(5).collect::<std::io::Result<_>>()?;
    let entry = ports.first().and_then(|line| line.split("127.0.0.1:").nth(1)?.split(' ').next()?.parse::<u16>().ok());
    let reached = entry.is_some_and(|port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    child.wait()?;
    assert!(runs.is_some() && sent.success() && reached, "{ports:#?}");
    assert!(rest.is_empty(), "{rest:#?}");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_ends_everything_that_was_started() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut child = command(folder.path(), &["--seconds", "60"])?.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe was asked for")).lines();
    let sends = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("==> [4/4]")));
    let envoys = children(child.id());
    // The child's own id, and nothing else's.
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    let status = child.wait()?;
    assert!(sends.is_some() && sent.success() && !status.success());
    assert_eq!(envoys.len(), 4, "an Envoy for each");
    let alive: Vec<_> = envoys.iter().filter(|id| name_of(**id).is_some_and(|name| name == "envoy")).collect();
    assert!(alive.is_empty(), "{alive:?}");
    Ok(())
}

/// Ids of the processes that `parent` started.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

#[cfg(target_os = "linux")]
fn parent_of(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(target_os = "linux")]
fn name_of(id: u32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?.trim().to_owned())
}
