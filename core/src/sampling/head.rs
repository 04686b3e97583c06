//! The decision at the request headers.

use crate::config::Parent;
use crate::context::Sampled;
use crate::id::TraceId;
use crate::propagation::TraceState;
use crate::sampling::reason::Reason;
use crate::sampling::rules::Policy;
use crate::sampling::threshold::{OtelState, Threshold};

/// The part of the caller's context that sampling depends on.
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
    /// How the `ot` member of `tracestate` changes.
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

/// How the `ot` member of `tracestate` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtChange {
    /// Unchanged.
    Keep,
    /// Gets this value.
    Set(Vec<u8>),
    /// Removed.
    Remove,
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

// === impl OtChange ===

impl OtChange {
    /// Makes the change.
    pub fn apply(&self, trace_state: &mut TraceState) {
        match self {
            Self::Keep => {}
            Self::Set(value) => {
                trace_state.set("ot", value);
            }
            Self::Remove => {
                trace_state.remove("ot");
            }
        }
    }
}

/// Gives the `ot` member another threshold; `None` removes the threshold.
pub fn set_threshold(trace_state: &mut TraceState, threshold: Option<Threshold>) {
    let change = ot_change(&OtelState::parse(trace_state.get("ot").unwrap_or_default()), threshold);
    change.apply(trace_state);
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

/// The head decision where Envoy's own tracer samples: nothing is kept by a rate, so that only later strata keep a request, and
/// what asks for debugging. `ot` is that member of `tracestate`.
pub fn beside_native(trace_id: TraceId, ot: Option<&[u8]>, debug: bool) -> Head {
    let randomness = ot.and_then(|ot| OtelState::parse(ot).rv()).unwrap_or_else(|| trace_id.randomness());
    let (sampled, threshold, reason) = match debug {
        true => (Sampled::Debug, HeadThreshold::Known(Threshold::ALWAYS), Reason::Debug),
        false => (Sampled::Deny, HeadThreshold::Never, Reason::Parent),
    };
    Head { sampled, threshold, randomness, ot: OtChange::Keep, reason }
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
    let stays = consistent.is_some() || !ot.has_threshold();
    let change = if stays && !ot.has_malformed_rv() { OtChange::Keep } else { ot_change(ot, consistent) };
    let reason = if state == Sampled::Debug { Reason::Debug } else { Reason::Parent };
    Head { sampled: state, threshold, randomness, ot: change, reason }
}

/// `th` says what was applied, and only of what is sampled.
fn of_rate(policy: &Policy, ot: &OtelState<'_>, randomness: u64) -> Head {
    let applied = policy.head.filter(|threshold| threshold.samples(randomness));
    let changes = applied.is_some() || ot.has_threshold() || ot.has_malformed_rv();
    let ot = if changes { ot_change(ot, applied) } else { OtChange::Keep };
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
