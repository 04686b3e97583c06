//! Decisions: at the request, and revised at the end.
//!
//! There is one sampling stage with a conditional threshold. A request falls into strata by facts that do not depend on
//! the trace's randomness R (it failed, it was slow, an error below it was kept, the caller asked for debugging), and it is
//! exported iff R ≥ T, T being the smallest threshold of its strata, the head's among them. So the exported span's
//! `ot=th:T` is its true inclusion probability, and counts made from spans stay exact although errors are over-sampled.

pub mod budget;
pub mod keep;
pub mod limit;
pub mod outcome;
pub mod path_cap;
pub mod rules;
pub mod threshold;

use crate::config::Parent;
use crate::context::Sampled;
use crate::id::TraceId;
use crate::sampling::keep::Kept;
use crate::sampling::outcome::Outcome;
use crate::sampling::rules::Policy;
use crate::sampling::threshold::{OtelState, Threshold};

/// What came in, of which sampling is concerned.
#[derive(Clone, Copy, Debug)]
pub struct ParentState<'a> {
    /// The caller's state.
    pub sampled: Sampled,
    /// The `ot` member of `tracestate`.
    pub ot: Option<&'a [u8]>,
}

/// The decision at the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What is sent: never `Defer`.
    pub sampled: Sampled,
    /// The threshold that was applied.
    pub threshold: HeadThreshold,
    /// R: `rv` if the trace has one, else the last 56 bits of its id.
    pub randomness: u64,
    /// What is to happen to the `ot` member of `tracestate`.
    pub ot: OtChange,
    /// `Head` or `Parent`; `Debug` if the caller asked for it.
    pub reason: Reason,
}

/// The threshold of a head decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadThreshold {
    /// Sampled iff R is not below it.
    Known(Threshold),
    /// Sampled by a parent that did not say with which probability.
    Unknown,
    /// Not sampled, whatever R is.
    Never,
}

/// What is to happen to the `ot` member of `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtChange {
    /// Stays as it came.
    Keep,
    /// Gets this value.
    Set(Vec<u8>),
    /// Goes.
    Remove,
}

/// Why a span is kept: the value of `sidespan.sampling.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By our own rate.
    Head,
    /// By the caller's decision.
    Parent,
    /// It failed.
    Error,
    /// It was slow.
    Slow,
    /// An error below it was kept.
    Marked,
    /// The caller asked for debugging.
    Debug,
}

/// The decision at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Whether the span is exported (a cap may still take it).
    pub keep: bool,
    /// Its stratum.
    pub reason: Reason,
    /// The stratum's threshold; `None` where the inclusion probability is unknown.
    pub threshold: Option<Threshold>,
    /// The cap that counts it; `None` for the head's own.
    pub cap: Option<Cap>,
    /// What the late strata alone keep it with, the head's threshold aside.
    pub late: Option<Kept>,
}

/// The two caps of late keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// `errors.maxPerSecond`: errors and what is marked for them.
    Errors,
    /// `slow.maxPerSecond`.
    Slow,
}

// === impl Reason ===

impl Reason {
    /// The word on the span.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Parent => "parent",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Marked => "marked",
            Self::Debug => "debug",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// What our callers may count on, in a signal or a mark: that this span is kept late, with which threshold. `last_tau` is
    /// τ of its cap's last window. `None`: nothing to tell.
    ///
    /// The head's threshold is no part of it: it may be another one at the caller, and a signal is not sent for its sake.
    /// For a request that the head sampled it is told all the same: its callers are in the stratum `marked` whatever R is.
    pub fn promise(&self, randomness: u64, last_tau: Option<Threshold>) -> Option<Kept> {
        let kept = match (self.late.filter(|_| self.keep)?, last_tau) {
            (Kept::At(threshold), Some(tau)) => Kept::At(threshold.max(tau)),
            (kept, _) => kept,
        };
        kept.includes(randomness).then_some(kept)
    }
}

// === impl HeadThreshold ===

impl HeadThreshold {
    /// Whether the head decision samples a trace of randomness `r`.
    pub fn samples(self, r: u64) -> bool {
        match self {
            Self::Known(threshold) => threshold.samples(r),
            Self::Unknown => true,
            Self::Never => false,
        }
    }
}

/// Decides at the request. A parent's decision stands unless the policy says otherwise; without one the policy's rate applies.
pub fn decide(policy: &Policy, trace_id: TraceId, parent: Option<&ParentState<'_>>) -> Head {
    let ot = parent.and_then(|parent| parent.ot).map(OtelState::parse).unwrap_or_default();
    let randomness = ot.rv().unwrap_or_else(|| trace_id.randomness());
    let state = parent.map_or(Sampled::Defer, |parent| parent.sampled);
    match state.decision() {
        Some(sampled) if policy.parent == Parent::Respect || state == Sampled::Debug => {
            of_parent(state, sampled, &ot, randomness)
        }
        _ => of_rate(policy, &ot, randomness),
    }
}

/// "If the sampled flag disagrees with R ≥ th, erase th" (tracestate-probability-sampling, "Consistency"); else it stays.
fn of_parent(state: Sampled, sampled: bool, ot: &OtelState<'_>, randomness: u64) -> Head {
    let consistent = ot.th().filter(|th| th.samples(randomness) == sampled);
    let threshold = match consistent {
        _ if !sampled => HeadThreshold::Never,
        // Whoever asks for debugging gets it, whatever R is.
        _ if state == Sampled::Debug => HeadThreshold::Known(Threshold::ALWAYS),
        Some(th) => HeadThreshold::Known(th),
        None => HeadThreshold::Unknown,
    };
    let change = if ot.has_threshold() && consistent.is_none() { ot_change(ot, None) } else { OtChange::Keep };
    let reason = if state == Sampled::Debug { Reason::Debug } else { Reason::Parent };
    Head { sampled: state, threshold, randomness, ot: change, reason }
}

/// `th` says what was applied, and only of what is sampled.
fn of_rate(policy: &Policy, ot: &OtelState<'_>, randomness: u64) -> Head {
    let applied = policy.head.filter(|threshold| threshold.samples(randomness));
    let ot = if applied.is_some() || ot.has_threshold() { ot_change(ot, applied) } else { OtChange::Keep };
    Head {
        sampled: if applied.is_some() { Sampled::Accept } else { Sampled::Deny },
        threshold: policy.head.map_or(HeadThreshold::Never, HeadThreshold::Known),
        randomness,
        ot,
        reason: Reason::Head,
    }
}

fn ot_change(ot: &OtelState<'_>, threshold: Option<Threshold>) -> OtChange {
    ot.with_threshold(threshold).map_or(OtChange::Remove, OtChange::Set)
}

/// Decides at the end (or so far, with an outcome so far): `below` is what is known of errors kept below this request.
pub fn revise(policy: &Policy, head: &Head, failed: bool, outcome: &Outcome, below: Option<Kept>) -> Verdict {
    let slow = policy.slow.as_ref().filter(|slow| slow.is_slow(outcome));
    let strata = [
        (Reason::Error, policy.errors.threshold.filter(|_| failed).map(Kept::At), Cap::Errors),
        (Reason::Marked, below, Cap::Errors),
        (Reason::Slow, slow.and_then(|slow| slow.threshold).map(Kept::At), Cap::Slow),
    ];
    let r = head.randomness;
    let members = strata.iter().filter_map(|(reason, kept, cap)| kept.map(|kept| (*reason, kept, *cap)));
    // Which cap counts it must not depend on R, or the two caps together would keep it with a probability that is neither's.
    // The least threshold does not: a mark that R hides from us (R below its threshold) could not have kept anything.
    let late = members.clone().min_by_key(|(_, kept, _)| kept.rank());
    let cap = late.filter(|(_, kept, _)| kept.includes(r)).map(|(_, _, cap)| cap);
    let reason = members.clone().find(|(_, kept, _)| kept.includes(r)).map_or(head.reason, |(reason, _, _)| reason);
    let late = late.map(|(_, kept, _)| kept);
    Verdict {
        keep: !policy.drop && (cap.is_some() || head.threshold.samples(r)),
        reason,
        threshold: smallest(late, head.threshold),
        cap,
        late,
    }
}

/// The threshold of the union of all strata that a request belongs to; `None` as soon as an unknown one could matter.
fn smallest(late: Option<Kept>, head: HeadThreshold) -> Option<Threshold> {
    let head = match head {
        HeadThreshold::Known(threshold) => Some(Kept::At(threshold)),
        HeadThreshold::Unknown => Some(Kept::Unknown),
        HeadThreshold::Never => None,
    };
    match late.into_iter().chain(head).reduce(Kept::or)? {
        Kept::At(threshold) => Some(threshold),
        Kept::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
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
        let config: config::Sampling = serde_json::from_str(json).expect("valid");
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
            let verdict = revise(&policy(STRATA), &head(*threshold, *r), *failed, &outcome(*slow), *below);
            let found = (verdict.keep, verdict.reason, verdict.threshold.map(|t| t.to_string()), verdict.cap);
            let expected = (*keep, *reason, expected.map(str::to_owned), *cap);
            assert_eq!(found, expected, "{threshold:?} {r:x} failed {failed} slow {slow} below {below:?}");
        }
    }

    #[test]
    fn an_error_carries_its_own_threshold_whatever_the_head_said() {
        let policy = head_rate(1.0, "respect");
        for r in [1, R, (1 << 56) - 1] {
            let head = decide(&policy, trace(r), None);
            let verdict = revise(&policy, &head, true, &outcome(false), None);
            let found = (verdict.keep, verdict.reason, verdict.threshold, verdict.cap);
            assert_eq!(found, (true, Reason::Error, Some(Threshold::ALWAYS), Some(Cap::Errors)), "{r:x}");
        }
    }

    #[test]
    fn which_cap_counts_a_request_does_not_depend_on_its_randomness() {
        // Slow at 100 %, errors at 50 %: whoever is both is counted as slow, below R and above.
        let both = policy(r#"{"errors": {"percentage": 50}, "slow": {"threshold": "1s"}}"#);
        for r in [1, R] {
            let verdict = revise(&both, &head(HeadThreshold::Never, r), true, &outcome(true), None);
            assert_eq!(
                (verdict.keep, verdict.cap, verdict.threshold),
                (true, Some(Cap::Slow), Some(Threshold::ALWAYS))
            );
        }
        // A mark is only seen if R is not below its threshold; then it may not change the cap of what was kept anyway.
        let mark = Some(Kept::At(th(HALF)));
        for (r, below) in [(1, None), (R, mark)] {
            let verdict = revise(&both, &head(HeadThreshold::Never, r), false, &outcome(true), below);
            assert_eq!((verdict.cap, verdict.threshold), (Some(Cap::Slow), Some(Threshold::ALWAYS)), "{r:x}");
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
            let verdict = revise(&policy(STRATA), &debug, failed, &outcome(false), below);
            assert_eq!((verdict.keep, verdict.threshold), (true, Some(Threshold::ALWAYS)), "{failed} {below:?}");
        }
        let dropped = policy(r#"{"rules": [{"name": "d", "drop": true}]}"#);
        let verdict = revise(&dropped, &head(HeadThreshold::Unknown, R), true, &outcome(false), Some(Kept::Unknown));
        assert_eq!((verdict.keep, verdict.promise(R, None)), (false, None));
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
            let verdict = revise(&policy(STRATA), &head(*threshold, *r), *failed, &outcome(false), *below);
            assert_eq!(verdict.promise(*r, tau.map(th)), *expected, "{why}");
        }
    }
}
