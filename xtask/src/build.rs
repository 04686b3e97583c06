//! `cargo xtask build`: builds the wasm module for releases, and the dynamic module.

pub(crate) use crate::cargo::cargo;

use crate::cargo::write_if_changed;
use crate::{library, target, wasm};
use anyhow::{Context, Result, bail};
use sidespan_harness::provide;
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also build the dynamic module for arm64, target/arm64/libsidespan.so, which needs cargo-zigbuild
    #[arg(long)]
    arm64: bool,
}

/// Builds the wasm module and prints its size, removed exports and imports; then the dynamic module, and what it needs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build()?;
    library::build()?;
    if arguments.arm64 {
        library::build_for_arm64()?;
    }
    Ok(())
}

/// Builds and reports as [`run`], and returns the path of the module.
pub(crate) fn build() -> Result<PathBuf> {
    let (path, raw, pruned) = make()?;
    report(&path, raw, &pruned);
    Ok(path)
}

/// Builds without a report, and returns the path of the module.
pub(crate) fn build_quietly() -> Result<PathBuf> {
    make().map(|(path, _, _)| path)
}

/// Builds the module. Returns its path, its size as the linker wrote it, and the pruned module.
fn make() -> Result<(PathBuf, usize, wasm::Pruned)> {
    target::ensure()?;
    let raw = compile("sidespan", "module")?;
    let bytes = fs::read(&raw).with_context(|| format!("cannot read {}", raw.display()))?;
    let pruned = wasm::prune(&bytes)?;
    let path = provide::module_path();
    write_if_changed(&path, &pruned.bytes)?;
    write_if_changed(&named(&path), &pruned.named)?;
    wasm::check_size(pruned.bytes.len())?;
    Ok((path, bytes.len(), pruned))
}

/// The path of the same code with the names of its functions, for backtraces.
fn named(path: &Path) -> PathBuf {
    path.with_extension("names.wasm")
}

/// Runs `cargo rustc` for a package and returns the module as the linker wrote it. Asking for the `cdylib` alone makes it 10 kB smaller
/// than what `cargo build` gives: only then does link-time optimisation see all of it.
pub(crate) fn compile(package: &str, profile: &str) -> Result<PathBuf> {
    let folder = provide::target_dir();
    let status = cargo()
        .args(["rustc", "--profile", profile, "--package", package, "--lib", "--crate-type", "cdylib"])
        .args(["--target", target::TARGET, "--target-dir"])
        .arg(&folder)
        .args(["--config", &remap()?])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("{package} does not compile");
    }
    Ok(folder.join(target::TARGET).join(profile).join(package.replace('-', "_")).with_extension("wasm"))
}

/// A configuration of cargo that keeps the paths of this machine out of the module's panic messages, so that every machine
/// builds the same bytes. It adds to flags that are configured for the target; RUSTFLAGS, if set, replaces all of them.
fn remap() -> Result<String> {
    let mut flags = vec![remap_flag(provide::workspace_root(), "sidespan")];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let sources = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    // One folder for each registry that was used. There is none if the dependencies are vendored.
    if let Ok(registries) = fs::read_dir(&sources) {
        flags.extend(registries.flatten().map(|registry| remap_flag(&registry.path(), "crates")));
    }
    let list = flags.iter().map(|flag| format!("{flag:?}")).collect::<Vec<_>>().join(", ");
    Ok(format!("target.{}.rustflags = [{list}]", target::TARGET))
}

fn remap_flag(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn report(path: &Path, raw: usize, pruned: &wasm::Pruned) {
    let here = std::env::current_dir().unwrap_or_default();
    let shown = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    println!("{}", shown(path));
    println!("  size     {} bytes of at most {} ({raw} as the linker wrote it)", pruned.bytes.len(), wasm::LIMIT);
    println!(
        "  names    {}: the same code with the names of its functions, {} bytes",
        shown(&named(path)),
        pruned.named.len()
    );
    println!("  removed  {}", list(pruned.removed.iter().map(String::as_str), "proxy_on_"));
    println!("  imports  {}", list(pruned.imports.iter().map(String::as_str), "env.proxy_"));
}

/// The number of names, and the names without a common prefix.
fn list<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> String {
    let short: Vec<_> = names.map(|name| name.strip_prefix(prefix).unwrap_or(name)).collect();
    if short.is_empty() { "nothing".to_owned() } else { format!("{}: {}", short.len(), short.join(", ")) }
}
