//! `cargo xtask image`: the module as an OCI image, without Docker.

use crate::build;
use crate::go::Display;
use crate::steps::Steps;
use anyhow::{Context as _, Result, ensure};
use sidespan_harness::{istio, oci, provide};
use std::fs;
use std::path::{Path, PathBuf};

/// Where to, and what to do with the digest.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask image                                                 target/image, an OCI image layout, and its digest
  cargo xtask image --push registry.example.com/sidespan:0.1.0      the same in a registry (needs Go; credentials of `docker login`)
  cargo xtask image --push registry.example.com/sidespan:0.1.0 --pin
                                                                    and image and digest written into wasmplugin.yaml
  skopeo copy oci:target/image docker://registry.example.com/sidespan:0.1.0
                                                                    pushed by another tool, without Go")]
pub(crate) struct Arguments {
    /// Push to this image reference, and read back what the registry has
    #[arg(long, value_name = "REF")]
    push: Option<String>,
    /// Write the digest, and the reference that was pushed to, into this manifest [default: wasmplugin.yaml]
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "wasmplugin.yaml")]
    pin: Option<PathBuf>,
    /// The folder of the layout [default: image in the target folder]
    #[arg(long, value_name = "FOLDER")]
    layout: Option<PathBuf>,
}

/// Builds the module and writes the image; the digest alone goes to standard output.
///
/// # Errors
/// If anything cannot be built, written or pushed, or the registry has something else afterwards.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let total = 2 + usize::from(arguments.push.is_some()) + usize::from(arguments.pin.is_some());
    let mut steps = Steps::new(total);
    let module = steps.step("build the module", build::build_quietly)?;
    let layout = arguments.layout.clone().unwrap_or_else(|| provide::target_dir().join("image"));
    let digest = steps.step("write the image", || write(&module, &layout))?;
    if let Some(reference) = &arguments.push {
        let pushed = steps.step(&format!("push to {reference}"), || push(&layout, reference))?;
        ensure!(pushed == digest, "the registry has sha256:{pushed}, written was sha256:{digest}");
        println!("    the registry has it, with this digest and a layer of the size and digest that the manifest says");
    }
    if let Some(file) = &arguments.pin {
        let headline = format!("pin the digest in {}", file.display());
        steps.step(&headline, || pin(file, arguments.push.as_deref(), &digest))?;
    }
    println!("sha256:{digest}");
    Ok(())
}

/// Writes the layout and returns the digest of the manifest as hexadecimal digits.
///
/// # Errors
/// If the module cannot be read or the folder cannot be written.
pub(crate) fn write(module: &Path, layout: &Path) -> Result<String> {
    let digest = oci::write_layout(module, layout, env!("CARGO_PKG_VERSION"))?;
    println!("    {}", layout.display());
    Ok(digest)
}

fn push(layout: &Path, reference: &str) -> Result<String> {
    let display = Display::new("the program that pushes images", "half a minute", 200);
    let program = display.finish(provide::image_program(|progress| display.show(progress)))?;
    istio::push(&program, layout, reference)
}

fn pin(file: &Path, reference: Option<&str>, digest: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (pinned, found) = oci::pin(&text, reference, digest);
    ensure!(found > 0, "{} has no `url: oci://…`", file.display());
    fs::write(file, pinned).with_context(|| format!("cannot write {}", file.display()))?;
    println!("    {found} image{} pinned", if found == 1 { "" } else { "s" });
    Ok(())
}
