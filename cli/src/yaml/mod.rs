//! YAML into JSON as Kubernetes reads it, with the line of every node.
//!
//! Events of a parser and not serde, for three things that a deserializer hides: the line of a key, a key given twice, and
//! the way a plain word was written. The last matters because `kubectl` still reads `yes` and `on` as YAML 1.1 does: as
//! booleans. `saphyr-parser` was chosen because it is maintained (serde_yaml is archived, its forks keep its C-derived
//! parser), pure Rust, complete for YAML 1.2, and hands out exactly these events. JSON is YAML too, nearly; see [`read`].

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};
use sidespan_core::config::member;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// As deep as the JSON reader of the filter goes.
const MAX_DEPTH: usize = 120;
/// Nodes of a document, aliases expanded: an alias of an alias of an alias … must not fill the memory.
const MAX_NODES: usize = 100_000;

/// One document.
#[derive(Debug, Default)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Path of each node, such as `spec.match[0].mode`, and the line where it starts (from 1).
    pub lines: BTreeMap<String, usize>,
    /// Paths of keys that were given twice.
    pub twice: Vec<String>,
}

/// Why a text is no YAML.
#[derive(Debug, PartialEq)]
pub struct Broken {
    /// From 1; zero if unknown.
    pub line: usize,
    /// The parser's reason.
    pub problem: String,
}

/// A list or an object that is not finished.
struct Open {
    container: Value,
    /// The key whose value comes next.
    key: Option<String>,
    path: String,
    anchor: usize,
}

struct Reader {
    document: Document,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Value>,
    nodes: usize,
}

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

fn read_yaml(text: &str) -> Result<Vec<Document>, Broken> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    let mut reader = Reader::new();
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| Broken { line: error.marker().line(), problem: error.info().to_owned() })?;
        match event {
            Event::DocumentStart(_) => reader = Reader::new(),
            Event::DocumentEnd => documents.push(std::mem::take(&mut reader.document)),
            event => reader.take(event, span)?,
        }
    }
    Ok(documents)
}

// === impl Document ===

impl Document {
    /// The line of a path, or of the nearest node around it.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            let end = path.rfind(['.', '[']).filter(|end| *end > 0);
            path = match end {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }
}

// === impl Reader ===

impl Reader {
    fn new() -> Self {
        Self { document: Document::default(), open: Vec::new(), anchors: BTreeMap::new(), nodes: 0 }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, line),
            Event::SequenceStart(anchor, _) => self.start(Value::Array(Vec::new()), anchor, line),
            Event::MappingStart(anchor, _) => self.start(Value::Object(Map::new()), anchor, line),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => self.put(done.container, done.anchor, done.path, line),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| broken(line, "an alias within its own anchor"))?;
                self.nodes += count(&value);
                let path = self.path(line);
                self.put(value, 0, path, line)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        line: usize,
    ) -> Result<(), Broken> {
        // In an object every other scalar is a key.
        if let Some(Open { container: Value::Object(object), key: key @ None, path, .. }) = self.open.last_mut() {
            let here = member(path, text);
            if object.contains_key(text) {
                self.document.twice.push(here.clone());
            }
            self.document.lines.entry(here).or_insert(line);
            *key = Some(text.to_owned());
            return Ok(());
        }
        let is_text =
            style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        let value = if is_text { Value::from(text) } else { plain(text) };
        let path = self.path(line);
        self.put(value, anchor, path, line)
    }

    fn start(&mut self, container: Value, anchor: usize, line: usize) -> Result<(), Broken> {
        if matches!(self.open.last(), Some(Open { container: Value::Object(_), key: None, .. })) {
            return Err(broken(line, "a key that is not text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(broken(line, "nested too deeply"));
        }
        let path = self.path(line);
        self.open.push(Open { container, key: None, path, anchor });
        Ok(())
    }

    /// The path of the node that comes next; notes its line if its key has not.
    fn path(&mut self, line: usize) -> String {
        let path = match self.open.last() {
            Some(Open { container: Value::Array(list), path, .. }) => format!("{path}[{}]", list.len()),
            Some(Open { key: Some(key), path, .. }) => member(path, key),
            _ => String::new(),
        };
        self.document.lines.entry(path.clone()).or_insert(line);
        path
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, value: Value, anchor: usize, path: String, line: usize) -> Result<(), Broken> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(broken(line, "too many nodes"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None if path.is_empty() => self.document.value = value,
            Some(Open { container: Value::Array(list), .. }) => list.push(value),
            Some(Open { container: Value::Object(object), key, .. }) => {
                if let Some(key) = key.take() {
                    object.insert(key, value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn broken(line: usize, problem: &str) -> Broken {
    Broken { line, problem: problem.to_owned() }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(count).sum::<usize>() + 1,
        Value::Object(object) => object.values().map(count).sum::<usize>() + 1,
        _ => 1,
    }
}

/// A plain scalar as the YAML reader of Kubernetes resolves it (YAML 1.1: `yes` is true, `010` is 8).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let digits = unsigned.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(start) if start.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    let negative = text.starts_with('-');
    if let Ok(whole) = i64::from_str_radix(digits, radix) {
        return Some(if negative { -whole } else { whole }.into());
    }
    let number: f64 = digits.parse().ok().filter(|_| radix == 10)?;
    Number::from_f64(if negative { -number } else { number })
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
    fn every_node_has_its_line_and_documents_are_told_apart() {
        let text = "a: 1\nb:\n  - c: 2\n  - \"d.e\": 3\n---\n# only a comment\nf: {g: 1,\n  h: 2}\n";
        let documents = read(text).expect("YAML");
        assert_eq!(documents.len(), 2);
        let table = [
            (0, "a", Some(1)),
            (0, "b", Some(2)),
            (0, "b[0].c", Some(3)),
            (0, "b[1][\"d.e\"]", Some(4)),
            (0, "b[1].nothing.at[3].all", Some(4)),
            (1, "f.g", Some(7)),
            (1, "f.h", Some(8)),
        ];
        for (document, path, line) in table {
            assert_eq!(documents[document].line(path), line, "{path}");
        }
    }

    #[test]
    fn a_key_given_twice_is_noticed() {
        assert_eq!(read("a: {b: 1, b: 2}\na: 3").expect("YAML")[0].twice, ["a.b", "a"]);
        assert_eq!(read("{\"a\": 1, \"a\": 2}").expect("JSON")[0].twice, ["a"]);
    }

    #[test]
    fn what_is_broken_has_a_line_and_nothing_grows_without_bound() {
        assert_eq!(read("a: [1\nb: 2").expect_err("broken").line, 2);
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
        assert_eq!(read("{\"a\": 1,\n\"b\": 2}").expect("JSON")[0].line("b"), Some(2));
    }
}
