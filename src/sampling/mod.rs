//! Decisions: at the request, and revised at the end.
//!
//! There is one sampling stage with a conditional threshold. A request falls into strata by facts that do not depend on
//! the trace's randomness R (it failed, it was slow, an error below it was kept, the caller asked for debugging), and it is
//! exported iff R ≥ T, T being the smallest threshold of its strata, the head's among them. So the exported span's
//! `ot=th:T` is its true inclusion probability, and counts made from spans stay exact although errors are over-sampled.

pub mod keep;
pub mod limit;
pub mod outcome;
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
