//! One thing to say about a document or a file.

use super::code::{self, Code, Severity};
use crate::yaml::Position;
use serde::Serialize;
use sidespan_core::config::Problem;
use std::fmt;

/// What is said about a document; where it stands is not looked up yet.
#[derive(Debug)]
pub(super) struct Issue {
    pub(super) code: &'static Code,
    pub(super) problem: Problem,
}

/// One thing to say about a file.
#[derive(Debug, PartialEq, Serialize)]
pub struct Finding {
    /// As given on the command line, or found in a folder.
    pub file: String,
    /// From 1, where it is known.
    pub line: Option<usize>,
    /// From 1, in characters, where it is known.
    pub column: Option<usize>,
    /// Where in the document; empty for the whole.
    pub path: String,
    /// How bad.
    pub severity: Severity,
    /// The kind of finding.
    pub code: &'static str,
    /// What.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

// === impl Issue ===

impl Issue {
    pub(super) fn new(code: &'static Code, path: &str, problem: &str, hint: &str) -> Self {
        Self { code, problem: Problem { path: path.to_owned(), problem: problem.to_owned(), hint: hint.to_owned() } }
    }

    /// The same below another path.
    pub(super) fn below(mut self, parent: &str) -> Self {
        self.problem.path = match self.problem.path.as_str() {
            "" => parent.to_owned(),
            path if parent.is_empty() => path.to_owned(),
            path if path.starts_with('[') => format!("{parent}{path}"),
            path => format!("{parent}.{path}"),
        };
        self
    }
}

// === impl Finding ===

impl Finding {
    pub(super) fn new(file: &str, position: Option<Position>, issue: Issue) -> Self {
        let Issue { code, problem: Problem { path, problem: message, hint } } = issue;
        let (line, column) = (position.map(|it| it.line), position.map(|it| it.column));
        let Code { name: code, severity } = *code;
        Self { file: file.to_owned(), line, column, path, severity, code, message, hint }
    }
}

impl fmt::Display for Finding {
    /// `file:line:column: severity: path: message (hint) [code]`; the code where it says more than the severity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, ": {severity}")?;
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        let general = [code::INVALID.name, code::DOUBTFUL.name, code::PASSED_OVER.name];
        if general.contains(&self.code) { Ok(()) } else { write!(f, " [{}]", self.code) }
    }
}
