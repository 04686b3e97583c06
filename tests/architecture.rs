//! The structure of the source code: which module may import which.
//!
//! Two rules are checked on the parsed sources. The modules at the root of the core have an order, and each imports only those
//! before it. And in no crate do files import each other in a loop. What a compiler or clippy can check (unsafe code, hash maps,
//! printing, items that are public without need) is in the manifests and in `clippy.toml` of each crate.
//!
//! An import is a path that leads to another file of the same crate: in `use`, or written out in code. Re-exports are followed to the
//! file that defines the item. A `mod` declaration is no import. Items under `#[cfg(test)]` do not count, because unit tests may use
//! anything of their crate.

// The lints of the package protect what runs in a proxy; a test may panic.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/loops.rs"]
mod loops;

use imports::Crate;
use std::path::Path;

/// The root of each crate, relative to the workspace.
const CRATES: &[&str] = &["core/src/lib.rs", "src/lib.rs", "cli/src/lib.rs", "harness/src/lib.rs", "xtask/src/main.rs"];

/// The modules of the core in their order. Each imports only those before it, and those in [`SHARED`].
const ORDER: &[&str] =
    &["random", "id", "context", "propagation", "sampling", "span", "otlp", "export", "stream", "pipeline", "tracer"];

/// Modules of the core that all others may import. They import none of the others.
const SHARED: &[&str] = &["http", "config"];

#[test]
fn each_module_of_the_core_imports_only_modules_before_it() {
    let core = read(CRATES[0]);
    let forbidden: Vec<String> = core
        .imports
        .iter()
        .filter(|import| !may_import(module_of(&import.from), module_of(&import.to)))
        .map(|import| format!("core/src/{}:{} imports core/src/{}", import.from, import.line, import.to))
        .collect();
    assert!(forbidden.is_empty(), "imports that ORDER forbids:\n{}", forbidden.join("\n"));
}

#[test]
fn every_module_of_the_core_has_a_place_in_the_order() {
    let core = read(CRATES[0]);
    let placed = |file: &&String| ["lib"].iter().chain(ORDER).chain(SHARED).any(|known| *known == module_of(file));
    let unplaced: Vec<_> = core.files.iter().filter(|file| !placed(file)).collect();
    assert!(unplaced.is_empty(), "add the modules of these files to ORDER: {unplaced:?}");
}

#[test]
fn no_files_import_each_other_in_a_loop() {
    let mut found = Vec::new();
    for root in CRATES {
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        for cycle in loops::find(&read(root).imports) {
            let steps = cycle.iter().map(|i| format!("  {folder}/{}:{} imports {folder}/{}", i.from, i.line, i.to));
            found.push(steps.collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(found.is_empty(), "{} loops of imports:\n{}", found.len(), found.join("\n\n"));
}

fn read(root: &str) -> Crate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let read = Crate::read(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    assert!(!read.imports.is_empty(), "no imports in {}", root.display());
    read
}

fn may_import(from: &str, to: &str) -> bool {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    let shared = |module: &str| SHARED.iter().position(|known| *known == module);
    match (from, to) {
        ("lib", _) => true,
        (_, "lib") => false,
        (from, to) if from == to => true,
        (from, to) => match (shared(from), shared(to)) {
            (Some(from), Some(to)) => to < from,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (None, None) => rank(to) < rank(from),
        },
    }
}

/// The module at the root of the crate: `span` for `span/name.rs`, `id` for `id.rs`.
fn module_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

#[test]
fn the_order_allows_only_what_it_should() {
    let table: &[(&str, &str, bool)] = &[
        ("span", "id", true),
        ("id", "span", false),
        ("pipeline", "stream", true),
        ("stream", "pipeline", false),
        ("id", "config", true),
        ("config", "id", false),
        ("config", "http", true),
        ("http", "config", false),
        ("config", "config", true),
        ("config", "http", true),
        ("http", "config", false),
        ("propagation", "sampling", false),
        ("sampling", "propagation", true),
        ("lib", "pipeline", true),
        ("span", "lib", false),
    ];
    for (from, to, expected) in table {
        assert_eq!(may_import(from, to), *expected, "{from} -> {to}");
    }
}
