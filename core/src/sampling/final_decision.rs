//! The decision at the end of the request, or so far.

use crate::sampling::head::{Head, HeadThreshold};
use crate::sampling::late_keep::Kept;
use crate::sampling::outcome::Outcome;
use crate::sampling::reason::{Cap, Reason};
use crate::sampling::rules::Policy;
use crate::sampling::threshold::Threshold;

/// The decision at the end of the request (or so far, with what is known so far).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalDecision {
    /// Whether the span is kept. A cap may still remove it.
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

// === impl FinalDecision ===

impl FinalDecision {
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

/// Decides at the end (or so far, with an outcome so far): `below` is what is known of errors kept below this request.
pub fn revise(policy: &Policy, head: &Head, failed: bool, outcome: &Outcome, below: Option<Kept>) -> FinalDecision {
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
    FinalDecision {
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
