//! Sampling rules: the first match wins. Conditions on the workload are evaluated once, when the configuration is read.

use crate::config::{self, Direction, Match, Parent, PathPattern, Rule, StringPattern};
use crate::http::headers::{Header, values};
use crate::sampling::outcome::{CancelledPolicy, ErrorPolicy, SlowPolicy};
use crate::sampling::path_cap::Class;
use crate::sampling::threshold::Threshold;
use std::collections::BTreeMap;

/// The workload that the proxy serves.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Kubernetes namespace.
    pub namespace: &'a str,
    /// Workload name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// What the conditions of a rule look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which side of the workload.
    pub direction: Direction,
    /// Host without its port.
    pub host: &'a [u8],
    /// Method.
    pub method: &'a [u8],
    /// Path without its query.
    pub path: &'a [u8],
    /// All request headers.
    pub headers: &'a [Header<'a>],
}

/// What applies to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The rule's name, or `default`.
    pub name: String,
    /// The head rate; `None` is 0 %.
    pub head: Option<Threshold>,
    /// Never a span.
    pub drop: bool,
    /// Whether a parent's decision stands.
    pub parent: Parent,
    /// Errors.
    pub errors: ErrorPolicy,
    /// Slow requests.
    pub slow: Option<SlowPolicy>,
    /// Whether the keep signals of callees are believed.
    pub keep_signals: bool,
    /// Requests whose caller left before an answer.
    pub cancelled: CancelledPolicy,
}

/// The rules that can apply to this workload, and the default behind them.
#[derive(Clone, Debug)]
pub struct Sampler {
    rules: Vec<(Conditions, Policy)>,
    default: Policy,
}

/// The conditions of a rule that depend on the request.
#[derive(Clone, Debug, Default)]
struct Conditions {
    direction: Vec<Direction>,
    host: Vec<StringPattern>,
    method: Vec<String>,
    path: Vec<PathPattern>,
    headers: Vec<(String, StringPattern)>,
}

// === impl Sampler ===

impl Sampler {
    /// Keeps the rules whose workload conditions hold, up to the first that takes every request.
    pub fn new(config: &config::Sampling, workload: &Workload<'_>) -> Self {
        let mut default = Policy::of_rule(config, &Rule::default());
        default.name = "default".to_owned();
        let mut rules = Vec::new();
        for rule in config.rules.iter().filter(|rule| holds_for_workload(&rule.matches, workload)) {
            let conditions = Conditions::of(&rule.matches);
            let policy = Policy::of_rule(config, rule);
            if conditions.is_empty() {
                default = policy;
                break;
            }
            rules.push((conditions, policy));
        }
        Self { rules, default }
    }

    /// The policy of a request and its number, below [`Sampler::len`].
    pub fn policy(&self, facts: &Facts<'_>) -> (usize, &Policy) {
        let found = self.rules.iter().enumerate().find(|(_, (conditions, _))| conditions.hold(facts));
        match found {
            Some((index, (_, policy))) => (index, policy),
            None => (self.rules.len(), &self.default),
        }
    }

    /// As [`Self::policy`], but the facts are made only if there are rules.
    pub fn policy_of<'f>(&self, facts: impl FnOnce() -> Facts<'f>) -> (usize, &Policy) {
        if self.rules.is_empty() { (0, &self.default) } else { self.policy(&facts()) }
    }

    /// The policy of a number.
    pub fn get(&self, index: usize) -> &Policy {
        self.rules.get(index).map_or(&self.default, |(_, policy)| policy)
    }

    /// How many policies there are; the last one is what applies where no rule matches.
    pub fn len(&self) -> usize {
        self.rules.len().saturating_add(1)
    }

    /// Always false: there is always the last one.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All policies, in order.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.rules.iter().map(|(_, policy)| policy).chain([&self.default])
    }
}

// === impl Policy ===

impl Policy {
    fn of_rule(config: &config::Sampling, rule: &Rule) -> Self {
        let percentage = rule.random_sampling_percentage.unwrap_or(config.random_sampling_percentage);
        Self {
            name: rule.name.clone(),
            head: Threshold::from_probability(percentage.probability()),
            drop: rule.drop,
            parent: rule.parent.unwrap_or(config.parent),
            errors: ErrorPolicy::new(rule.errors.as_ref().unwrap_or(&config.errors)),
            slow: rule.slow.as_ref().or(config.slow.as_ref()).map(SlowPolicy::new),
            keep_signals: rule.keep_signals,
            cancelled: CancelledPolicy::new(rule.cancelled.as_ref().unwrap_or(&config.cancelled)),
        }
    }

    /// The cap of a class, in traces a second; `None`: no cap.
    pub fn max_per_second(&self, class: Class) -> Option<u32> {
        match class {
            Class::Errors => self.errors.max_per_second,
            Class::Slow => self.slow.as_ref()?.max_per_second,
            Class::Cancelled => self.cancelled.max_per_second,
        }
    }
}

// === impl Conditions ===

impl Conditions {
    fn of(matches: &Match) -> Self {
        Self {
            direction: matches.direction.clone(),
            host: matches.host.clone(),
            method: matches.method.clone(),
            path: matches.path.clone(),
            headers: matches.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { direction, host, method, path, headers } = self;
        direction.is_empty() && host.is_empty() && method.is_empty() && path.is_empty() && headers.is_empty()
    }

    fn hold(&self, facts: &Facts<'_>) -> bool {
        any(&self.direction, |direction| *direction == facts.direction)
            && any(&self.method, |method| method.as_bytes() == facts.method)
            && any(&self.host, |host| host.matches(facts.host))
            && any(&self.path, |path| path.matches(facts.path))
            && self
                .headers
                .iter()
                .all(|(name, pattern)| values(facts.headers, name.as_bytes()).any(|value| pattern.matches(value)))
    }
}

fn holds_for_workload(matches: &Match, workload: &Workload<'_>) -> bool {
    any(&matches.namespace, |pattern| pattern.matches(workload.namespace.as_bytes()))
        && any(&matches.workload, |pattern| pattern.matches(workload.name.as_bytes()))
        && matches
            .labels
            .iter()
            .all(|(label, pattern)| workload.labels.get(label).is_some_and(|value| pattern.matches(value.as_bytes())))
}

/// An empty list holds for everything.
fn any<T>(list: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = r#"{
        "randomSamplingPercentage": 10,
        "rules": [
            {"name": "probes", "match": {"path": ["/healthz", "/readyz", "/internal/*"]}, "drop": true},
            {"name": "payments", "match": {"namespace": ["payment"]}, "randomSamplingPercentage": 100},
            {"name": "logging", "match": {"namespace": ["logging"]}, "randomSamplingPercentage": 1},
            {"name": "frontend", "match": {"workload": ["frontend*"]}, "randomSamplingPercentage": 50},
            {"name": "beta", "match": {"labels": {"track": "beta"}, "direction": ["inbound"], "method": ["POST"]},
             "randomSamplingPercentage": 30, "parent": "ignore", "errors": {"percentage": 50}},
            {"name": "vip", "match": {"host": ["*.shop.example"], "headers": {"X-Tier": "gold*"}}, "randomSamplingPercentage": 25}
        ]
    }"#;

    fn sampler(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Sampler {
        let json = format!("{{\"sampling\": {GUIDE}}}");
        let config = config::parse(json.as_bytes()).expect("valid").sampling;
        let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Sampler::new(&config, &Workload { namespace, name, labels: &labels })
    }

    fn facts<'a>(method: &'a str, host: &'a str, path: &'a str, headers: &'a [Header<'a>]) -> Facts<'a> {
        Facts {
            direction: Direction::Inbound,
            host: host.as_bytes(),
            method: method.as_bytes(),
            path: path.as_bytes(),
            headers,
        }
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let gold = [Header::new("x-tier", "gold-plus")];
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Facts<'a>, &'a str);
        let table: &[Row<'_>] = &[
            ("payment", "pay", &[], facts("GET", "pay", "/", &[]), "payments"),
            ("payment", "pay", &[], facts("GET", "pay", "/healthz", &[]), "probes"),
            ("logging", "log", &[], facts("GET", "log", "/", &[]), "logging"),
            ("shop", "frontend-v2", &[], facts("GET", "f", "/", &[]), "frontend"),
            ("shop", "cart", &[("track", "beta")], facts("POST", "c", "/", &[]), "beta"),
            ("shop", "cart", &[("track", "beta")], facts("GET", "c", "/", &[]), "default"),
            ("shop", "cart", &[], facts("GET", "eu.shop.example", "/", &gold), "vip"),
            ("shop", "cart", &[], facts("GET", "eu.shop.example", "/", &[]), "default"),
            ("shop", "cart", &[], facts("GET", "c", "/internal/x", &[]), "probes"),
        ];
        for (namespace, name, labels, facts, expected) in table {
            let sampler = sampler(namespace, name, labels);
            let (index, policy) = sampler.policy(facts);
            assert_eq!(policy.name, *expected, "{facts:?}");
            assert_eq!(sampler.get(index), policy);
        }
    }

    #[test]
    fn workload_rules_are_settled_at_configuration_time() {
        assert_eq!(sampler("payment", "pay", &[]).len(), 2, "probes and payments, nothing behind them");
        assert_eq!(sampler("shop", "cart", &[]).len(), 3, "probes, vip and the default");
    }

    #[test]
    fn a_rule_inherits_what_it_does_not_say() {
        let sampler = sampler("shop", "cart", &[("track", "beta")]);
        let (_, beta) = sampler.policy(&facts("POST", "c", "/", &[]));
        assert_eq!(beta.parent, Parent::Ignore);
        assert_eq!(beta.errors.threshold, Threshold::from_probability(0.5));
        let (_, default) = sampler.policy(&facts("GET", "c", "/", &[]));
        assert_eq!((default.parent, default.head), (Parent::Respect, Threshold::from_probability(0.1)));
        assert_eq!(default.errors.threshold, Some(Threshold::ALWAYS));
    }
}
