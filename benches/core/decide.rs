//! The two decisions, and what they are made from.

use crate::fixtures::{Context, SIZES, TRACE, config, request};
use criterion::Criterion;
use sidespan_core::config::Direction;
use sidespan_core::context::Sampled;
use sidespan_core::id::TraceId;
use sidespan_core::sampling::outcome::Outcome;
use sidespan_core::sampling::path_cap::PathCap;
use sidespan_core::sampling::rules::{Facts, Sampler, Workload};
use sidespan_core::sampling::{ParentState, Strata, decide, revise};
use sidespan_core::span::OriginalRequest;
use std::collections::BTreeMap;
use std::hint::black_box;

/// None of them takes the request, so that all are asked.
const TEN_RULES: &str = r#", "sampling": {"randomSamplingPercentage": 1, "rules": [
    {"name": "probes", "match": {"path": ["/healthz", "/readyz", "/livez", "/internal/*"]}, "drop": true},
    {"name": "scrapes", "match": {"path": ["/metrics", "/stats/prometheus"]}, "drop": true},
    {"name": "assets", "match": {"path": ["*.js", "*.css", "*.png", "/static/*"]}, "randomSamplingPercentage": 0.1},
    {"name": "checkout", "match": {"path": ["/api/orders/{id}/checkout"]}, "randomSamplingPercentage": 100},
    {"name": "carts", "match": {"path": ["/api/users/{user}/cart/{item}"]}, "randomSamplingPercentage": 20},
    {"name": "payments", "match": {"host": ["payments.shop.svc.cluster.local", "*.payments.example"]}, "randomSamplingPercentage": 100},
    {"name": "writes", "match": {"method": ["POST", "PUT", "PATCH", "DELETE"]}, "randomSamplingPercentage": 10},
    {"name": "gold", "match": {"headers": {"x-tier": "gold*"}}, "randomSamplingPercentage": 50},
    {"name": "canary", "match": {"headers": {"x-canary": "true"}, "method": ["GET"]}, "randomSamplingPercentage": 50},
    {"name": "calls", "match": {"direction": ["outbound"], "host": ["*.example.com"]}, "randomSamplingPercentage": 5}
]}"#;

pub fn bench(criterion: &mut Criterion) {
    draft(criterion);
    head(criterion);
    end(criterion);
}

fn draft(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("draft");
    for size in SIZES {
        let headers = request(size, Context::Unsampled);
        assert_eq!(OriginalRequest::new(Direction::Inbound, &headers).path(), b"/api/users/42/reviews");
        group.bench_function(format!("{size} headers"), |bencher| {
            bencher.iter(|| OriginalRequest::new(Direction::Inbound, black_box(&headers)));
        });
    }
}

fn head(criterion: &mut Criterion) {
    let trace_id = TraceId::from_hex(TRACE.as_bytes()).expect("valid");
    let mut group = criterion.benchmark_group("decide");
    for (rules, name, policies) in [("", "no rules", 1), (TEN_RULES, "10 rules", 11)] {
        let sampler = sampler(rules);
        assert_eq!(sampler.len(), policies);
        for size in SIZES {
            let headers = request(size, Context::Unsampled);
            let draft = OriginalRequest::new(Direction::Inbound, &headers);
            let facts = Facts {
                direction: Direction::Inbound,
                host: b"reviews.shop.svc.cluster.local",
                method: draft.method(),
                path: draft.path(),
                headers: &headers,
            };
            let decide_with = |parent| decide(sampler.policy(black_box(&facts)).1, black_box(trace_id), parent);
            let parent = ParentState { sampled: Sampled::Deny, ot: None };
            assert_eq!(sampler.policy(&facts).1.name, "default");
            assert_eq!([None, Some(&parent)].map(|parent| decide_with(parent).sampled), [Sampled::Deny; 2]);
            group.bench_function(format!("root, {name}/{size} headers"), |bencher| bencher.iter(|| decide_with(None)));
            group.bench_function(format!("child, {name}/{size} headers"), |bencher| {
                bencher.iter(|| decide_with(Some(&parent)));
            });
        }
    }
}

fn end(criterion: &mut Criterion) {
    let sampler = sampler("");
    let policy = sampler.get(0);
    let trace_id = TraceId::from_hex(TRACE.as_bytes()).expect("valid");
    let head = decide(policy, trace_id, None);
    let mut group = criterion.benchmark_group("revise");
    for (name, status, kept) in [("success", 200, false), ("error", 503, true)] {
        let outcome = Outcome { http_status: Some(status), ..Outcome::default() };
        let revised = |outcome| {
            let strata = Strata::new(policy, policy.errors.is_error(outcome), outcome, None);
            revise(policy, &head, &strata, &PathCap::NONE)
        };
        assert_eq!(revised(&outcome).keep, kept);
        group.bench_function(name, |bencher| bencher.iter(|| revised(black_box(&outcome))));
    }
}

fn sampler(rules: &str) -> Sampler {
    let workload = Workload { namespace: "shop", name: "reviews-v1", labels: &BTreeMap::new() };
    Sampler::new(&config(rules).sampling, &workload)
}
