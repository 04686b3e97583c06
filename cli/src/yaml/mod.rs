//! YAML into JSON as Kubernetes reads it, with the position of every node.
//!
//! Events of a parser and not serde, for what a deserializer hides: the position of a key, a key given twice, merge keys
//! (`<<`), and the way a plain word was written. The last matters because `kubectl` still reads `yes` and `on` as YAML 1.1
//! does: as booleans. `saphyr-parser` was chosen because it is maintained (serde_yaml is archived, its forks keep its
//! C-derived parser), pure Rust, complete for YAML 1.2, and hands out exactly these events. JSON is YAML too, nearly; see [`read`].

mod document;
mod reader;
mod scalar;

pub use self::document::{Document, Position};
pub use self::reader::Broken;

use self::reader::read_yaml;
use serde_json::Value;

/// All documents of a text. What is JSON is read as JSON, so that nothing depends on the small differences to YAML.
///
/// # Errors
/// The first place where it is neither.
pub fn read(text: &str) -> Result<Vec<Document>, Broken> {
    let yaml = read_yaml(text);
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let read = yaml.ok().and_then(|mut documents| documents.pop()).unwrap_or_default();
            Ok(vec![Document { value, ..read }])
        }
        Err(_) => yaml,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(text: &str) -> Value {
        read(text).expect("YAML").pop().expect("a document").value
    }

    #[test]
    fn plain_words_mean_what_kubernetes_makes_of_them() {
        let table = [
            ("a: yes", json!({"a": true})),
            ("a: Off", json!({"a": false})),
            ("a: 'yes'", json!({"a": "yes"})),
            ("a: y", json!({"a": "y"})),
            ("a: ~", json!({"a": null})),
            ("a:", json!({"a": null})),
            ("a: 1", json!({"a": 1})),
            ("a: -1", json!({"a": -1})),
            ("a: 0.5", json!({"a": 0.5})),
            ("a: 1e3", json!({"a": 1000.0})),
            ("a: 010", json!({"a": 8})),
            ("a: 0x10", json!({"a": 16})),
            ("a: 1_000", json!({"a": 1000})),
            ("a: 1.2.3", json!({"a": "1.2.3"})),
            ("a: 10s", json!({"a": "10s"})),
            ("a: 5xx", json!({"a": "5xx"})),
            ("a: .", json!({"a": "."})),
            ("a:\n- ", json!({"a": [null]})),
            ("a: !!str 1", json!({"a": "1"})),
            ("a: \"1\"", json!({"a": "1"})),
            ("1: a", json!({"1": "a"})),
            ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
            ("[1, {a: b}, []]", json!([1, {"a": "b"}, []])),
            ("x: &x {a: 1}\ny: *x", json!({"x": {"a": 1}, "y": {"a": 1}})),
            ("", json!(null)),
        ];
        for (text, expected) in table {
            let read = read(text).expect(text).pop().map_or(Value::Null, |document| document.value);
            assert_eq!(read, expected, "{text:?}");
        }
    }

    #[test]
    fn every_node_has_its_position_and_documents_are_told_apart() {
        let text = "a: 1\nb:\n  - c: 2\n  - \"d.e\": 3\n---\n# only a comment\nf: {g: 1,\n  h: 2}\n";
        let documents = read(text).expect("YAML");
        assert_eq!(documents.len(), 2);
        let table = [
            (0, "a", (1, 1)),
            (0, "b", (2, 1)),
            (0, "b[0].c", (3, 5)),
            (0, "b[1][\"d.e\"]", (4, 5)),
            (0, "b[1].nothing.at[3].all", (4, 5)),
            (1, "f.g", (7, 5)),
            (1, "f.h", (8, 3)),
        ];
        for (document, path, (line, column)) in table {
            assert_eq!(documents[document].position(path), Some(Position { line, column }), "{path}");
        }
    }

    #[test]
    fn merge_keys_add_what_an_object_does_not_have() {
        let table = [
            ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", json!({"x": 1, "y": 3})),
            ("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}", json!({"x": 1, "y": 3})),
            ("a: &a {x: 1}\nc: &c {x: 2, z: 3}\nb: {<<: [*a, *c]}", json!({"x": 1, "z": 3})),
            ("a: &a {x: 1}\nc: &c {<<: *a, z: 3}\nb: {<<: *c}", json!({"x": 1, "z": 3})),
            ("b: {<<: {x: 1}}", json!({"x": 1})),
            ("b: {'<<': 1}", json!({"<<": 1})),
        ];
        for (text, expected) in table {
            assert_eq!(one(text)["b"], expected, "{text}");
        }
        let text = "a: &a\n  x: {y: 1}\nb:\n  <<: *a\n  z: *a\n";
        let document = &read(text).expect("YAML")[0];
        for (path, line) in [("b.x.y", 2), ("b.z", 5), ("b.z.x.y", 2)] {
            assert_eq!(document.position(path).map(|position| position.line), Some(line), "{path}");
        }
        let broken = read("b:\n  <<: 1\n").expect_err("no object");
        assert_eq!(
            (broken.problem.as_str(), broken.position),
            ("`<<` takes an object or a list of objects", Some(Position { line: 2, column: 3 }))
        );
    }

    #[test]
    fn a_key_given_twice_is_noticed() {
        assert_eq!(read("a: {b: 1, b: 2}\na: 3").expect("YAML")[0].twice, ["a.b", "a"]);
        assert_eq!(read("{\"a\": 1, \"a\": 2}").expect("JSON")[0].twice, ["a"]);
    }

    #[test]
    fn what_is_broken_has_a_line_and_nothing_grows_without_bound() {
        assert_eq!(read("a: [1\nb: 2").expect_err("broken").position, Some(Position { line: 2, column: 2 }));
        assert_eq!(read(&"[".repeat(200)).expect_err("deep").problem, "nested too deeply");
        assert_eq!(read("{a: 1}: b").expect_err("key").problem, "a key that is not text");
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let previous = format!("*a{}, ", n - 1).repeat(10);
            laughs.push_str(&format!("a{n}: &a{n} [{previous}]\n"));
        }
        assert_eq!(read(&laughs).expect_err("laughs").problem, "too many nodes");
    }

    #[test]
    fn json_is_read_as_json() {
        assert_eq!(one("{\"a\":\t1.0,\n\"b\": \"yes\"}"), json!({"a": 1.0, "b": "yes"}));
        assert_eq!(
            read("{\"a\": 1,\n\"b\": 2}").expect("JSON")[0].position("b"),
            Some(Position { line: 2, column: 1 })
        );
    }
}
