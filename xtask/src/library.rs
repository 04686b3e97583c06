//! The dynamic module as a shared library: built, checked, and put beside the wasm module.

use crate::cargo::{cargo, write_if_changed};
use anyhow::{Context, Result, bail, ensure};
use object::elf::{DF_1_NODELETE, DT_FLAGS_1, FileHeader64};
use object::read::elf::{Dyn, FileHeader, Sym};
use object::{Endianness, StringTable};
use sidespan_harness::provide::{self, Shell};
use std::fs;
use std::path::{Path, PathBuf};

/// The newest glibc that it may need. Envoy's images have 2.35 (Ubuntu 22.04) and 2.36 (distroless, Debian 12), those of Istio are
/// as new. On a build machine with glibc 2.35 or newer it needs 2.35: the unwinder asks for `_dl_find_object`.
const NEWEST_GLIBC: (u32, u32) = (2, 35);

/// Libraries that are part of glibc, which every image with Envoy has.
const GLIBC: &[&str] = &["libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "ld-linux"];

/// What cargo-zigbuild is asked for: it links against exactly this version of glibc.
const ARM64: &str = "aarch64-unknown-linux-gnu";

const ARM64_IS_MISSING: &str =
    "the arm64 library was not built. It needs both of these; on an arm64 machine leave out --arm64:
  - rustup target add aarch64-unknown-linux-gnu
  - pip install cargo-zigbuild ziglang";

/// What a library needs of the system that loads it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    libraries: Vec<String>,
    /// The newest version of glibc's symbols.
    glibc: (u32, u32),
    /// `dlclose` does not unload it.
    stays: bool,
    /// Hooks of Envoy that it defines.
    hooks: usize,
}

/// Builds the library for this machine, checks it, and prints what it needs.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = provide::target_dir();
    let status = cargo()
        .args(["rustc", "--profile", "library", "--package", "sidespan-module", "--lib", "--crate-type", "cdylib"])
        .arg("--target-dir")
        .arg(&folder)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "sidespan-module does not compile");
    finish(&folder.join("library"), Shell::Module.default_file())
}

/// The same for arm64 on any machine, as `target/arm64/libsidespan.so`, with cargo-zigbuild.
pub(crate) fn build_for_arm64() -> Result<PathBuf> {
    let (folder, (major, minor)) = (provide::target_dir(), NEWEST_GLIBC);
    let mut command = cargo();
    command.args(["zigbuild", "--profile", "library", "--package", "sidespan-module", "--target-dir"]).arg(&folder);
    command.args(["--target", &format!("{ARM64}.{major}.{minor}")]);
    ensure!(command.status().context("cannot run cargo")?.success(), "{ARM64_IS_MISSING}");
    finish(&folder.join(ARM64).join("library"), folder.join("arm64/libsidespan.so"))
}

/// Checks what cargo made in a folder, puts it into its place, and prints what it needs.
fn finish(built: &Path, path: PathBuf) -> Result<PathBuf> {
    let raw = built.join("libsidespan_module.so");
    let bytes = fs::read(&raw).with_context(|| format!("cannot read {}", raw.display()))?;
    let needs = needs(&bytes).with_context(|| format!("cannot read {}", raw.display()))?;
    check(&needs)?;
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    write_if_changed(&path, &bytes)?;
    let here = std::env::current_dir().unwrap_or_default();
    println!("{}", path.strip_prefix(&here).unwrap_or(&path).display());
    println!("  size     {} bytes", bytes.len());
    println!("  glibc    {}.{} or newer; libraries: {}", needs.glibc.0, needs.glibc.1, needs.libraries.join(", "));
    println!("  hooks    {}", needs.hooks);
    Ok(path)
}

fn check(needs: &Needs) -> Result<()> {
    let foreign: Vec<_> = needs
        .libraries
        .iter()
        .filter(|library| !GLIBC.iter().any(|known| library.starts_with(known)))
        .map(String::as_str)
        .collect();
    if !foreign.is_empty() {
        bail!("the library needs {}, which images with Envoy need not have", foreign.join(", "));
    }
    if needs.glibc > NEWEST_GLIBC {
        bail!(
            "the library needs glibc {}.{}, but images with Envoy need not have more than {}.{}",
            needs.glibc.0,
            needs.glibc.1,
            NEWEST_GLIBC.0,
            NEWEST_GLIBC.1
        );
    }
    ensure!(needs.stays, "the library can be unloaded under its thread: DF_1_NODELETE is not set");
    ensure!(needs.hooks >= 31, "the library lacks hooks of Envoy: only {} are there", needs.hooks);
    Ok(())
}

fn needs(bytes: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let mut needs = Needs::default();
    if let Some((dynamic, link)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, link)?;
        for entry in dynamic {
            match entry.tag32(endian) {
                Some(object::elf::DT_NEEDED) => needs.libraries.push(text(strings, entry.val32(endian))?),
                Some(DT_FLAGS_1) => needs.stays = entry.val32(endian).is_some_and(|flags| flags & DF_1_NODELETE != 0),
                _ => {}
            }
        }
    }
    if let Some((mut files, link)) = sections.gnu_verneed(endian, bytes)? {
        let strings = sections.strings(endian, bytes, link)?;
        while let Some((_, mut versions)) = files.next()? {
            while let Some(version) = versions.next()? {
                let name = text(strings, Some(version.vna_name.get(endian)))?;
                needs.glibc = needs.glibc.max(glibc(&name).unwrap_or_default());
            }
        }
    }
    let symbols = sections.symbols(endian, bytes, object::elf::SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings())?);
        let defined = symbol.st_shndx(endian) != object::elf::SHN_UNDEF;
        needs.hooks += usize::from(defined && name.starts_with("envoy_dynamic_module_on_"));
    }
    Ok(needs)
}

fn text(strings: StringTable<'_>, offset: Option<u32>) -> Result<String> {
    let bytes = offset.and_then(|offset| strings.get(offset).ok()).context("a name is outside of its table")?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// `GLIBC_2.34` as numbers; other versions, such as `GLIBC_PRIVATE`, are none.
fn glibc(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Needs {
        Needs {
            libraries: ["libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"].map(str::to_owned).into(),
            glibc: NEWEST_GLIBC,
            stays: true,
            hooks: 31,
        }
    }

    #[test]
    fn a_library_that_some_image_cannot_load_is_refused() {
        check(&good()).expect("as it should be");
        let table = [
            (Needs { libraries: vec!["libgcc_s.so.1".to_owned()], ..good() }, "libgcc_s"),
            (Needs { glibc: (2, 38), ..good() }, "glibc 2.38"),
            (Needs { stays: false, ..good() }, "NODELETE"),
            (Needs { hooks: 30, ..good() }, "only 30"),
        ];
        for (needs, expected) in table {
            let error = check(&needs).expect_err("not as it should be").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn versions_of_glibc_are_numbers() {
        for (name, expected) in
            [("GLIBC_2.34", Some((2, 34))), ("GLIBC_2.2.5", Some((2, 2))), ("GLIBC_PRIVATE", None), ("GCC_3.0", None)]
        {
            assert_eq!(glibc(name), expected, "{name}");
        }
    }
}
