//! The imports between the files of a crate, read with `syn`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, Meta, Token, UseTree};

/// The files of a crate and their imports.
pub struct Crate {
    /// Relative to the folder of the root file, with `/`.
    pub files: BTreeSet<String>,
    /// In the order of files and lines. A file is not listed as importing itself.
    pub imports: Vec<Import>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The file that imports.
    pub from: String,
    /// The line of the path in that file, counted from 1.
    pub line: usize,
    /// The file that defines what is imported.
    pub to: String,
}

/// Names of a path, such as `["super", "name", "Shape"]`.
type Segments = Vec<String>;

/// A module, in a file of its own or inline.
#[derive(Default)]
struct Module {
    file: String,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    /// Names that `use` brings into scope, with their paths.
    uses: BTreeMap<String, Segments>,
    /// Paths of `use path::*`.
    globs: Vec<Segments>,
    /// All paths with at least two segments, with their lines.
    paths: Vec<(usize, Segments)>,
}

/// All modules by their path from the root, which is empty for the root itself.
#[derive(Default)]
struct Modules {
    modules: BTreeMap<Segments, Module>,
    /// Macros with `#[macro_export]`, which are imported from the root, and the modules that define them.
    exported_macros: BTreeMap<String, Segments>,
}

// === impl Crate ===

impl Crate {
    /// Reads a crate from its root file.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub fn read(root: &Path) -> Result<Self> {
        let mut modules = Modules::default();
        let folder = root.parent().unwrap_or(root);
        modules.read_file(folder, root, Vec::new())?;
        Ok(modules.into_crate())
    }

    /// Reads a crate from the texts of its files; for tests of this test.
    pub fn from_texts(texts: &[(&str, &str)]) -> Self {
        let mut modules = Modules::default();
        for (file, text) in texts {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned);
            let path: Segments = if *file == "lib.rs" { Vec::new() } else { path.collect() };
            modules.add(file, &path, &syn::parse_file(text).expect("valid Rust").items);
        }
        modules.into_crate()
    }
}

// === impl Modules ===

impl Modules {
    fn read_file(&mut self, root: &Path, file: &Path, path: Segments) -> Result<()> {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let error = |error: String| Error::other(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(file).map_err(|cause| error(cause.to_string()))?;
        let parsed = syn::parse_file(&text).map_err(|cause| error(cause.to_string()))?;
        for child in self.add(&name, &path, &parsed.items) {
            let folder = child[..child.len() - 1].iter().fold(root.to_owned(), |folder, name| folder.join(name));
            let name = child.last().expect("a child has a name");
            let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
            let found = candidates.iter().find(|candidate| candidate.is_file());
            self.read_file(root, &PathBuf::from(found.ok_or_else(|| error(format!("no file of mod {name}")))?), child)?;
        }
        Ok(())
    }

    /// Adds a module with its inline modules. Returns the paths of modules in other files that it declares.
    fn add(&mut self, file: &str, path: &[String], items: &[Item]) -> Vec<Segments> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let mut elsewhere = Vec::new();
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            let Item::Mod(child) = item else {
                module.add_item(item);
                if let Some(name) = exported_macro(item) {
                    self.exported_macros.insert(name, path.to_owned());
                }
                continue;
            };
            let name = child.ident.to_string();
            let child_path = [path, std::slice::from_ref(&name)].concat();
            module.children.insert(name);
            match &child.content {
                Some((_, items)) => elsewhere.extend(self.add(file, &child_path, items)),
                None => elsewhere.push(child_path),
            }
        }
        self.modules.insert(path.to_owned(), module);
        elsewhere
    }

    fn into_crate(self) -> Crate {
        let mut imports = Vec::new();
        for (path, module) in &self.modules {
            for (line, segments) in &module.paths {
                let targets = self.resolve(path, segments, 0).into_iter().filter(|to| *to != module.file);
                imports.extend(targets.map(|to| Import { from: module.file.clone(), line: *line, to }));
            }
        }
        imports.sort_by(|one, other| (&one.from, one.line).cmp(&(&other.from, other.line)));
        imports.dedup();
        Crate { files: self.modules.values().map(|module| module.file.clone()).collect(), imports }
    }

    /// The files that a path leads to from a module; empty if it leads to another crate. It is one file, or for `path::*` all files
    /// that define what the module re-exports.
    fn resolve(&self, from: &[String], segments: &[String], depth: usize) -> Vec<String> {
        let Some((first, rest)) = segments.split_first().filter(|_| depth < 16) else { return Vec::new() };
        let Some(module) = self.modules.get(from) else { return Vec::new() };
        match first.as_str() {
            "crate" => match rest.first().and_then(|name| self.exported_macros.get(name)) {
                Some(path) => self.walk(path, rest, depth),
                None => self.walk(&[], rest, depth),
            },
            "self" => self.walk(from, rest, depth),
            "super" => {
                let parent = &from[..from.len().saturating_sub(1)];
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.resolve(parent, rest, depth + 1),
                    false => self.walk(parent, rest, depth),
                }
            }
            first if module.children.contains(first) || module.uses.contains_key(first) => {
                self.walk(from, segments, depth)
            }
            _ => Vec::new(),
        }
    }

    /// Follows names from a module on.
    fn walk(&self, from: &[String], names: &[String], depth: usize) -> Vec<String> {
        let Some(module) = self.modules.get(from) else { return Vec::new() };
        let Some((name, rest)) = names.split_first() else { return vec![module.file.clone()] };
        if name == "*" {
            let exported =
                module.uses.values().chain(&module.globs).flat_map(|path| self.resolve(from, path, depth + 1));
            return [vec![module.file.clone()], exported.collect()].concat();
        }
        if module.children.contains(name) {
            return self.walk(&[from, std::slice::from_ref(name)].concat(), rest, depth);
        }
        if module.items.contains(name) {
            return vec![module.file.clone()];
        }
        match module.uses.get(name) {
            Some(path) => self.resolve(from, &[path.as_slice(), rest].concat(), depth + 1),
            None => {
                let globs = module.globs.iter().map(|glob| [&glob[..glob.len() - 1], names].concat());
                let found: Vec<_> = globs.flat_map(|path| self.resolve(from, &path, depth + 1)).collect();
                // What is not declared in the text is generated by a macro there.
                if found.is_empty() { vec![module.file.clone()] } else { found }
            }
        }
    }
}

// === impl Module ===

impl Module {
    fn add_item(&mut self, item: &Item) {
        if let Item::Use(import) = item {
            self.add_use(&import.tree, Vec::new());
        }
        if let Some(name) = name_of(item) {
            self.items.insert(name);
        }
        self.visit_item(item);
    }

    fn add_use(&mut self, tree: &UseTree, mut path: Segments) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.add_use(&tree.tree, path);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree, path.clone())),
            // `use a::{self}` imports `a`.
            UseTree::Name(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                let name = path.last().cloned().unwrap_or_default();
                self.add_name(&tree.ident, path, name);
            }
            UseTree::Rename(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                self.add_name(&tree.ident, path, tree.rename.to_string());
            }
            UseTree::Glob(glob) => {
                path.push("*".to_owned());
                self.paths.push((line(glob.star_token.span), path.clone()));
                self.globs.push(path);
            }
        }
    }

    fn add_name(&mut self, at: &Ident, path: Segments, name: String) {
        self.paths.push((line(at.span()), path.clone()));
        self.uses.insert(name, path);
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    /// The path of `pub(in path)` names who may see an item. It imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.paths.push((line(path.segments[0].ident.span()), segments));
        }
        visit::visit_path(self, path);
    }

    /// Arguments such as those of `format!` are expressions; other macros are not looked into.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        if let Ok(arguments) = called.parse_body_with(Punctuated::<syn::Expr, Token![,]>::parse_terminated) {
            for argument in arguments {
                // The arguments were parsed here, so they do not live as long as the file.
                let mut paths = Module::default();
                paths.visit_expr(&argument);
                self.paths.append(&mut paths.paths);
            }
        }
    }
}

fn line(span: proc_macro2::Span) -> usize {
    span.start().line
}

/// Whether an item is compiled for unit tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn exported_macro(item: &Item) -> Option<String> {
    let Item::Macro(item) = item else { return None };
    let exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
    item.ident.as_ref().filter(|_| exported).map(ToString::to_string)
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

#[test]
fn imports_are_found_in_every_form() {
    let room = "mod leaf; mod types; pub use self::leaf::Leaf; pub(crate) fn helper() {}";
    let table: &[(&str, &[&str], &str)] = &[
        ("use super::room::Leaf;", &["room/leaf.rs"], "a re-export leads to the file that defines the item"),
        ("use crate::room::helper;", &["room/mod.rs"], "an item of the parent"),
        ("use crate::{room::leaf::{self, Leaf}, other as alias};", &["room/leaf.rs", "other.rs"], "groups and renames"),
        (
            "use super::room;\nfn f() { room::types::make(); }",
            &["room/mod.rs", "room/types.rs"],
            "a path through a module",
        ),
        ("fn f() -> crate::other::Other { todo!() }", &["other.rs"], "a path in a type"),
        ("fn f() { println!(\"{}\", crate::other::N); }", &["other.rs"], "an argument of a macro"),
        ("use super::room::*;", &["room/mod.rs", "room/leaf.rs"], "a glob brings the re-exports too"),
        ("use std::fmt; use room::Leaf; fn f() { fmt::write(); }", &[], "other crates"),
        ("#[cfg(test)]\nmod tests { use crate::other; }\n#[cfg(test)]\nuse crate::other;", &[], "unit tests"),
        ("mod inner { use super::super::other; }", &["other.rs"], "an inline module is in the same file"),
        ("mod inner { pub fn f() {} } fn f() { inner::f(); self::inner::f(); }", &[], "the file itself"),
        ("pub(in crate::room) fn f() {} pub(in crate::room) struct S;", &[], "a visibility"),
        ("use crate::other::Generated;", &["other.rs"], "an item that a macro declares"),
        ("use crate::exported;", &["other.rs"], "an exported macro is at the root, but not in its file"),
        ("use crate::through::Leaf;", &["room/leaf.rs"], "a name that another module imports"),
    ];
    for (text, expected, why) in table {
        let read = Crate::from_texts(&[
            ("lib.rs", "mod room; mod other; mod through; mod user;"),
            ("room/mod.rs", room),
            ("room/leaf.rs", "pub struct Leaf;"),
            ("room/types.rs", "pub fn make() {}"),
            ("other.rs", "pub struct Other; pub const N: u8 = 0; #[macro_export] macro_rules! exported { () => {} }"),
            ("through.rs", "use crate::room::*;"),
            ("user.rs", text),
        ]);
        let imports = read.imports.iter().filter(|import| import.from == "user.rs");
        let mut found: Vec<_> = imports.map(|import| import.to.as_str()).collect();
        found.dedup();
        assert_eq!(found, *expected, "{why}: {text}");
    }
}
