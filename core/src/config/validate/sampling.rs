//! `sampling`: each rule decides something and can be reached, and each condition can hold.

use crate::config::names::header_name_fault;
use crate::config::objects::{Errors, Match, Rule, Sampling, Slow};
use crate::config::pattern::StringPattern;
use crate::config::report::{Report, member};

pub(super) fn check(sampling: &Sampling, report: &mut Report) {
    check_errors("sampling.errors", &sampling.errors, report);
    check_slow("sampling.slow", sampling.slow.as_ref(), report);
    for (index, rule) in sampling.rules.iter().enumerate() {
        let path = report.element("sampling.rules", index);
        check_decision(&path, rule, report);
        check_match(&member(&path, "match"), &rule.matches, report);
        if let Some(errors) = &rule.errors {
            check_errors(&member(&path, "errors"), errors, report);
        }
        check_slow(&member(&path, "slow"), rule.slow.as_ref(), report);
        check_reachable(&path, index, sampling, report);
    }
}

fn check_decision(path: &str, rule: &Rule, report: &mut Report) {
    let others = [
        ("randomSamplingPercentage", rule.random_sampling_percentage.is_some()),
        ("parent", rule.parent.is_some()),
        ("errors", rule.errors.is_some()),
        ("slow", rule.slow.is_some()),
        ("cancelled", rule.cancelled.is_some()),
        ("keepSignals", !rule.keep_signals),
    ];
    if !rule.drop && others.iter().all(|(_, given)| !given) {
        let hint =
            "give `randomSamplingPercentage`, `drop`, `parent`, `errors`, `slow`, `cancelled` or `keepSignals: false`";
        report.absent(path, "decides nothing", hint);
    }
    for (name, _) in others.iter().filter(|(_, given)| rule.drop && *given) {
        let hint = "a dropped request has no span, also not for an error: keep one of the two";
        report.add(&member(path, name), "given together with `drop`", hint);
    }
}

/// The first match wins, so a rule is dead behind one that takes everything, or the same.
fn check_reachable(path: &str, index: usize, sampling: &Sampling, report: &mut Report) {
    let Some(rule) = sampling.rules.get(index) else { return };
    // A match of which something was left out is not what the operator wrote.
    if report.is_damaged(&member(path, "match")) {
        return;
    }
    for (earlier, other) in sampling.rules.iter().take(index).enumerate() {
        let other_path = report.element("sampling.rules", earlier);
        if report.is_damaged(&member(&other_path, "match")) {
            continue;
        }
        if other.matches == Match::default() {
            let problem = format!("is never reached: {other_path} has no `match` and takes everything");
            return report.add(path, &problem, "put the rule without `match` last");
        }
        if other.matches == rule.matches {
            let problem = format!("is never reached: {other_path} has the same `match`");
            return report.add(path, &problem, "the first match wins: keep one of them");
        }
    }
}

fn check_match(path: &str, matches: &Match, report: &mut Report) {
    let lists = [("namespace", &matches.namespace), ("workload", &matches.workload), ("host", &matches.host)];
    for (name, list) in lists {
        let list_path = member(path, name);
        for (index, pattern) in list.iter().enumerate() {
            let here = report.element(&list_path, index);
            match pattern {
                StringPattern::Exact(text) if text.is_empty() => report.add(&here, "is empty", "`*` is anything"),
                StringPattern::Exact(text) if name == "host" && has_port(text) => {
                    report.add(&here, "has a port", "hosts are compared without their port: leave it out");
                }
                _ => {}
            }
        }
    }
    check_methods(&member(path, "method"), &matches.method, report);
    for key in matches.labels.keys().filter(|key| key.is_empty()) {
        report.add(&member(&member(path, "labels"), key), "an empty key", "give a label's name, such as `app`");
    }
    for name in matches.headers.keys() {
        if let Some((problem, hint)) =
            header_name_fault(name, "use `path`, `host` or `method`, which are no headers here")
        {
            report.add(&member(&member(path, "headers"), name), &problem, hint);
        }
    }
}

fn check_methods(path: &str, methods: &[String], report: &mut Report) {
    for (index, method) in methods.iter().enumerate() {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte)) {
            let hint = match method.to_ascii_uppercase() {
                upper if upper.bytes().all(|byte| byte.is_ascii_uppercase()) && !upper.is_empty() => {
                    format!("methods are upper case: `{upper}`")
                }
                _ => "such as `GET`; leave `method` out for any".to_owned(),
            };
            let here = report.element(path, index);
            report.add(&here, &format!("{method:?} is not a method"), &hint);
        }
    }
}

fn check_errors(path: &str, errors: &Errors, report: &mut Report) {
    let list = member(path, "grpcStatus");
    for (index, code) in errors.grpc_status.iter().enumerate() {
        let here = report.element(&list, index);
        match code {
            0 => report.add(&here, "0 is OK, never an error", "give codes from 1 to 16"),
            1..=16 => {}
            _ => report.add(&here, &format!("{code} is not a gRPC status"), "give codes from 1 to 16"),
        }
    }
}

fn check_slow(path: &str, slow: Option<&Slow>, report: &mut Report) {
    if slow.is_some_and(|slow| slow.threshold.0.is_zero()) {
        report.add(&member(path, "threshold"), "zero would make every request slow", "give a time, such as 1s");
    }
}

/// `host:8080`, but not an IPv6 address.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, port)| {
        (!name.contains(':') || name.ends_with(']'))
            && !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}
