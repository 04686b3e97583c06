//! The configuration of a filter within a configuration of Envoy: a `StringValue` with JSON in it, or a `Struct`.

use super::code;
use super::finding::Issue;
use super::surroundings::Surroundings;
use super::validate;
use crate::yaml::{self, Document, Position};
use serde_json::Value;
use sidespan_core::config::member;

/// Findings about the message at `path`, with their paths in the whole document.
pub(super) fn check(message: Option<&Value>, path: &str, around: &Surroundings) -> Vec<Issue> {
    let below = |issues: Vec<Issue>, path: &str| issues.into_iter().map(|issue| issue.below(path)).collect();
    let Some(message) = message else { return below(validate::text("", around), path) };
    let kind = message.get("@type").and_then(Value::as_str).unwrap_or_default();
    let inner = member(path, "value");
    match (kind.rsplit('.').next(), message.get("value")) {
        (Some("StringValue"), Some(Value::String(text))) => below(validate::text(text, around), &inner),
        (Some("Struct"), Some(value)) => below(validate::text(&value.to_string(), around), &inner),
        (Some("StringValue" | "Struct"), None) => below(validate::text("", around), path),
        (Some("StringValue"), Some(_)) => {
            let hint = "give the JSON as text, such as in a block after `value: |`, or use google.protobuf.Struct";
            vec![Issue::new(&code::INVALID, &inner, "is not text", hint)]
        }
        _ => {
            let hint = "give \"@type\": type.googleapis.com/google.protobuf.StringValue and a `value` with JSON, or \
                        google.protobuf.Struct and an object as `value`";
            vec![Issue::new(&code::INVALID, path, "is neither a StringValue nor a Struct", hint)]
        }
    }
}

/// The `pluginConfig` in a message, if it can be read.
pub(super) fn config(message: Option<&Value>) -> Option<Value> {
    match message?.get("value")? {
        Value::String(text) => serde_json::from_str(text).ok(),
        value => Some(value.clone()),
    }
}

/// Where `path` stands: in the JSON of a text, if that is a literal block (`|`); else where the node around it does.
pub(super) fn position(document: &Document, text: &str, path: &str) -> Option<Position> {
    let block = document.blocks.iter().find(|(block, _)| {
        let rest = path.strip_prefix(block.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    let inside = |(block, first): (&String, &usize)| {
        let content = document.value.pointer(&pointer(block))?.as_str()?;
        let rest = path[block.len()..].trim_start_matches('.');
        let inner = yaml::read(content).ok()?.first()?.position(rest).filter(|_| !rest.is_empty())?;
        let line = (first + inner.line).saturating_sub(1);
        let length = |line: &str| line.trim_end().chars().count();
        let (outer, content) = (text.lines().nth(line.checked_sub(1)?)?, content.lines().nth(inner.line - 1)?);
        Some(Position { line, column: inner.column + length(outer).saturating_sub(length(content)) })
    };
    block.and_then(inside).or_else(|| document.position(path))
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &str) -> String {
    let mut pointer = String::new();
    let mut rest = path;
    while !rest.is_empty() {
        let key = if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, tail) = quoted.split_once("\"]").unwrap_or((quoted, ""));
            rest = tail;
            key
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, tail) = index.split_once(']').unwrap_or((index, ""));
            rest = tail;
            index
        } else {
            let plain = rest.trim_start_matches('.');
            let (key, tail) = plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()));
            rest = tail;
            key
        };
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_pointer() {
        let table =
            [("", ""), ("a.b", "/a/b"), ("a[0].b", "/a/0/b"), ("[1][2]", "/1/2"), ("a[\"b.c\"].d/e", "/a/b.c/d~1e")];
        for (path, expected) in table {
            assert_eq!(pointer(path), expected, "{path}");
        }
    }

    #[test]
    fn a_place_in_a_block_is_that_of_the_whole_text() {
        let text = "a:\n  - value: |\n      {\n        \"b\": {\"c\": 1}\n      }\n    other: x\n";
        let document = &yaml::read(text).expect("YAML")[0];
        let table =
            [("a[0].value.b", (4, 9)), ("a[0].value.b.c", (4, 15)), ("a[0].other", (6, 5)), ("a[0].value", (2, 5))];
        for (path, (line, column)) in table {
            assert_eq!(position(document, text, path), Some(Position { line, column }), "{path}");
        }
        let text = "a: |\n\n  \n  {\"b\": 1}\n";
        let document = &yaml::read(text).expect("YAML")[0];
        assert_eq!(position(document, text, "a.b"), Some(Position { line: 4, column: 4 }), "blank lines first");
    }
}
