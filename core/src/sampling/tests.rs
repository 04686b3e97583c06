//! The two decisions together.

use super::budgets::Budgets;
use super::late_keep::{Below, Kept};
use super::outcome::Outcome;
use super::path_cap::{Class, PathCap};
use super::request_cap::RequestCap;
use super::response_flags::ResponseFlags;
use super::rules::Policy;
use super::threshold::Threshold;
use super::*;
use crate::config;
use crate::context::Sampled;
use crate::id::TraceId;
use crate::sampling::rules::{Facts, Sampler, Workload};

/// R of the trace, and thresholds below and above it: one in two, one in sixteen.
const R: u64 = 0xc0000000000000;
const HALF: &str = "8";

fn th(text: &str) -> Threshold {
    Threshold::parse(text.as_bytes()).expect("valid")
}

fn trace(r: u64) -> TraceId {
    TraceId::from_halves(1, r).expect("not zero")
}

fn policy(json: &str) -> Policy {
    let json = format!("{{\"sampling\": {json}}}");
    let config = config::parse(json.as_bytes()).expect("valid").sampling;
    let sampler = Sampler::new(&config, &Workload { namespace: "", name: "", labels: &Default::default() });
    let direction = config::Direction::Inbound;
    sampler.policy(&Facts { direction, host: b"", method: b"", path: b"", headers: &[] }).1.clone()
}

fn head_rate(percent: f64, parent: &str) -> Policy {
    policy(&format!(r#"{{"randomSamplingPercentage": {percent}, "parent": "{parent}"}}"#))
}

fn changed(ot: &OtChange) -> &str {
    match ot {
        OtChange::Keep => "keep",
        OtChange::Remove => "remove",
        OtChange::Set(value) => std::str::from_utf8(value).expect("text"),
    }
}

#[test]
fn a_parent_that_is_respected_decides_and_a_threshold_that_contradicts_it_goes() {
    use HeadThreshold::{Known, Never, Unknown};
    use Sampled::{Accept, Debug, Deny};
    type Row<'a> = (Sampled, Option<&'a str>, HeadThreshold, &'a str, Reason, &'a str);
    let table: &[Row<'_>] = &[
        (Accept, None, Unknown, "keep", Reason::Parent, "sampled, nobody said how"),
        (Accept, Some("th:8"), Known(th(HALF)), "keep", Reason::Parent, "consistent"),
        (Accept, Some("th:f"), Unknown, "remove", Reason::Parent, "R is below: inconsistent"),
        (Accept, Some("th:f;rv:c0000000000000"), Unknown, "rv:c0000000000000", Reason::Parent, "rv stays"),
        (Accept, Some("th:f;rv:f0000000000000"), Known(th("f")), "keep", Reason::Parent, "rv is R"),
        (Accept, Some("th:zz;x:y"), Unknown, "x:y", Reason::Parent, "malformed"),
        (Deny, None, Never, "keep", Reason::Parent, "not sampled"),
        (Deny, Some("th:f"), Never, "keep", Reason::Parent, "consistent: R is below"),
        (Deny, Some("th:8;x:y"), Never, "x:y", Reason::Parent, "inconsistent"),
        (Deny, Some("rv:00000000000000"), Never, "keep", Reason::Parent, "no threshold"),
        (Deny, Some("rv:0"), Never, "remove", Reason::Parent, "an rv that is none goes"),
        (Accept, Some("rv:C0000000000000;x:y"), Unknown, "x:y", Reason::Parent, "and with it nothing else"),
        (Accept, Some("rv:0;th:8"), Known(th(HALF)), "th:8", Reason::Parent, "also not a consistent threshold"),
        (Debug, None, Known(Threshold::ALWAYS), "keep", Reason::Debug, "whatever R is"),
        (Debug, Some("th:8"), Known(Threshold::ALWAYS), "keep", Reason::Debug, "consistent"),
        (Debug, Some("th:f"), Known(Threshold::ALWAYS), "remove", Reason::Debug, "inconsistent"),
    ];
    for rate in [0.0, 1.0, 100.0] {
        for (sampled, ot, threshold, change, reason, why) in table {
            let parent = ParentState { sampled: *sampled, ot: ot.map(str::as_bytes) };
            let head = decide(&head_rate(rate, "respect"), trace(R), Some(&parent));
            let found = (head.sampled, head.threshold, changed(&head.ot), head.reason);
            assert_eq!(found, (*sampled, *threshold, *change, *reason), "{sampled:?} {ot:?}: {why}");
        }
    }
}

#[test]
fn without_a_parents_decision_the_rate_of_the_policy_applies_to_the_randomness() {
    type Row<'a> = (f64, Option<&'a str>, u64, Sampled, &'a str, &'a str);
    let table: &[Row<'_>] = &[
        (50.0, None, R, Sampled::Accept, "th:8", "R is not below"),
        (6.25, None, R, Sampled::Deny, "keep", "R is below"),
        (100.0, None, 1, Sampled::Accept, "th:0", "all"),
        (0.0, None, R, Sampled::Deny, "keep", "none"),
        (50.0, Some("rv:10000000000000"), R, Sampled::Deny, "keep", "rv is R"),
        (50.0, Some("rv:f0000000000000"), 1, Sampled::Accept, "th:8;rv:f0000000000000", "rv is R, and stays"),
        (6.25, Some("rv:1;x:y"), R, Sampled::Deny, "x:y", "an rv that is none goes, and R is the trace id's"),
        (6.25, Some("th:8;x:y"), R, Sampled::Deny, "x:y", "a threshold that is not ours goes"),
        (6.25, Some("th:8"), R, Sampled::Deny, "remove", "and with it the member"),
        (50.0, Some("th:f;x:y"), R, Sampled::Accept, "th:8;x:y", "ours replaces it"),
    ];
    for (rate, ot, r, sampled, change, why) in table {
        let ot = ot.map(str::as_bytes);
        let mut cases = vec![(head_rate(*rate, "respect"), Some(Sampled::Defer))];
        cases.extend([Sampled::Accept, Sampled::Deny].map(|state| (head_rate(*rate, "ignore"), Some(state))));
        cases.extend(ot.is_none().then(|| (head_rate(*rate, "respect"), None)));
        for (policy, state) in cases {
            let parent = state.map(|sampled| ParentState { sampled, ot });
            let head = decide(&policy, trace(*r), parent.as_ref());
            let found = (head.sampled, changed(&head.ot), head.reason);
            assert_eq!(found, (*sampled, *change, Reason::Head), "{rate} {state:?} {ot:?}: {why}");
            assert_eq!(head.threshold.samples(head.randomness), *sampled == Sampled::Accept, "{why}");
        }
    }
}

#[test]
fn a_parent_that_is_ignored_still_gets_its_debugging() {
    let parent = ParentState { sampled: Sampled::Debug, ot: None };
    let head = decide(&head_rate(0.0, "ignore"), trace(1), Some(&parent));
    assert_eq!((head.sampled, head.reason), (Sampled::Debug, Reason::Debug));
}

/// Errors at 50 %, cancelled at 75 %, slow at 6.25 %, heads as given.
const STRATA: &str = r#"{
    "errors": {"percentage": 50},
    "cancelled": {"percentage": 75},
    "slow": {"threshold": "1s", "percentage": 6.25}
}"#;

fn head(threshold: HeadThreshold, r: u64) -> Head {
    let sampled = if threshold.samples(r) { Sampled::Accept } else { Sampled::Deny };
    Head { sampled, threshold, randomness: r, ot: OtChange::Keep, reason: Reason::Parent }
}

fn outcome(slow: bool) -> Outcome {
    Outcome { duration_ns: if slow { 2_000_000_000 } else { 1 }, ..Outcome::default() }
}

/// A path cap of errors, slow and cancelled requests.
fn caps(errors: &str, slow: &str, cancelled: &str) -> PathCap {
    let mut cap = PathCap::NONE;
    for (class, threshold) in Class::ALL.into_iter().zip([errors, slow, cancelled]) {
        cap.raise(class, th(threshold));
    }
    cap
}

fn cancelled() -> Outcome {
    Outcome { flags: ResponseFlags::CLIENT_GONE, ..outcome(false) }
}

/// Answered, so not cancelled.
fn answered(slow: bool) -> Outcome {
    Outcome { http_status: Some(200), ..outcome(slow) }
}

fn uncapped(kept: Option<Kept>) -> Option<Below> {
    kept.map(Below::uncapped)
}

#[test]
fn a_request_is_kept_with_the_smallest_threshold_of_its_strata() {
    use HeadThreshold::{Known, Never, Unknown};
    use Reason::{Cancelled, Error, Marked, Parent, Slow};
    let at = |text| Some(Kept::At(th(text)));
    let tenth = Known(th("e6"));
    let plain = answered(false);
    let slow = answered(true);
    type Row = (HeadThreshold, u64, (bool, Outcome, Option<Kept>), bool, Reason, Option<&'static str>);
    let table: &[Row] = &[
        // Plain: the head alone.
        (Never, R, (false, plain, None), false, Parent, None),
        (tenth, R, (false, plain, None), false, Parent, Some("e6")),
        (tenth, 0xe7 << 48, (false, plain, None), true, Parent, Some("e6")),
        (Unknown, 0, (false, plain, None), true, Parent, None),
        // Each stratum, in and out.
        (Never, R, (true, plain, None), true, Error, Some("8")),
        (Never, 1, (true, plain, None), false, Parent, Some("8")),
        (Never, 0xf1 << 48, (false, slow, None), true, Slow, Some("f")),
        (Never, R, (false, slow, None), false, Parent, Some("f")),
        (Never, R, (false, plain, at("4")), true, Marked, Some("4")),
        (Never, 1, (false, plain, at("4")), false, Parent, Some("4")),
        (Never, 1, (false, plain, Some(Kept::Unknown)), true, Marked, None),
        (Never, 0x50 << 48, (false, cancelled(), None), true, Cancelled, Some("4")),
        (Never, 1, (false, cancelled(), None), false, Parent, Some("4")),
        // Also when the head had sampled it anyway: its own stratum's threshold, not the head's.
        (tenth, 0xe7 << 48, (true, plain, None), true, Error, Some("8")),
        (tenth, 0xe7 << 48, (false, plain, at("0")), true, Marked, Some("0")),
        // Never above the head's.
        (Known(th("4")), 0x50 << 48, (true, plain, None), true, Parent, Some("4")),
        (Known(th("4")), R, (true, plain, None), true, Error, Some("4")),
        // Unions.
        (Never, 0xf1 << 48, (true, slow, None), true, Error, Some("8")),
        (Never, 0xf1 << 48, (false, slow, at("fa")), true, Slow, Some("f")),
        (Never, R, (true, plain, at("4")), true, Error, Some("4")),
        (Never, 0x50 << 48, (true, plain, at("4")), true, Marked, Some("4")),
        (Never, R, (false, cancelled(), at("8")), true, Marked, Some("4")),
        // A cancellation that counts as an error is none.
        (Never, 0x50 << 48, (true, cancelled(), None), false, Parent, Some("8")),
        // An unknown probability makes the union unknown, except beside certainty.
        (Unknown, R, (true, plain, None), true, Error, None),
        (Never, R, (true, plain, Some(Kept::Unknown)), true, Error, None),
        (Unknown, R, (false, plain, at("0")), true, Marked, Some("0")),
        (Known(Threshold::ALWAYS), 1, (false, plain, Some(Kept::Unknown)), true, Marked, Some("0")),
    ];
    for (threshold, r, (failed, outcome, below), keep, reason, expected) in table {
        let policy = policy(STRATA);
        let strata = Strata::new(&policy, *failed, outcome, uncapped(*below));
        let decision = revise(&policy, &head(*threshold, *r), &strata, &PathCap::NONE);
        let found = (decision.keep, decision.reason, decision.threshold.map(|t| t.to_string()), decision.capped);
        let expected = (*keep, *reason, expected.map(str::to_owned), false);
        assert_eq!(found, expected, "{threshold:?} {r:x} failed {failed} {outcome:?} below {below:?}");
    }
}

#[test]
fn caps_raise_the_threshold_of_their_strata_but_not_above_the_heads() {
    use HeadThreshold::{Known, Never, Unknown};
    use Reason::{Cancelled, Error, Marked, Parent, Slow};
    let (plain, slow) = (answered(false), answered(true));
    let below = |kept, cap| Some(Below { kept: Kept::At(th(kept)), cap: th(cap) });
    let unknown = |cap| Some(Below { kept: Kept::Unknown, cap: th(cap) });
    type Row = (HeadThreshold, (bool, Outcome, Option<Below>), PathCap, Option<(Reason, Option<&'static str>)>, bool);
    // R is c.
    let table: &[Row] = &[
        (Never, (true, plain, None), caps("a", "f", "f"), Some((Error, Some("a"))), false),
        (Never, (true, plain, None), caps("4", "f", "f"), Some((Error, Some("8"))), false),
        (Never, (true, plain, None), caps("e", "0", "0"), None, true),
        (Never, (true, plain, below("a", "a")), caps("4", "0", "0"), Some((Error, Some("a"))), false),
        (Never, (true, plain, below("e", "e")), caps("4", "0", "0"), None, true),
        (Never, (false, plain, below("0", "4")), caps("a", "0", "0"), Some((Marked, Some("a"))), false),
        (Never, (false, plain, below("e", "e")), PathCap::NONE, None, true),
        (Never, (false, plain, below("e", "0")), PathCap::NONE, None, false),
        (Never, (false, plain, unknown("0")), caps("4", "0", "0"), Some((Marked, None)), false),
        (Never, (false, plain, unknown("0")), caps("e", "0", "0"), None, true),
        (Never, (false, cancelled(), None), caps("0", "f", "a"), Some((Cancelled, Some("a"))), false),
        (Never, (false, cancelled(), None), caps("a", "f", "8"), Some((Cancelled, Some("a"))), false),
        (Never, (false, cancelled(), None), caps("0", "0", "e"), None, true),
        (Never, (true, slow, None), caps("e", "0", "0"), None, true),
        (Known(th("b")), (true, plain, None), caps("e", "0", "0"), Some((Parent, Some("b"))), false),
        (Known(th("b")), (true, plain, None), caps("a", "0", "0"), Some((Error, Some("a"))), false),
        (Unknown, (true, plain, None), caps("e", "0", "0"), Some((Parent, None)), false),
        (Never, (false, slow, None), caps("f", "0", "f"), None, false),
    ];
    for (threshold, (failed, outcome, below), cap, expected, capped) in table {
        let policy = policy(STRATA);
        let strata = Strata::new(&policy, *failed, outcome, *below);
        let decision = revise(&policy, &head(*threshold, R), &strata, cap);
        let found = decision.keep.then(|| (decision.reason, decision.threshold.map(|t| t.to_string())));
        let expected = expected.map(|(reason, th)| (reason, th.map(str::to_owned)));
        assert_eq!(
            (found, decision.capped),
            (expected, *capped),
            "{threshold:?} {failed} {outcome:?} {below:?} {cap:?}"
        );
    }
    let all = policy(r#"{"slow": {"threshold": "1s"}}"#);
    let strata = Strata::new(&all, false, &slow, None);
    for (cap, reason) in [("a", Some(Slow)), ("e", None)] {
        let decision = revise(&all, &head(Never, R), &strata, &caps("f", cap, "f"));
        assert_eq!(decision.keep.then_some(decision.reason), reason);
    }
}

#[test]
fn an_error_carries_its_own_threshold_whatever_the_head_said() {
    let policy = head_rate(1.0, "respect");
    for r in [1, R, (1 << 56) - 1] {
        let head = decide(&policy, trace(r), None);
        let strata = Strata::new(&policy, true, &answered(false), None);
        let decision = revise(&policy, &head, &strata, &PathCap::NONE);
        let found = (decision.keep, decision.reason, decision.threshold);
        assert_eq!(found, (true, Reason::Error, Some(Threshold::ALWAYS)), "{r:x}");
    }
}

#[test]
fn which_caps_count_a_request_does_not_depend_on_what_the_caps_do() {
    use Class::{Cancelled, Errors, Slow};
    let both = policy(r#"{"errors": {"percentage": 50}, "slow": {"threshold": "1s"}}"#);
    let below = |kept, cap| Some(Below { kept: Kept::At(th(kept)), cap: th(cap) });
    type Row<'a> = ((bool, Outcome, Option<Below>), u64, &'a [Class], &'a str);
    let table: &[Row<'_>] = &[
        ((true, answered(true), None), R, &[Errors, Slow], "of two strata"),
        ((true, answered(true), None), 1, &[Slow], "R is below the stratum's own threshold"),
        ((false, answered(false), below("e", "e")), R, &[Errors], "a cap below has not kept it"),
        ((false, answered(false), below("e", "0")), R, &[], "nothing below was kept, and no cap is the cause"),
        ((false, cancelled(), None), 1, &[Cancelled], "its caller left"),
        ((true, cancelled(), None), R, &[Errors], "an error"),
        ((false, answered(false), None), R, &[], "plain"),
    ];
    for ((failed, outcome, below), r, expected, why) in table {
        let strata = Strata::new(&both, *failed, outcome, *below);
        assert_eq!(strata.counted(*r).collect::<Vec<_>>(), *expected, "{why}");
    }
}

#[test]
fn debugging_and_dropping_have_the_last_word() {
    let parent = ParentState { sampled: Sampled::Debug, ot: None };
    let debug = decide(&policy(STRATA), trace(1), Some(&parent));
    for (failed, below) in [(false, None), (true, None), (false, Some(Kept::Unknown))] {
        let strata = Strata::new(&policy(STRATA), failed, &answered(false), uncapped(below));
        let decision = revise(&policy(STRATA), &debug, &strata, &caps("f", "f", "f"));
        assert_eq!((decision.keep, decision.threshold), (true, Some(Threshold::ALWAYS)), "{failed} {below:?}");
    }
    let dropped = policy(r#"{"rules": [{"name": "d", "drop": true}]}"#);
    let strata = Strata::new(&dropped, true, &answered(false), uncapped(Some(Kept::Unknown)));
    let decision = revise(&dropped, &head(HeadThreshold::Unknown, R), &strata, &PathCap::NONE);
    assert_eq!((decision.keep, decision.capped), (false, false));
}

#[test]
fn a_promise_is_what_the_late_strata_and_the_caps_keep_without_the_head() {
    let below = |kept, cap| Some(Below { kept: Kept::At(th(kept)), cap: th(cap) });
    let unknown = |cap| Some(Below { kept: Kept::Unknown, cap: th(cap) });
    type Row = ((bool, Outcome, Option<Below>), u64, PathCap, Option<Below>, &'static str);
    let (none, plain) = (PathCap::NONE, answered(false));
    let table: &[Row] = &[
        ((true, plain, None), R, none, below("8", "0"), "an error"),
        ((true, plain, None), 1, none, None, "R is below the threshold of errors"),
        ((true, plain, None), 1, caps("e", "0", "0"), None, "whatever a cap does"),
        ((true, plain, None), R, caps("a", "0", "0"), below("a", "a"), "a cap above the stratum's threshold"),
        ((true, plain, None), R, caps("4", "0", "0"), below("8", "4"), "a cap below it"),
        ((true, plain, None), R, caps("e", "0", "0"), below("e", "e"), "failing, but not kept: callers must know why"),
        ((true, plain, below("a", "a")), R, caps("4", "0", "0"), below("a", "a"), "the largest cap of the path"),
        ((false, plain, None), R, caps("4", "4", "4"), None, "nothing to tell"),
        ((false, plain, below("9", "0")), R, none, below("9", "0"), "handed on"),
        ((false, plain, below("e", "e")), R, none, below("e", "e"), "handed on, though nobody keeps it"),
        ((false, plain, below("e", "0")), R, none, None, "nothing below was kept"),
        ((false, plain, unknown("0")), R, caps("a", "0", "0"), unknown("a"), "as little known"),
        ((false, answered(true), None), 0xf1 << 48, none, below("f", "0"), "slow"),
        ((false, answered(true), None), R, none, None, "slow, not kept"),
        ((false, cancelled(), None), R, none, None, "every caller of a cancelled request sees that itself"),
        ((false, cancelled(), below("4", "4")), R, none, below("4", "4"), "but an error below it is told"),
    ];
    for ((failed, outcome, below), r, cap, expected, why) in table {
        let strata = Strata::new(&policy(STRATA), *failed, outcome, *below);
        assert_eq!(strata.promise(*r, cap), *expected, "{why}");
    }
}

#[test]
fn a_request_counts_once_in_each_class_and_a_budget_that_has_become_much_tighter_applies() {
    let policy = policy(r#"{"errors": {"maxPerSecond": 5}, "cancelled": {"maxPerSecond": 5}}"#);
    let budgets = Budgets::new(std::iter::once(&policy));
    let told = Some(Below { kept: Kept::At(Threshold::ALWAYS), cap: Threshold::ALWAYS });
    let error = Strata::new(&policy, true, &answered(false), None);
    let marked = Strata::new(&policy, false, &answered(false), told);
    let left = Strata::new(&policy, false, &cancelled(), None);
    let count =
        |cap: &mut RequestCap, r: u64, strata: &Strata| cap.count((0, &policy), (trace(r), r), strata, &budgets, &|| 7);
    let mut early = [(); 4].map(|()| RequestCap::new(PathCap::NONE, PathCap::NONE));
    assert_eq!(count(&mut early[0], 1, &error), 0);
    assert!(!budgets.may_bind());
    for r in 2..100 {
        count(&mut RequestCap::new(PathCap::NONE, PathCap::NONE), r * 0x9e37_79b9_7f4a, &error);
    }
    assert!(budgets.may_bind(), "errors are overdrawn");
    let mut path = PathCap::NONE;
    budgets.raise(0, &mut path, 7);
    assert!(path.get(Class::Errors).probability() <= 1.0 / 16.0, "{path:?}");
    assert_eq!(path.get(Class::Cancelled), Threshold::ALWAYS);
    assert_eq!((count(&mut early[0], 1, &error), early[0].path(&error)), (0, PathCap::NONE), "counted already");
    assert_eq!(
        (count(&mut early[1], 201, &marked), early[1].path(&marked)),
        (0, PathCap::NONE),
        "told by the failing hop"
    );
    assert_eq!((count(&mut early[2], 202, &left), early[2].path(&left)), (0, PathCap::NONE), "another class");
    assert_eq!(count(&mut early[3], 203, &error), 1);
    assert!(early[3].path(&error).get(Class::Errors) >= path.get(Class::Errors));
    budgets.raise(0, &mut PathCap::NONE.clone(), 60_000_000_000);
    assert!(!budgets.may_bind(), "a minute later nothing is overdrawn");
}

#[test]
fn where_callees_are_not_told_their_threshold_applies_unless_the_own_one_is_four_times_as_tight() {
    let th = |text: &str| Threshold::parse(text.as_bytes()).expect("valid");
    let errors = |text: &str| {
        let mut cap = PathCap::NONE;
        cap.raise(Class::Errors, th(text));
        cap
    };
    // Callers', own, told; what applies.
    let table = [
        ("0", "8", None, "8", "nothing was told"),
        ("0", "8", Some("0"), "0", "half, where a callee keeps all"),
        ("0", "bff", Some("0"), "0", "a little more than a quarter"),
        ("0", "c", Some("0"), "c", "a quarter"),
        ("0", "e", Some("8"), "e", "a quarter of what the callee keeps"),
        ("0", "c", Some("8"), "8", "half of it"),
        ("4", "c", Some("8"), "8", "callers that keep more change nothing"),
        ("a", "c", Some("8"), "a", "callers that keep less are followed"),
        ("0", "8", Some("c"), "c", "a callee that keeps less is followed"),
    ];
    for (callers, own, told, expected, why) in table {
        let below = told.map(|told| Below { kept: Kept::At(Threshold::ALWAYS), cap: th(told) });
        let strata = Strata::new(&policy("{}"), true, &Outcome::default(), below);
        let path = RequestCap::upwards_only(errors(callers), errors(own)).path(&strata);
        assert_eq!(path.get(Class::Errors), th(expected), "{why}");
        let replaced = RequestCap::new(errors(callers), errors(own)).path(&strata);
        assert_eq!(replaced.get(Class::Errors), th(own), "{why}: the own one where callees are told");
    }
}
