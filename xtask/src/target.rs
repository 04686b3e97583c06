//! The compile target of the module: `wasm32-wasip1`.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::process::{Command, Stdio};

/// The target's name.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Makes sure that the toolchain can compile for the target; adds it with rustup if it cannot.
pub(crate) fn ensure() -> Result<()> {
    if installed()? || std::env::var_os("CARGO_UNSTABLE_BUILD_STD").is_some() {
        return Ok(());
    }
    eprintln!("adding the compile target {TARGET}: `rustup target add {TARGET}`");
    // cargo tells the toolchain to its children in RUSTUP_TOOLCHAIN, so rustup adds to the one that is in use.
    let added = Command::new("rustup").args(["target", "add", TARGET]).stdin(Stdio::null()).status();
    match added {
        Ok(status) if status.success() && installed()? => Ok(()),
        Ok(_) => bail!("`rustup target add {TARGET}` did not give this toolchain the target.\n{WAYS_OUT}"),
        Err(_) => bail!("this toolchain lacks the target {TARGET}, and there is no rustup to add it.\n{WAYS_OUT}"),
    }
}

const WAYS_OUT: &str = "Do one of these, then run the command again:
  - with rustup (https://rustup.rs): `rustup target add wasm32-wasip1`
  - with a toolchain of your distribution: install its package for wasm32-wasip1, if it has one
  - with Debian's rustc-web, cargo-web, rust-web-src, lld-19 and wasi-libc, which compile the standard library from source:
      export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
      export CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-19
      export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS='-L native=/usr/lib/wasm32-wasi'";

/// Whether the standard library for the target lies beside the compiler. rustc prints the folder whether it exists or not.
fn installed() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", rustc.display()))?;
    let folder = String::from_utf8(output.stdout).context("the path of the toolchain is not UTF-8")?;
    if !output.status.success() {
        bail!("{} does not know the target {TARGET}: version 1.88 or later is needed", rustc.display());
    }
    let Ok(mut files) = std::fs::read_dir(folder.trim()) else { return Ok(false) };
    Ok(files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))))
}
