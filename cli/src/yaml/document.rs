//! A document: its value, and where each node stands in the text.

use serde_json::Value;
use std::collections::BTreeMap;

/// A place in a text. Both count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One document.
#[derive(Debug, Default)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Path of each node, such as `spec.match[0].mode`, and where its key, or the node itself, starts.
    pub positions: BTreeMap<String, Position>,
    /// Paths of keys that were given twice.
    pub twice: Vec<String>,
    /// Paths of literal block scalars (`|`), and the line of the first line of their content.
    pub blocks: BTreeMap<String, usize>,
}

impl Document {
    /// Where a path stands, or the nearest node around it.
    pub fn position(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.positions.get(path) {
                return Some(*position);
            }
            let end = path.rfind(['.', '[']).filter(|end| *end > 0);
            path = match end {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }

    /// Gives the node at `to`, and what is in it, the positions of the node at `from`. Known ones stay.
    pub(super) fn copy_positions(&mut self, from: &str, to: &str) {
        let inside = |path: &&String| path[from.len()..].is_empty() || path[from.len()..].starts_with(['.', '[']);
        let paths = self.positions.range(from.to_owned()..).map(|(path, _)| path);
        let paths: Vec<String> = paths.take_while(|path| path.starts_with(from)).filter(inside).cloned().collect();
        for path in paths {
            let copy = format!("{to}{}", &path[from.len()..]);
            if let Some(first) = self.blocks.get(&path).copied() {
                self.blocks.entry(copy.clone()).or_insert(first);
            }
            if let Some(position) = self.positions.get(&path).copied() {
                self.positions.entry(copy).or_insert(position);
            }
        }
    }
}
