//! The rules of the house, on the text of `src/`: who may know whom, and what must not be written where.
//!
//! What stands in comments, strings and unit tests (the last part of a file) does not count. A broken rule fails with
//! `file:line`.

// The lints of the package guard what runs in a proxy; a test may panic.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::string_slice)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, in the order in which they may know each other: each one those before it. `http` and `config`
/// are read by all, and `http` knows no other room.
const ROOMS: &[&str] =
    &["random", "id", "context", "propagation", "sampling", "span", "otlp", "export", "stream", "pipeline", "tracer"];

/// One file of `src/`.
struct Source {
    /// Relative to `src/`, with `/`.
    path: String,
    /// Comments and the contents of strings are blanks, unit tests are cut off; lines are where they were.
    code: String,
}

#[test]
fn hash_maps_are_not_used_since_they_cost_nine_kilobytes_and_an_import() {
    forbid("HashMap", |_| false);
    forbid("HashSet", |_| false);
}

#[test]
fn nothing_is_printed() {
    for name in ["println", "eprintln", "print", "eprint", "dbg"] {
        check(|source| {
            let calls = words(&source.code, name).filter(|at| source.code[at + name.len()..].starts_with('!'));
            calls.map(|at| (at, format!("`{name}!`: say it with `log`"))).collect()
        });
    }
}

#[test]
fn rooms_know_only_the_rooms_before_them() {
    check(|source| {
        let from = room_of(&source.path);
        let edges = edges(source).into_iter().filter(|(_, to)| !may_know(from, to));
        edges.map(|(at, to)| (at, format!("`{from}` must not know `{to}`"))).collect()
    });
}

#[test]
fn every_room_has_its_place_in_the_order() {
    let known = |room: &str| room == "lib" || room == "http" || room == "config" || rank(room).is_some();
    let unknown: Vec<_> =
        sources().into_iter().map(|source| source.path).filter(|path| !known(room_of(path))).collect();
    assert!(unknown.is_empty(), "give the rooms of these files a place in ROOMS: {unknown:?}");
}

// === the checks ===

/// Fails with the place and the message of everything that `find` returns, as offsets into the code.
fn check(find: impl Fn(&Source) -> Vec<(usize, String)>) {
    let mut report = String::new();
    for source in sources() {
        for (at, message) in find(&source) {
            let line = source.code[..at].matches('\n').count() + 1;
            let _ = writeln!(report, "core/src/{}:{line}: {message}", source.path);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn forbid(word: &str, allowed_in: impl Fn(&str) -> bool) {
    check(|source| match allowed_in(&source.path) {
        true => Vec::new(),
        false => words(&source.code, word).map(|at| (at, format!("`{word}` has no place here"))).collect(),
    });
}

fn may_know(from: &str, to: &str) -> bool {
    match (from, to) {
        ("lib", _) => true,
        (from, to) if from == to => true,
        ("http", _) => false,
        (_, "http") => true,
        ("config", _) => false,
        (_, "config") => true,
        (from, to) => rank(to) < rank(from),
    }
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

/// `span/name.rs` → `span`, `id.rs` → `id`.
fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The rooms that a file names, each with an offset: after `crate::`, or after as many `super::` as lead to the root.
fn edges(source: &Source) -> Vec<(usize, String)> {
    let up = "super::".repeat(depth(&source.path));
    let from_root = words(&source.code, "crate").map(|at| (at, "crate::"));
    let relative = source.code.match_indices(&up).filter(|(at, _)| !source.code[..*at].ends_with("super::"));
    let starts: Vec<_> = from_root.chain(relative.map(|(at, _)| (at, up.as_str()))).collect();
    let mut edges = Vec::new();
    for (at, prefix) in starts {
        let Some(rest) = source.code[at..].strip_prefix(prefix) else { continue };
        let names = first_names(rest).into_iter().map(|(offset, name)| (at + prefix.len() + offset, name.to_owned()));
        // Anything else at the root is no room: a constant, a macro.
        edges.extend(names.filter(|(_, name)| name == "http" || name == "config" || rank(name).is_some()));
    }
    edges
}

/// How many modules deep a file lies below the root: 1 for `id.rs` and `span/mod.rs`, 2 for `span/name.rs`.
fn depth(path: &str) -> usize {
    path.split('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// The first segment of a path, or of each path in a group `{a::b, c}`.
fn first_names(text: &str) -> Vec<(usize, &str)> {
    if !text.starts_with('{') {
        return vec![(0, identifier(text))];
    }
    let (mut names, mut level) = (Vec::new(), 0_usize);
    for (at, character) in text.char_indices() {
        match character {
            '{' => level += 1,
            '}' => level -= 1,
            _ => {}
        }
        if level == 0 {
            break;
        }
        if level == 1 && matches!(character, '{' | ',') {
            let rest = text[at + 1..].trim_start();
            names.push((text.len() - rest.len(), identifier(rest)));
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    let end = text.find(|character: char| !is_word(character)).unwrap_or(text.len());
    &text[..end]
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The offsets of a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

// === reading ===

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let source = |file: PathBuf| {
        let path = file.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        Source { path, code: without_tests(&blank(&fs::read_to_string(&file).expect("a source file"))).to_owned() }
    };
    let sources: Vec<_> = files.into_iter().filter(|file| !file.ends_with("tests.rs")).map(source).collect();
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "the sources are where they are looked for");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// The unit tests are the last part of a file.
fn without_tests(code: &str) -> &str {
    let cut = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    &code[..cut]
}

/// Blanks for comments and for the contents of strings and character literals; every byte stays where it was.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let opaque = opaque_length(rest, out.ends_with(is_word));
        let length = if opaque > 0 { opaque } else { character.len_utf8() };
        let (token, after) = rest.split_at(length);
        match opaque {
            0 => out.push_str(token),
            _ => out.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' })),
        }
        rest = after;
    }
    out
}

/// The length of the comment or literal at the beginning of `text`, 0 if there is none.
fn opaque_length(text: &str, in_word: bool) -> usize {
    let until = |start: usize, end: &str| text[start..].find(end).map_or(text.len(), |at| start + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    if text.starts_with('"') {
        return quoted_length(text);
    }
    if text.starts_with('\'') {
        return character_length(text);
    }
    match text.strip_prefix('r') {
        Some(raw) if !in_word => {
            let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
            let quoted = raw[hashes..].starts_with('"');
            if quoted { until(hashes + 2, &format!("\"{}", "#".repeat(hashes))) } else { 0 }
        }
        // `br"…"`: the `b` was taken as a word of its own, so the `r` after it begins the literal all the same.
        Some(raw) if raw.starts_with('"') => until(2, "\""),
        _ => 0,
    }
}

fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// 0 for a lifetime, which begins like a character literal.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    let escaped = matches!(characters.next(), Some((_, '\\')));
    let close = if escaped { characters.skip(1).find(|(_, c)| *c == '\'') } else { characters.next() };
    close.filter(|(_, character)| *character == '\'').map_or(0, |(at, _)| at + 1)
}

// === the checker is checked as well ===

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), code: without_tests(&blank(text)).to_owned() }
}

#[test]
fn comments_strings_and_unit_tests_do_not_count() {
    let table: &[(&str, bool, &str)] = &[
        ("let a = unsafe { b };", true, "code"),
        ("a(); // unsafe", false, "a line comment"),
        ("/// unsafe\nfn a() {}", false, "documentation"),
        ("/* unsafe */ a();", false, "a block comment"),
        ("a(\"unsafe\");", false, "a string"),
        ("a(\"\\\"\"); unsafe {}", true, "code after an escaped quote"),
        ("a(r#\"\" unsafe \"#);", false, "a raw string"),
        ("a(br\"\\\"); unsafe {}", true, "a raw byte string knows no escapes"),
        ("a('\"'); unsafe {}; b('\"');", true, "code between quotes as characters"),
        ("a(b'\\''); unsafe {}", true, "an escaped quote as a byte"),
        ("fn a<'a>(b: &'a str) { unsafe {} }", true, "lifetimes are no literals"),
        ("#![allow(unsafe_code)]", false, "part of another word"),
        ("a();\n#[cfg(test)]\nmod tests {\n unsafe {}\n}", false, "unit tests"),
        ("#[cfg(not(test))]\nmod host;\nunsafe {}", true, "not a unit test"),
    ];
    for (text, expected, why) in table {
        assert_eq!(words(&source("a.rs", text).code, "unsafe").next().is_some(), *expected, "{why}: {text}");
    }
}

#[test]
fn edges_are_found_in_every_way_to_write_them() {
    let table: &[(&str, &str, &[&str])] = &[
        ("span/mod.rs", "use crate::id::{SpanId, TraceId};", &["id"]),
        ("span/mod.rs", "use crate::{id::SpanId, otlp::{self, wire}, context};", &["id", "otlp", "context"]),
        ("span/mod.rs", "use crate::{\n    id,\n    export::target,\n};", &["id", "export"]),
        ("span/mod.rs", "fn a() -> crate::stream::Plan {}", &["stream"]),
        ("span/mod.rs", "use super::stream::Plan;", &["stream"]),
        ("span/name.rs", "use super::stream::Plan;", &[]),
        ("span/name.rs", "use super::super::stream::Plan;", &["stream"]),
        ("id.rs", "use super::{export, config};", &["export", "config"]),
        ("span/mod.rs", "a(crate::VERSION); $crate::log!(); pub(crate) fn b() {}", &[]),
    ];
    for (path, text, expected) in table {
        let found: Vec<_> = edges(&source(path, text)).into_iter().map(|(_, to)| to).collect();
        assert_eq!(found, *expected, "{path}: {text}");
    }
}

#[test]
fn the_order_lets_through_only_what_it_should() {
    let table: &[(&str, &str, bool)] = &[
        ("span", "id", true),
        ("id", "span", false),
        ("pipeline", "stream", true),
        ("stream", "pipeline", false),
        ("id", "config", true),
        ("config", "id", false),
        ("config", "config", true),
        ("config", "http", true),
        ("http", "config", false),
        ("propagation", "sampling", false),
        ("sampling", "propagation", true),
        ("lib", "pipeline", true),
    ];
    for (from, to, expected) in table {
        assert_eq!(may_know(from, to), *expected, "{from} -> {to}");
    }
}
