//! The decision at the end of the request, or so far.

use crate::sampling::head::{Head, HeadThreshold};
use crate::sampling::late_keep::Kept;
use crate::sampling::path_cap::PathCap;
use crate::sampling::reason::Reason;
use crate::sampling::rules::Policy;
use crate::sampling::strata::Strata;
use crate::sampling::threshold::Threshold;

/// The decision at the end of the request (or so far, with what is known so far).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalDecision {
    /// Whether the span is kept.
    pub keep: bool,
    /// Its stratum.
    pub reason: Reason,
    /// With which threshold it is kept; `None` where the inclusion probability is unknown.
    pub threshold: Option<Threshold>,
    /// It would be kept but for a cap.
    pub capped: bool,
}

/// Decides at the end (or so far). `cap` is what the caps of the path apply.
///
/// A request of several strata is kept by any of them, so with the smallest threshold, the head's among them.
pub fn revise(policy: &Policy, head: &Head, strata: &Strata, cap: &PathCap) -> FinalDecision {
    let r = head.randomness;
    let reason = strata.members(r, cap).find(|member| member.keeps).map(|member| member.reason);
    let keep = !policy.drop && (reason.is_some() || head.threshold.samples(r));
    FinalDecision {
        keep,
        reason: reason.unwrap_or(head.reason),
        threshold: smallest(strata.members(r, cap).map(|member| member.kept).reduce(Kept::or), head.threshold),
        capped: !keep && !policy.drop && strata.counted(r).next().is_some(),
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
