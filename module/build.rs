//! Stamps the library with what it is, and forbids that it is unloaded.

#[path = "../build.rs"]
mod banner;

fn main() {
    banner::main();
    println!("cargo:rerun-if-changed=../build.rs");
    // A thread of ours runs in it, so no `dlclose` may unmap it, whatever `do_not_close` says.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
