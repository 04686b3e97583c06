//! Sampling rules that an earlier rule hides, and those that drop everything. The first match wins.

use super::code;
use super::finding::Issue;
use sidespan_core::config::{Match, PathPattern, PathTemplate, Rule, StringPattern};
use std::collections::BTreeMap;

/// Warnings about the rules of a configuration that is valid, so that their indexes are those of the document.
pub(super) fn check(rules: &[Rule], issues: &mut Vec<Issue>) {
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("sampling.rules[{index}]");
        if let Some((earlier, other)) =
            rules.iter().take(index).enumerate().find(|(_, it)| covers(&it.matches, &rule.matches))
        {
            let problem =
                format!("is never reached: {} takes every request that this rule matches", name(earlier, other));
            issues.push(Issue::new(&code::SHADOWED_RULE, &path, &problem, "the first match wins: put this rule first"));
        }
        if rule.drop && covers(&rule.matches, &Match::default()) {
            let rest = if index == 0 { "every request" } else { "every request that no earlier rule takes" };
            let problem = format!("drops {rest}: no span is made, not even for an error");
            let hint = "give a `match`, or `randomSamplingPercentage: 0` to keep the errors";
            issues.push(Issue::new(&code::DROPS_EVERYTHING, &path, &problem, hint));
        }
    }
}

fn name(index: usize, rule: &Rule) -> String {
    let quoted = if rule.name.is_empty() { String::new() } else { format!(" `{}`", rule.name) };
    format!("rules[{index}]{quoted}")
}

/// Whether whatever matches `narrow` also matches `wide`. False if unsure.
fn covers(wide: &Match, narrow: &Match) -> bool {
    list(&wide.direction, &narrow.direction, |_| false, PartialEq::eq)
        && list(&wide.namespace, &narrow.namespace, is_anything, string)
        && list(&wide.workload, &narrow.workload, is_anything, string)
        && list(&wide.host, &narrow.host, is_anything, string)
        && list(&wide.method, &narrow.method, |_| false, PartialEq::eq)
        && list(&wide.path, &narrow.path, is_any_path, path)
        && map(&wide.labels, &narrow.labels)
        && map(&wide.headers, &narrow.headers)
}

/// An empty list takes anything, and so does one with an entry that does.
fn list<T>(wide: &[T], narrow: &[T], anything: fn(&T) -> bool, covers: fn(&T, &T) -> bool) -> bool {
    let is_open = |list: &[T]| list.is_empty() || list.iter().any(anything);
    is_open(wide) || (!is_open(narrow) && narrow.iter().all(|narrow| wide.iter().any(|wide| covers(wide, narrow))))
}

/// All conditions of `wide` must hold, so `narrow` must have each of them. (`*` wants the key to be there.)
fn map(wide: &BTreeMap<String, StringPattern>, narrow: &BTreeMap<String, StringPattern>) -> bool {
    wide.iter().all(|(key, wide)| narrow.get(key).is_some_and(|narrow| string(wide, narrow)))
}

fn is_anything(pattern: &StringPattern) -> bool {
    match pattern {
        StringPattern::Any => true,
        StringPattern::Prefix(text) | StringPattern::Suffix(text) => text.is_empty(),
        StringPattern::Exact(_) => false,
    }
}

/// Paths start with `/`.
fn is_any_path(pattern: &PathPattern) -> bool {
    match pattern {
        PathPattern::String(StringPattern::Prefix(prefix)) if prefix == "/" => true,
        PathPattern::String(pattern) => is_anything(pattern),
        PathPattern::Template(template) => template.as_str() == "/*",
    }
}

fn string(wide: &StringPattern, narrow: &StringPattern) -> bool {
    use StringPattern::{Any, Exact, Prefix, Suffix};
    match (wide, narrow) {
        (Any, _) => true,
        (wide, Exact(text)) => wide.matches(text.as_bytes()),
        (Prefix(wide), Prefix(narrow)) => narrow.starts_with(wide),
        (Suffix(wide), Suffix(narrow)) => narrow.ends_with(wide),
        (wide, _) => is_anything(wide),
    }
}

fn path(wide: &PathPattern, narrow: &PathPattern) -> bool {
    use PathPattern::{String, Template};
    match (wide, narrow) {
        (String(wide), String(narrow)) => string(wide, narrow),
        (String(StringPattern::Prefix(prefix)), Template(narrow)) => {
            narrow.as_str().split('{').next().is_some_and(|start| start.starts_with(prefix.as_str()))
        }
        (Template(wide), String(StringPattern::Exact(text))) => wide.matches(text.as_bytes()),
        (Template(wide), Template(narrow)) => template(wide, narrow),
        _ => false,
    }
}

/// Segment by segment: `{name}` takes any one that is not empty, a last `*` takes any rest.
fn template(wide: &PathTemplate, narrow: &PathTemplate) -> bool {
    let is_placeholder = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    let (mut wide, mut narrow) = (wide.as_str().split('/'), narrow.as_str().split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => return true,
            (Some(wide), Some(narrow)) if wide == narrow && narrow != "*" => {}
            (Some(wide), Some(narrow)) if is_placeholder(wide) && !narrow.is_empty() && narrow != "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidespan_core::config::Config;

    /// The codes and paths of what is said about rules, each of which is a match; the first may have more.
    fn said(rules: &str) -> Vec<String> {
        let config = Config::parse(format!(r#"{{"sampling": {{"rules": [{rules}]}}}}"#).as_bytes());
        let mut issues = Vec::new();
        check(&config.expect("valid").sampling.rules, &mut issues);
        issues.iter().map(|issue| format!("{} {}", issue.code.name, issue.problem.path)).collect()
    }

    #[test]
    fn a_rule_is_shadowed_if_an_earlier_one_takes_all_that_it_matches() {
        let table = [
            (r#""path": ["/a*"]"#, r#""path": ["/a", "/ab*", "/a/{id}"]"#, true),
            (r#""path": ["/a*"]"#, r#""path": ["/a", "/b"]"#, false),
            (r#""path": ["/a"]"#, r#""path": ["/a*"]"#, false),
            (r#""path": ["*"]"#, r#""path": ["/a/{id}"]"#, true),
            (r#""path": ["/*"]"#, r#""namespace": ["a"]"#, true),
            (r#""path": ["*/health"]"#, r#""path": ["/a/health", "*/b/health"]"#, true),
            (r#""path": ["*/health"]"#, r#""path": ["*health"]"#, false),
            (r#""path": ["/a/{id}"]"#, r#""path": ["/a/1", "/a/{name}"]"#, true),
            (r#""path": ["/a/{id}"]"#, r#""path": ["/a/*"]"#, false),
            (r#""path": ["/{x}/*"]"#, r#""path": ["/a/{name}/b"]"#, true),
            (r#""path": ["/{x}"]"#, r#""path": ["/*"]"#, false),
            (r#""namespace": ["pay*"]"#, r#""namespace": ["payment"], "path": ["/a"]"#, true),
            (r#""namespace": ["payment"], "path": ["/a"]"#, r#""namespace": ["payment"]"#, false),
            (r#""namespace": ["a", "*"]"#, r#""workload": ["b"]"#, true),
            (r#""direction": ["inbound", "outbound"]"#, r#""direction": ["inbound"]"#, true),
            (r#""direction": ["inbound"]"#, r#""direction": ["inbound", "gateway"]"#, false),
            (r#""method": ["GET"]"#, r#""path": ["/a"]"#, false),
            (r#""labels": {"app": "a*"}"#, r#""labels": {"app": "ab", "x": "y"}"#, true),
            (r#""headers": {"x": "*"}"#, r#""path": ["/a"]"#, false),
            (r#""host": ["a.example"]"#, r#""host": ["A.example"]"#, true),
        ];
        for (first, second, shadowed) in table {
            let rules = format!(
                r#"{{"match": {{{first}}}, "parent": "ignore"}}, {{"match": {{{second}, "method": ["GET"]}}, "drop": true}}"#
            );
            // The same condition on both, so that equal matches, which are an error, do not occur.
            let rules = if first.contains("method") { rules.replace(r#", "method": ["GET"]"#, "") } else { rules };
            let expected = if shadowed { vec!["shadowed-rule sampling.rules[1]"] } else { vec![] };
            assert_eq!(said(&rules), expected, "{first} {second}");
        }
    }

    #[test]
    fn a_rule_that_drops_everything_is_noticed() {
        let table = [
            (r#"{"drop": true}"#, vec!["drops-everything sampling.rules[0]"]),
            (
                r#"{"match": {"path": ["/*"], "namespace": ["*"]}, "drop": true}"#,
                vec!["drops-everything sampling.rules[0]"],
            ),
            (r#"{"match": {"path": ["/a"]}, "drop": true}"#, vec![]),
            (r#"{"match": {"headers": {"x": "*"}}, "drop": true}"#, vec![]),
            (r#"{"randomSamplingPercentage": 0}"#, vec![]),
        ];
        for (rule, expected) in table {
            assert_eq!(said(rule), expected, "{rule}");
        }
    }
}
