//! Events of the parser into documents.

use super::document::{Document, Position};
use super::scalar::plain;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use sidespan_core::config::member;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// As deep as the JSON reader of the filter goes.
const MAX_DEPTH: usize = 120;
/// Nodes of a document, aliases expanded: an alias of an alias of an alias … must not fill the memory.
const MAX_NODES: usize = 100_000;

/// Why a text is no YAML.
#[derive(Debug, PartialEq)]
pub struct Broken {
    /// Where; `None` if unknown.
    pub position: Option<Position>,
    /// The parser's reason.
    pub problem: String,
}

/// A list or an object that is not finished.
struct Open {
    container: Value,
    /// The key whose value comes next.
    key: Option<String>,
    /// The key is `<<`: its value is merged into the object.
    merges: bool,
    /// What is merged at the end, with its path.
    merged: Vec<(String, Value)>,
    path: String,
    anchor: usize,
}

#[derive(Default)]
struct Reader {
    document: Document,
    open: Vec<Open>,
    /// Values of anchors, and the paths where they were given.
    anchors: BTreeMap<usize, (Value, String)>,
    nodes: usize,
}

pub(super) fn read_yaml(text: &str) -> Result<Vec<Document>, Broken> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    let mut reader = Reader::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| broken(position(error.marker()), error.info()))?;
        match event {
            Event::DocumentStart(_) => reader = Reader::default(),
            Event::DocumentEnd => documents.push(std::mem::take(&mut reader.document)),
            event => reader.take(event, span)?,
        }
    }
    Ok(documents)
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn broken(position: Position, problem: &str) -> Broken {
    Broken { position: Some(position).filter(|position| position.line > 0), problem: problem.to_owned() }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(count).sum::<usize>() + 1,
        Value::Object(object) => object.values().map(count).sum::<usize>() + 1,
        _ => 1,
    }
}

// === impl Reader ===

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let here = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, here),
            Event::SequenceStart(anchor, _) => self.start(Value::Array(Vec::new()), anchor, here),
            Event::MappingStart(anchor, _) => self.start(Value::Object(Map::new()), anchor, here),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(mut done) => {
                    self.merge(&mut done, here)?;
                    self.put(done.container, done.anchor, done.path, here)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, here),
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
        here: Position,
    ) -> Result<(), Broken> {
        // In an object every other scalar is a key.
        if let Some(Open { container: Value::Object(object), key: key @ None, path, merges, .. }) = self.open.last_mut()
        {
            let path = member(path, text);
            if object.contains_key(text) {
                self.document.twice.push(path.clone());
            }
            self.document.positions.entry(path).or_insert(here);
            *merges = text == "<<" && style == ScalarStyle::Plain;
            *key = Some(text.to_owned());
            return Ok(());
        }
        let is_text =
            style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        let value = if is_text { Value::from(text) } else { plain(text) };
        let path = self.path(here);
        if style == ScalarStyle::Literal {
            // The parser gives the place of the first line that is not blank.
            let blank = text.bytes().take_while(|byte| *byte == b'\n').count();
            self.document.blocks.insert(path.clone(), here.line.saturating_sub(blank).max(1));
        }
        self.put(value, anchor, path, here)
    }

    fn alias(&mut self, anchor: usize, here: Position) -> Result<(), Broken> {
        if self.wants_key() {
            return Err(broken(here, "a key that is an alias"));
        }
        let anchored = self.anchors.get(&anchor).cloned();
        let (value, from) = anchored.ok_or_else(|| broken(here, "an alias within its own anchor"))?;
        self.count(&value, here)?;
        let path = self.path(here);
        self.document.copy_positions(&from, &path);
        self.put(value, 0, path, here)
    }

    /// Adds what `<<` names to an object that is complete. Keys of the object itself win, and of several the first one that has
    /// a key (YAML 1.1 merge keys).
    fn merge(&mut self, done: &mut Open, here: Position) -> Result<(), Broken> {
        let Value::Object(object) = &mut done.container else { return Ok(()) };
        for (from, value) in std::mem::take(&mut done.merged) {
            self.count(&value, here)?;
            let Value::Object(members) = value else {
                let at = self.document.position(&from).unwrap_or(here);
                return Err(broken(at, "`<<` takes an object or a list of objects"));
            };
            for (key, value) in members {
                if !object.contains_key(&key) {
                    self.document.copy_positions(&member(&from, &key), &member(&done.path, &key));
                    object.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// Counts the nodes of a copy.
    fn count(&mut self, value: &Value, here: Position) -> Result<(), Broken> {
        self.nodes += count(value);
        if self.nodes > MAX_NODES { Err(broken(here, "too many nodes")) } else { Ok(()) }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { container: Value::Object(_), key: None, .. }))
    }

    fn start(&mut self, container: Value, anchor: usize, here: Position) -> Result<(), Broken> {
        if self.wants_key() {
            return Err(broken(here, "a key that is not text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(broken(here, "nested too deeply"));
        }
        let path = self.path(here);
        self.open.push(Open { container, key: None, merges: false, merged: Vec::new(), path, anchor });
        Ok(())
    }

    /// The path of the node that comes next; notes its position if its key has not.
    fn path(&mut self, here: Position) -> String {
        let path = match self.open.last() {
            Some(Open { container: Value::Array(list), path, .. }) => format!("{path}[{}]", list.len()),
            Some(Open { key: Some(key), path, .. }) => member(path, key),
            _ => String::new(),
        };
        self.document.positions.entry(path.clone()).or_insert(here);
        path
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, value: Value, anchor: usize, path: String, here: Position) -> Result<(), Broken> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(broken(here, "too many nodes"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), path.clone()));
        }
        match self.open.last_mut() {
            None if path.is_empty() => self.document.value = value,
            Some(Open { container: Value::Array(list), .. }) => list.push(value),
            Some(Open { container: Value::Object(object), key, merges, merged, .. }) => match (key.take(), value) {
                (Some(_), Value::Array(list)) if *merges => {
                    let place = |index| format!("{path}[{index}]");
                    merged.extend(list.into_iter().enumerate().map(|(index, value)| (place(index), value)));
                }
                (Some(_), value) if *merges => merged.push((path, value)),
                (Some(key), value) => {
                    object.insert(key, value);
                }
                (None, _) => {}
            },
            _ => {}
        }
        Ok(())
    }
}
