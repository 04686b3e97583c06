//! The mappings of a YAML text, as far as an identity needs them: texts by key. Lists, anchors and types are left out.

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

/// Deeper mappings are not read.
const MAX_DEPTH: usize = 64;
/// Nodes that are read, at most.
const MAX_NODES: usize = 200_000;

/// Something that is not finished.
enum Open {
    Mapping(Map<String, Value>, Option<String>),
    /// It is read over.
    Sequence,
}

/// The first document, if it is a mapping and the text is YAML up to its end. Every scalar is taken as a text.
pub(crate) fn mappings(text: &str) -> Option<Map<String, Value>> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    for _ in 0..MAX_NODES {
        match parser.next_event()?.ok()?.0 {
            Event::MappingStart(..) => open.push(Open::Mapping(Map::new(), None)),
            Event::SequenceStart(..) => open.push(Open::Sequence),
            Event::Scalar(value, ..) => add(&mut open, Value::String(value.into_owned())),
            Event::Alias(_) => add(&mut open, Value::Null),
            Event::SequenceEnd => {
                open.pop()?;
                add(&mut open, Value::Null);
            }
            Event::MappingEnd => {
                let Open::Mapping(map, _) = open.pop()? else { return None };
                if open.is_empty() {
                    return Some(map);
                }
                add(&mut open, Value::Object(map));
            }
            Event::StreamEnd => return None,
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return None;
        }
    }
    None
}

/// Adds a key, or the value of the last key.
fn add(open: &mut [Open], value: Value) {
    let Some(Open::Mapping(map, key)) = open.last_mut() else { return };
    match (key.take(), value) {
        (Some(key), value) => {
            map.insert(key, value);
        }
        (None, Value::String(text)) => *key = Some(text),
        // A key that is no scalar: its value must not become a key.
        (None, _) => *key = Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::mappings;
    use serde_json::json;

    #[test]
    fn mappings_and_texts_are_read_and_the_rest_is_read_over() {
        let text = "a: 1\nlist: [x, {y: z}]\nb:\n  - c: d\ne: {f: 'g', j: k}\n";
        let found = mappings(text).expect("valid");
        assert_eq!(found["e"], json!({"f": "g", "j": "k"}));
        assert_eq!((&found["a"], &found["list"], &found["b"]), (&json!("1"), &json!(null), &json!(null)));
    }

    #[test]
    fn what_is_no_mapping_or_no_yaml_gives_nothing() {
        let deep = "{a: ".repeat(1000);
        for text in ["", "[1]", "word", "{", "a: b: c", "\u{0}", "- a", &deep] {
            assert!(mappings(text).is_none(), "{text:.20}");
        }
    }
}
