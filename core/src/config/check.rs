//! Every problem of a configuration, with its path and a hint.
//!
//! Three passes, so that one bad value never hides another: the text becomes a tree ([`super::tree`]), the tree is read
//! into the types ([`super::read`]), and the typed configuration is checked for sense ([`super::sense`]).

use super::{Config, read, sense, settle, tree, warn};
use std::fmt;

/// Problems reported at most: enough to repair a file, bounded for a file that is something else altogether.
pub(super) const MAX_PROBLEMS: usize = 64;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `sampling.rules[2].match.path[0]`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

/// Problems as they are found, and what was left out of the tree because of them.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
    /// List elements that were left out: path of the list and original index.
    lost: Vec<(String, usize)>,
    /// Where something is missing only because of another problem.
    shadows: Vec<String>,
}

/// Reads `pluginConfig`. Nothing at all is the default configuration (Istio sends an empty `pluginConfig` as nothing).
/// Names of headers and hosts come back in lower case, as they are compared.
///
/// # Errors
/// Every problem found (at most 64): first those of form, then those of sense.
pub fn parse(json: &[u8]) -> Result<Config, Vec<Problem>> {
    let mut report = Report::default();
    let config = tree::read(json, &mut report).map(|tree| read::config(&tree, &mut report));
    // A flood of misfits is no configuration to make sense of.
    if let Some(config) = config.as_ref().filter(|_| report.problems.len() < MAX_PROBLEMS) {
        sense::check(config, &mut report);
    }
    match config {
        Some(mut config) if report.is_empty() => {
            settle::settle(&mut config);
            Ok(config)
        }
        _ => Err(report.into_problems()),
    }
}

// === impl Config ===

impl Config {
    /// [`parse`].
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Problem>> {
        parse(json)
    }

    /// What is legal but probably not meant, or worth knowing: never a reason to refuse.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut report = Report::default();
        warn::check(self, &mut report);
        report.into_problems()
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "pluginConfig" } else { &self.path };
        write!(f, "{path}: {}", self.problem)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

// === impl Report ===

impl Report {
    /// Records a problem; beyond 64 nothing is kept.
    #[cold]
    #[inline(never)]
    pub fn add(&mut self, path: &str, problem: &str, hint: &str) {
        self.add_pair(path, (problem.to_owned(), hint.to_owned()));
    }

    /// Records a problem and its hint.
    #[cold]
    #[inline(never)]
    pub fn add_pair(&mut self, path: &str, (problem, hint): (String, String)) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { path: path.to_owned(), problem, hint });
        }
    }

    /// Records that something is missing at `path`, unless it or a member of it was itself a problem: what was left out
    /// because it was wrong is not also missing.
    #[cold]
    #[inline(never)]
    pub fn absent(&mut self, path: &str, problem: &str, hint: &str) {
        let known = self.problems.iter().map(|known| &known.path);
        if known.chain(&self.shadows).any(|known| known == path || is_member(known, path)) {
            self.shadows.push(path.to_owned());
        } else {
            self.add(path, problem, hint);
        }
    }

    /// The path of element `index` of what was read of a list, counted as in the document: elements that were left out count.
    pub fn element(&self, list: &str, index: usize) -> String {
        format!("{list}[{}]", self.original_index(list, index))
    }

    /// The index in the document of element `index` of what was read of a list.
    pub fn original_index(&self, list: &str, index: usize) -> usize {
        let gone = |at: usize| self.lost.iter().any(|(path, lost)| path == list && *lost == at);
        // Skips what was left out, one place at a time: lists are short, and short of problems.
        let (mut original, mut left) = (0_usize, index);
        loop {
            match (gone(original), left) {
                (false, 0) => return original,
                (false, _) => left = left.saturating_sub(1),
                (true, _) => {}
            }
            original = original.saturating_add(1);
        }
    }

    /// Notes that element `index` of a list, counted as in the document, was left out.
    pub fn lose(&mut self, list: &str, index: usize) {
        self.lost.push((list.to_owned(), index));
    }

    /// Whether something at or below `path` is wrong, so that what was read there is not all that was written.
    pub(super) fn is_damaged(&self, path: &str) -> bool {
        self.problems.iter().any(|known| {
            known.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// All that was recorded.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// Whether `path` is a direct member of `parent`: `a.b` and `a["b.c"]` of `a`, not `a.b.c`.
fn is_member(path: &str, parent: &str) -> bool {
    let Some(rest) = path.strip_prefix(parent) else { return false };
    let member = if parent.is_empty() { rest } else { rest.strip_prefix('.').unwrap_or(rest) };
    let bracketed =
        member.starts_with('[') && member.find(']').is_some_and(|end| end.saturating_add(1) == member.len());
    let separated = parent.is_empty() || rest.starts_with('.');
    !member.is_empty() && (bracketed || (separated && !member.contains(['.', '['])))
}

/// `path` and one of its members, quoted where the name is not a plain word: `resource["cloud.region"]`.
pub fn member(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
