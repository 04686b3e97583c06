//! Stamps the library with what it is, forbids that it is unloaded, and links the unwinder into it.

#[path = "../build.rs"]
mod banner;

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    banner::main();
    println!("cargo:rerun-if-changed=../build.rs");
    println!("cargo:rerun-if-changed=build.rs");
    // A thread of ours runs in it, so no `dlclose` may unmap it, whatever `do_not_close` says.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    link_unwinder();
}

/// Images that hold little more than Envoy and glibc have no `libgcc_s.so.1`. Rust's standard library asks for `-lgcc_s`: a linker
/// script of this name says that the static library is meant.
fn link_unwinder() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let script = "GROUP ( -lgcc_eh -lgcc )\n";
    if let Err(error) = fs::write(folder.join("libgcc_s.so"), script) {
        println!("cargo:warning=the unwinder cannot be linked statically: {error}");
    }
    println!("cargo:rustc-link-search=native={}", folder.display());
}
