//! Problems of a configuration, each with its path and a hint.

use std::fmt;
use std::ops::RangeInclusive;

/// Problems reported at most: enough to repair a file, and a bound for a file that is no configuration at all.
const MAX_PROBLEMS: usize = 64;

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

/// Problems as they are found, and what was left out of the configuration because of them.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
    /// Values that are out of range. They were read all the same, so nothing is missing because of them.
    out_of_range: Vec<Problem>,
    /// List elements that were left out: path of the list and original index.
    left_out: Vec<(String, usize)>,
    /// Where something is missing only because of another problem.
    consequences: Vec<String>,
    /// The range of the member that is read now, for messages.
    pub(super) range: Option<&'static RangeInclusive<u64>>,
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
        if !self.is_full() {
            self.problems.push(Problem { path: path.to_owned(), problem, hint });
        }
    }

    /// Records that the value at `path` is out of range.
    #[cold]
    pub(super) fn add_range(&mut self, path: &str, [value, from, to]: [String; 3]) {
        if !self.is_full() {
            let (problem, hint) = (format!("{value} is out of range"), format!("give {from} to {to}"));
            self.out_of_range.push(Problem { path: path.to_owned(), problem, hint });
        }
    }

    /// Records that something is missing at `path`, unless it or a member of it was itself a problem: what was left out
    /// because it was wrong is not also missing.
    #[cold]
    #[inline(never)]
    pub fn absent(&mut self, path: &str, problem: &str, hint: &str) {
        let known = self.problems.iter().map(|known| &known.path);
        if known.chain(&self.consequences).any(|known| known == path || is_member(known, path)) {
            self.consequences.push(path.to_owned());
        } else {
            self.add(path, problem, hint);
        }
    }

    /// The path of element `index` of what was read of a list, counted as in the document: elements that were left out count.
    pub fn element(&self, list: &str, index: usize) -> String {
        let mut index = index;
        // In ascending order, as they were found.
        for (_, left_out) in self.left_out.iter().filter(|(path, _)| path == list) {
            index = index.saturating_add(usize::from(*left_out <= index));
        }
        format!("{list}[{index}]")
    }

    /// Notes that element `index` of a list, counted as in the document, was left out.
    pub fn left_out(&mut self, list: &str, index: usize) {
        self.left_out.push((list.to_owned(), index));
    }

    /// Whether something at or below `path` is wrong, so that what was read there is not all that was written.
    pub(super) fn is_damaged(&self, path: &str) -> bool {
        self.problems.iter().any(|known| {
            known.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether as many problems are recorded as ever will be.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len().saturating_add(self.out_of_range.len()) >= MAX_PROBLEMS
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.out_of_range.is_empty()
    }

    /// All that was recorded.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.append(&mut self.out_of_range);
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

/// The path of a member, quoted where its key is not a plain word: `resource["cloud.region"]`.
pub fn member(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_member_of_its_parent_only() {
        let table = [
            ("a.b", "a", true),
            ("a.b.c", "a", false),
            ("a[0]", "a", true),
            ("a[0].b", "a", false),
            (r#"a["b.c"]"#, "a", true),
            ("ab", "a", false),
            ("a", "a", false),
            ("a", "", true),
            ("a.b", "", false),
        ];
        for (path, parent, expected) in table {
            assert_eq!(is_member(path, parent), expected, "{path} of {parent:?}");
        }
    }
}
