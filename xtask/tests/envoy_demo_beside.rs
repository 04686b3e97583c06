//! `cargo xtask demo --beside` as a visitor runs it, shorter. `cargo xtask test` provides the module and the Envoy.

use sidespan_harness::{Result, envoy_binary, provide};
use std::process::Command;

#[test]
fn beside_a_native_tracer_the_account_says_who_exported_what() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["demo", "--beside", "--seconds", "1"]).current_dir(folder.path());
    command.env("CARGO_TARGET_DIR", folder.path()).env("SIDESPAN_WASM", provide::module()?);
    let output = command.env("ENVOY_BIN", envoy_binary()?).output()?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    let mut rest = &*text;
    for expected in [
        "A failed request that Envoy's own tracer did not sample",
        "database.data",
        "sidespan",
        "requests                               200",
        "failing requests                         8   4 of them masked with 200",
        "  with every span root to error          8",
        "none twice",
        "checked",
    ] {
        let (_, after) = rest.split_once(expected).unwrap_or_else(|| panic!("no {expected:?} in:\n{rest}\n{errors}"));
        rest = after;
    }
    Ok(())
}
