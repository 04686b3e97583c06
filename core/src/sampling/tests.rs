//! The two decisions together.

use super::late_keep::Kept;
use super::outcome::Outcome;
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
const SIXTEENTH: &str = "f";

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

/// Errors at 50 %, slow at 6.25 %, heads as given.
const STRATA: &str = r#"{
    "errors": {"percentage": 50},
    "slow": {"threshold": "1s", "percentage": 6.25}
}"#;

fn head(threshold: HeadThreshold, r: u64) -> Head {
    let sampled = if threshold.samples(r) { Sampled::Accept } else { Sampled::Deny };
    Head { sampled, threshold, randomness: r, ot: OtChange::Keep, reason: Reason::Parent }
}

fn outcome(slow: bool) -> Outcome {
    Outcome { duration_ns: if slow { 2_000_000_000 } else { 1 }, ..Outcome::default() }
}

#[test]
fn a_request_is_kept_with_the_smallest_threshold_of_its_strata() {
    use HeadThreshold::{Known, Never, Unknown};
    use Reason::{Error, Marked, Parent, Slow};
    const E: Option<Cap> = Some(Cap::Errors);
    const S: Option<Cap> = Some(Cap::Slow);
    let at = |text| Some(Kept::At(th(text)));
    let tenth = Known(th("e6"));
    type Row = (HeadThreshold, u64, (bool, bool, Option<Kept>), bool, Reason, Option<&'static str>, Option<Cap>);
    let table: &[Row] = &[
        // Plain: the head alone.
        (Never, R, (false, false, None), false, Parent, None, None),
        (tenth, R, (false, false, None), false, Parent, Some("e6"), None),
        (tenth, 0xe7 << 48, (false, false, None), true, Parent, Some("e6"), None),
        (Unknown, 0, (false, false, None), true, Parent, None, None),
        // Each stratum, in and out.
        (Never, R, (true, false, None), true, Error, Some("8"), E),
        (Never, 1, (true, false, None), false, Parent, Some("8"), None),
        (Never, 0xf1 << 48, (false, true, None), true, Slow, Some("f"), S),
        (Never, R, (false, true, None), false, Parent, Some("f"), None),
        (Never, R, (false, false, at("4")), true, Marked, Some("4"), E),
        (Never, 1, (false, false, at("4")), false, Parent, Some("4"), None),
        (Never, 1, (false, false, Some(Kept::Unknown)), true, Marked, None, E),
        // Also when the head had sampled it anyway: its own stratum's threshold, not the head's.
        (tenth, 0xe7 << 48, (true, false, None), true, Error, Some("8"), E),
        (tenth, 0xe7 << 48, (false, false, at("0")), true, Marked, Some("0"), E),
        // Never above the head's.
        (Known(th("4")), 0x50 << 48, (true, false, None), true, Parent, Some("4"), None),
        (Known(th("4")), R, (true, false, None), true, Error, Some("4"), E),
        // Unions.
        (Never, 0xf1 << 48, (true, true, None), true, Error, Some("8"), E),
        (Never, 0xf1 << 48, (false, true, at("fa")), true, Slow, Some("f"), S),
        (Never, R, (true, false, at("4")), true, Error, Some("4"), E),
        (Never, 0x50 << 48, (true, false, at("4")), true, Marked, Some("4"), E),
        // An unknown probability makes the union unknown, except beside certainty.
        (Unknown, R, (true, false, None), true, Error, None, E),
        (Never, R, (true, false, Some(Kept::Unknown)), true, Error, None, E),
        (Unknown, R, (false, false, at("0")), true, Marked, Some("0"), E),
        (Known(Threshold::ALWAYS), 1, (false, false, Some(Kept::Unknown)), true, Marked, Some("0"), E),
    ];
    for (threshold, r, (failed, slow, below), keep, reason, expected, cap) in table {
        let decision = revise(&policy(STRATA), &head(*threshold, *r), *failed, &outcome(*slow), *below);
        let found = (decision.keep, decision.reason, decision.threshold.map(|t| t.to_string()), decision.cap);
        let expected = (*keep, *reason, expected.map(str::to_owned), *cap);
        assert_eq!(found, expected, "{threshold:?} {r:x} failed {failed} slow {slow} below {below:?}");
    }
}

#[test]
fn an_error_carries_its_own_threshold_whatever_the_head_said() {
    let policy = head_rate(1.0, "respect");
    for r in [1, R, (1 << 56) - 1] {
        let head = decide(&policy, trace(r), None);
        let decision = revise(&policy, &head, true, &outcome(false), None);
        let found = (decision.keep, decision.reason, decision.threshold, decision.cap);
        assert_eq!(found, (true, Reason::Error, Some(Threshold::ALWAYS), Some(Cap::Errors)), "{r:x}");
    }
}

#[test]
fn which_cap_counts_a_request_does_not_depend_on_its_randomness() {
    // Slow at 100 %, errors at 50 %: whoever is both is counted as slow, below R and above.
    let both = policy(r#"{"errors": {"percentage": 50}, "slow": {"threshold": "1s"}}"#);
    for r in [1, R] {
        let decision = revise(&both, &head(HeadThreshold::Never, r), true, &outcome(true), None);
        assert_eq!((decision.keep, decision.cap, decision.threshold), (true, Some(Cap::Slow), Some(Threshold::ALWAYS)));
    }
    // A mark is only seen if R is not below its threshold; then it may not change the cap of what was kept anyway.
    let mark = Some(Kept::At(th(HALF)));
    for (r, below) in [(1, None), (R, mark)] {
        let decision = revise(&both, &head(HeadThreshold::Never, r), false, &outcome(true), below);
        assert_eq!((decision.cap, decision.threshold), (Some(Cap::Slow), Some(Threshold::ALWAYS)), "{r:x}");
    }
    // The path of an error is not held up by the cap of the slow.
    let marked =
        revise(&both, &head(HeadThreshold::Never, 1), false, &outcome(true), Some(Kept::At(Threshold::ALWAYS)));
    assert_eq!((marked.reason, marked.cap), (Reason::Marked, Some(Cap::Errors)));
}

#[test]
fn debugging_and_dropping_have_the_last_word() {
    let parent = ParentState { sampled: Sampled::Debug, ot: None };
    let debug = decide(&policy(STRATA), trace(1), Some(&parent));
    for (failed, below) in [(false, None), (true, None), (false, Some(Kept::Unknown))] {
        let decision = revise(&policy(STRATA), &debug, failed, &outcome(false), below);
        assert_eq!((decision.keep, decision.threshold), (true, Some(Threshold::ALWAYS)), "{failed} {below:?}");
    }
    let dropped = policy(r#"{"rules": [{"name": "d", "drop": true}]}"#);
    let decision = revise(&dropped, &head(HeadThreshold::Unknown, R), true, &outcome(false), Some(Kept::Unknown));
    assert_eq!((decision.keep, decision.promise(R, None)), (false, None));
}

#[test]
fn a_promise_is_what_the_late_strata_and_the_cap_keep_without_the_head() {
    let at = |text| Some(Kept::At(th(text)));
    type Row = (HeadThreshold, u64, bool, Option<Kept>, Option<&'static str>, Option<Kept>, &'static str);
    let table: &[Row] = &[
        (HeadThreshold::Never, R, true, None, None, at("8"), "an error"),
        (HeadThreshold::Never, R, true, None, Some("a"), at("a"), "τ of the last window"),
        (HeadThreshold::Never, R, true, None, Some("4"), at("8"), "not above the stratum's"),
        (HeadThreshold::Never, R, true, None, Some(SIXTEENTH), None, "the cap would not have held it"),
        (HeadThreshold::Never, 1, true, None, None, None, "not kept"),
        (HeadThreshold::Never, R, false, None, None, None, "nothing to tell"),
        (HeadThreshold::Known(th("4")), R, true, None, None, at("8"), "the head's is not the caller's"),
        (HeadThreshold::Known(th("4")), 0x50 << 48, true, None, None, None, "kept by the head alone"),
        (HeadThreshold::Known(th("4")), R, false, None, None, None, "sampled, but plain"),
        (HeadThreshold::Unknown, R, true, None, None, at("8"), "the error's is known all the same"),
        (HeadThreshold::Never, R, false, at("9"), None, at("9"), "handed on"),
        (HeadThreshold::Never, R, false, Some(Kept::Unknown), Some("f"), Some(Kept::Unknown), "as little known"),
    ];
    for (threshold, r, failed, below, tau, expected, why) in table {
        let decision = revise(&policy(STRATA), &head(*threshold, *r), *failed, &outcome(false), *below);
        assert_eq!(decision.promise(*r, tau.map(th)), *expected, "{why}");
    }
}
