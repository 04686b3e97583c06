//! The documentation is as true as the code: configuration and what the command prints.

use serde_json::{Value, json};
use sidespan_cli::check::{Severity, check_text, code};
use sidespan_cli::{schema::schema, yaml};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The README and every page below `docs/`, by their names.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = docs.chain([root().join("README.md")]).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "md"));
    files.sort();
    files.iter().map(|file| (file.display().to_string(), fs::read_to_string(file).expect("readable"))).collect()
}

/// The contents of blocks between "```language" and "```".
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let open = format!("```{language}\n");
    text.split(open.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_configuration_in_the_documentation_passes_the_check() {
    let schema = schema(false);
    let keys = schema["properties"].as_object().expect("an object");
    let mut checked = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "yaml") {
            let documents = yaml::read(block).unwrap_or_else(|broken| panic!("{page}: {}\n{block}", broken.problem));
            let config =
                |value: &Value| value.as_object().is_some_and(|it| it.keys().any(|key| keys.contains_key(key)));
            if !documents.iter().any(|it| config(&it.value) || it.value["kind"] == "WasmPlugin") {
                continue;
            }
            let outcome = check_text(&page, block);
            let errors = outcome.findings.iter().filter(|finding| finding.severity == Severity::Error);
            assert_eq!(errors.collect::<Vec<_>>(), Vec::<&_>::new(), "{page}\n{block}");
            checked += 1;
        }
    }
    assert!(checked >= 4, "only {checked} configurations found");
}

#[test]
fn the_page_on_configuration_has_every_key_and_no_other() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).expect("readable");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: BTreeSet<String> = rows.map(str::to_owned).collect();
    let schema = schema(false);
    let mut known = BTreeMap::new();
    collect(&schema, &schema, "Config", "", &mut known);
    let paths: BTreeSet<&String> = known.values().flatten().collect();
    let invented: Vec<_> = named.iter().filter(|name| !paths.contains(name)).collect();
    // What stands in several places is explained in one; sections are headings.
    let heading = |path: &String| text.contains(&format!("\n## `{path}`\n"));
    let missing: Vec<_> =
        known.values().filter(|paths| !paths.iter().any(|it| named.contains(it) || heading(it))).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
    assert!(known.len() > 60, "{}", known.len());
}

#[test]
fn ranges_in_messages_are_those_of_the_page_on_configuration() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).expect("readable");
    let mut compared = BTreeSet::new();
    for row in text.replace("\\|", "").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (path, range) = (cells[1].trim_matches('`'), cells[2]);
        let Some((from, to)) = range.split_once(" to ").filter(|(_, to)| !to.contains(' ')) else { continue };
        // Out of any range, in each form that a value with a range can have.
        let hints =
            [json!(-1), json!("99999h"), json!("99999GiB"), json!([-1]), json!([99])].into_iter().flat_map(|wrong| {
                let config = path.rsplit('.').fold(wrong, |inner, key| match key.strip_suffix("[]") {
                    Some(list) => json!({list: [inner]}),
                    None => json!({key: inner}),
                });
                let problems = sidespan_core::config::parse(config.to_string().as_bytes()).expect_err("out of range");
                let at = path.replace("[]", "[0]");
                let is_it = move |path: &str| path == at || path.strip_suffix("[0]") == Some(&at);
                problems.into_iter().filter(move |problem| is_it(&problem.path)).map(|problem| problem.hint)
            });
        let hints: Vec<String> = hints.collect();
        // A duration of zero needs no unit.
        let from = if from == "0" { vec!["0", "0s"] } else { vec![from] };
        let said = |hint: &String| from.iter().any(|from| hint.ends_with(&format!(" {from} to {to}")));
        assert!(hints.iter().any(said), "{path}: {range} is not in {hints:?}");
        compared.insert(path.to_owned());
    }
    assert!(compared.len() >= 12, "{compared:?}");
}

#[test]
fn the_page_on_configuration_has_the_defaults_of_the_filter() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).expect("readable");
    let schema = schema(false);
    let mut compared = 0;
    // Bars within a cell are written `\|`.
    for row in text.replace("\\|", "").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (path, documented) = (cells[1].trim_matches('`'), cells[3].replace('`', ""));
        let keys: Vec<&str> = path.split('.').collect();
        let Some(default) = default_of(&schema, &schema, &keys).map(|default| shown(&default)) else { continue };
        // An empty list or text is what anyone expects.
        if !["[]", ""].contains(&default.as_str()) {
            assert_eq!(documented, default, "{path}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared}");
}

/// The default of the key at the end of a path.
fn default_of(schema: &Value, at: &Value, keys: &[&str]) -> Option<Value> {
    if let Some(name) = at["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        if let Some(default) = at.get("default").filter(|_| keys.is_empty()) {
            return Some(default.clone());
        }
        return default_of(schema, &schema["$defs"][name], keys);
    }
    if let Some(choices) = at["anyOf"].as_array() {
        return choices.iter().find_map(|choice| default_of(schema, choice, keys));
    }
    let Some((key, rest)) = keys.split_first() else { return at.get("default").cloned() };
    match key.strip_suffix("[]") {
        Some(list) => default_of(schema, &at["properties"][list]["items"], rest),
        None => default_of(schema, &at["properties"][*key], rest),
    }
}

/// A default as the page has it.
fn shown(default: &Value) -> String {
    match default {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Number(number) => number.as_f64().map_or_else(String::new, |number| number.to_string()),
        other => other.to_string(),
    }
}

/// Each key of each type, with the dotted paths that lead to it: `a.b`, `a[].b` in lists, `a.<name>.b` in maps.
fn collect(schema: &Value, at: &Value, of: &str, path: &str, keys: &mut BTreeMap<(String, String), Vec<String>>) {
    if let Some(name) = at["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return collect(schema, &schema["$defs"][name], name, path, keys);
    }
    for choice in ["anyOf", "oneOf"].iter().filter_map(|key| at[key].as_array()).flatten() {
        collect(schema, choice, of, path, keys);
    }
    for (key, property) in at["properties"].as_object().into_iter().flatten().filter(|(_, it)| it.is_object()) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys.entry((of.to_owned(), key.clone())).or_default().push(path.clone());
        collect(schema, property, of, &path, keys);
    }
    collect_inner(schema, &at["items"], of, &format!("{path}[]"), keys);
    collect_inner(schema, &at["additionalProperties"], of, &format!("{path}.<name>"), keys);
}

fn collect_inner(schema: &Value, at: &Value, of: &str, path: &str, keys: &mut BTreeMap<(String, String), Vec<String>>) {
    if at.is_object() {
        collect(schema, at, of, path, keys);
    }
}

#[test]
fn commands_in_the_documentation_print_what_it_says() {
    let mut run = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "console") {
            for part in block.strip_prefix("$ ").unwrap_or_else(|| panic!("{page}: {block}")).split("\n$ ") {
                // A command goes on after a pipe.
                let ends = part.match_indices('\n').find(|(at, _)| !part[..*at].ends_with('|'));
                let (command, expected) = part.split_at(ends.map_or(part.len(), |(at, _)| at));
                assert_eq!(without_chance(&output(command)), without_chance(expected.trim()), "{page}: {command}");
                run += 1;
            }
        }
    }
    assert!(run >= 2, "only {run} commands found");
}

/// What a shell prints that knows `sidespan`, without what goes to standard error.
fn output(command: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_sidespan"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().expect("a folder").display());
    let output =
        Command::new("sh").args(["-c", command]).env("PATH", path).current_dir(root()).output().expect("a shell");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Ids of spans and times differ from run to run: words of 16 hex digits and of 19 digits become `#`.
fn without_chance(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let id = bare.len() == 16 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let time = bare.len() == 19 && bare.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(if id || time { "#" } else { bare });
        out.push_str(&word[bare.len()..]);
    }
    out
}

#[test]
fn the_page_on_check_has_every_code_with_its_severity_and_no_other() {
    let text = fs::read_to_string(root().join("docs/check.md")).expect("readable");
    let (_, section) = text.split_once("## Findings").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let documented: BTreeMap<&str, &str> =
        rows.filter_map(|(code, rest)| Some((code, rest.split(" | ").next()?))).collect();
    let severity = |code: &code::Code| match code.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    assert_eq!(documented, code::ALL.iter().map(|code| (code.name, severity(code))).collect());
}
