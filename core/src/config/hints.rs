//! Texts of problems that occur everywhere, each with a hint.

use serde_json::Value;

/// The problem and the hint for a value that is not what is `expected`.
pub(super) fn misfit(found: &Value, expected: &str) -> (String, String) {
    let hint = match (found, expected) {
        (Value::Bool(_) | Value::Number(_), "text") => "give text: put it in quotes".to_owned(),
        _ => format!("give {expected}"),
    };
    let found = match found {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string(),
    };
    (format!("wrong value: {found}"), hint)
}

/// The problem and the hint for a `word` that is none of `names`; `what` is what it stands for: a field, a value.
pub(super) fn unknown(what: &str, word: &str, names: &[&str]) -> (String, String) {
    let hint = match nearest(word, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("one of {}", list_of(names)),
    };
    (format!("unknown {what} `{word}`"), hint)
}

/// Names as a sentence has them: `a`, `b`, `c`.
pub(super) fn list_of(names: &[&str]) -> String {
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
