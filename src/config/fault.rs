//! What serde says is wrong, in the words of an operator, with a hint.

use super::check::Report;
use serde::de::{Error, Expected, Unexpected};
use std::fmt;

/// A misfit of one node.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    problem: String,
    hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A member that no one knows.
    Unknown,
    /// Something must be here and is not.
    Absent,
    /// A wrong type or value.
    Wrong,
}

// === impl Fault ===

impl Fault {
    /// Several members, or none, where exactly one of `names` is meant.
    pub(super) fn not_one_of(names: &[&str], none: bool) -> Self {
        let (kind, problem) = if none { (Kind::Absent, "is empty") } else { (Kind::Wrong, "has several members") };
        Self { kind, problem: problem.to_owned(), hint: format!("give exactly one of {}", list(names)) }
    }

    /// The same fault where one of `names` is expected.
    pub(super) fn or_names(self, names: &[&str]) -> Self {
        Self { hint: format!("one of {}", list(names)), ..self }
    }

    /// Whether it is about a member that no one knows.
    pub(super) fn is_unknown(&self) -> bool {
        self.kind == Kind::Unknown
    }

    /// Records it.
    pub(super) fn report(self, path: &str, report: &mut Report) {
        match self.kind {
            Kind::Absent => report.absent(path, self.problem, self.hint),
            Kind::Unknown | Kind::Wrong => report.add(path, self.problem, self.hint),
        }
    }
}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { kind: Kind::Wrong, problem: message.to_string(), hint: String::new() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let hint = match (found, expected.to_string().as_str()) {
            (Unexpected::UnitVariant, _) => "give it as an object with its members".to_owned(),
            (
                Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_),
                "a string",
            ) => "give text: put it in quotes".to_owned(),
            (_, expected) => format!("give {}", plain(expected)),
        };
        Self { kind: Kind::Wrong, problem: format!("wrong type: {}", name(found)), hint }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let hint = format!("give {}", plain(&expected.to_string()));
        Self { kind: Kind::Wrong, problem: format!("impossible value: {}", name(found)), hint }
    }

    fn unknown_variant(variant: &str, names: &'static [&'static str]) -> Self {
        let hint = match nearest(variant, names) {
            Some(name) => format!("did you mean `{name}`? one of {}", list(names)),
            None => format!("one of {}", list(names)),
        };
        Self { kind: Kind::Wrong, problem: format!("unknown value `{variant}`"), hint }
    }

    fn unknown_field(field: &str, names: &'static [&'static str]) -> Self {
        let hint = match nearest(field, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("one of {}", list(names)),
        };
        Self { kind: Kind::Unknown, problem: format!("unknown field `{field}`"), hint }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { kind: Kind::Absent, problem: format!("`{field}` is missing"), hint: format!("give `{field}`") }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

/// What was found, without the words of Rust.
fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::UnitVariant => "a name alone".to_owned(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// What was expected, without the words of Rust.
fn plain(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i32" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        "unit" => "the name alone",
        struct_name if struct_name.starts_with("struct ") => "an object",
        other => other,
    }
}

/// `a`, `b`, `c`.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The name that was probably meant: the same but for case and separators, a part of it, or few typing errors away.
fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    let word = squash(word);
    let allowed = (word.len() / 3).clamp(1, 4);
    names
        .iter()
        .map(|name| (distance(&word, &squash(name)), *name))
        .filter(|(distance, name)| *distance <= allowed || (word.len() >= 4 && squash(name).contains(word.as_str())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters and digits in lower case, at most 64 of them.
fn squash(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).take(64).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Edit distance with swapped neighbours as one error (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, b) in right.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let mut cost = at(&row, j).saturating_add(usize::from(a != b));
            cost = cost.min(at(&row, j.saturating_add(1)).saturating_add(1)).min(at(&next, j).saturating_add(1));
            let swapped =
                i > 0 && j > 0 && left.get(i.wrapping_sub(1)) == Some(b) && right.get(j.wrapping_sub(1)) == Some(a);
            if swapped {
                cost = cost.min(at(&before, j.wrapping_sub(1)).saturating_add(1));
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let names = ["name", "match", "randomSamplingPercentage", "drop", "parent", "errors", "slow"];
        let table: &[(&str, Option<&str>, &str)] = &[
            ("dorp", Some("drop"), "two neighbours swapped"),
            ("random_sampling_percentage", Some("randomSamplingPercentage"), "the proto's own spelling"),
            ("RandomSamplingPercentage", Some("randomSamplingPercentage"), "case"),
            ("randomSamplingPercentge", Some("randomSamplingPercentage"), "a letter missing"),
            ("percentage", Some("randomSamplingPercentage"), "a part of it"),
            ("error", Some("errors"), "singular"),
            ("zipkin", None, "nothing like it"),
            ("", None, "nothing at all"),
            ("ä", None, "not even ASCII"),
        ];
        for (word, meant, why) in table {
            assert_eq!(nearest(word, &names), *meant, "{word}: {why}");
        }
    }

    #[test]
    fn distance_counts_insertions_deletions_changes_and_swaps() {
        let table =
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("drop", "dorp", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)];
        for (left, right, expected) in table {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
