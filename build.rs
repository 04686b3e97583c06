//! Stamps the module with what it is: version, git revision (if any) and profile. No network, no protoc; works without git.

use std::process::Command;

pub(crate) fn main() {
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let profile = std::env::var("PROFILE").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=SIDESPAN_REVISION={revision}");
    println!("cargo:rustc-env=SIDESPAN_PROFILE={profile}");
    println!("cargo:rerun-if-changed=build.rs");
    // HEAD's log changes with every commit and checkout; absent in a source archive, where nothing needs re-running.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    if let Some(log) = log.filter(|log| std::path::Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
