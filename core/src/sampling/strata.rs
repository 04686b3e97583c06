//! The strata that a request belongs to besides the head's, each with its threshold and the cap that counts it.

use crate::sampling::late_keep::{Below, Kept};
use crate::sampling::outcome::Outcome;
use crate::sampling::path_cap::{Class, PathCap};
use crate::sampling::reason::Reason;
use crate::sampling::rules::Policy;
use crate::sampling::threshold::Threshold;

/// Which late strata a request belongs to (so far, with an outcome so far), by facts that do not depend on R.
#[derive(Clone, Copy, Debug)]
pub struct Strata {
    error: Option<Threshold>,
    below: Option<Below>,
    cancelled: Option<Threshold>,
    slow: Option<Threshold>,
}

/// A stratum that a request belongs to.
pub(super) struct Member {
    pub(super) reason: Reason,
    /// With which threshold it keeps.
    pub(super) kept: Kept,
    /// Whether it keeps this request.
    pub(super) keeps: bool,
}

// === impl Strata ===

impl Strata {
    /// `below` is what is known of errors kept below this request.
    pub fn new(policy: &Policy, failed: bool, outcome: &Outcome, below: Option<Below>) -> Self {
        let slow = policy.slow.as_ref().filter(|slow| slow.is_slow(outcome));
        Self {
            error: policy.errors.threshold.filter(|_| failed),
            below,
            cancelled: policy.cancelled.threshold.filter(|_| !failed && outcome.is_cancelled()),
            slow: slow.and_then(|slow| slow.threshold),
        }
    }

    /// The request belongs to none of them: nothing but the head can keep it.
    pub fn is_empty(&self) -> bool {
        self.below.is_none() && self.error.is_none() && self.cancelled.is_none() && self.slow.is_none()
    }

    /// The caps that count the request: those of its strata that keep R, whatever the caps do. So a count does not depend on
    /// the cap's threshold.
    pub fn counted(&self, r: u64) -> impl Iterator<Item = Class> {
        let samples = move |threshold: Option<Threshold>| threshold.is_some_and(|threshold| threshold.samples(r));
        let classes = [
            (Class::Errors, samples(self.error) || self.below.is_some_and(|below| below.counts(r))),
            (Class::Cancelled, samples(self.cancelled)),
            (Class::Slow, samples(self.slow)),
        ];
        classes.into_iter().filter(|(_, counts)| *counts).map(|(class, _)| class)
    }

    /// Something below has told its cap, so the failing hop has tightened it where that was necessary.
    pub fn is_told(&self) -> bool {
        self.below.is_some()
    }

    /// The request's strata under these caps, and whether they keep R; the order is that of the reasons.
    pub(super) fn members(&self, r: u64, cap: &PathCap) -> impl Iterator<Item = Member> {
        let errors = self.error_cap(cap);
        let strata = [
            (Reason::Error, self.error.map(Kept::At), errors),
            (Reason::Marked, self.below.map(|below| below.kept), errors),
            (Reason::Cancelled, self.cancelled.map(Kept::At), cap.of(Class::Cancelled)),
            (Reason::Slow, self.slow.map(Kept::At), cap.of(Class::Slow)),
        ];
        strata.into_iter().filter_map(move |(reason, kept, cap)| {
            let kept = kept?;
            Some(Member { reason, kept: kept.under(cap), keeps: kept.includes(r) && cap.samples(r) })
        })
    }

    /// What callers may count on, in a signal or a mark: that this span is kept late, with which threshold, or that it would be
    /// but for a cap, which callers then apply too. `None`: nothing to tell. A cancellation is not told: every caller sees it.
    ///
    /// The head's threshold is no part of it: it may be another one at the caller, and a signal is not sent for its sake.
    /// For a request that the head sampled it is told all the same: its callers are in the stratum `marked` whatever R is.
    pub fn promise(&self, r: u64, cap: &PathCap) -> Option<Below> {
        let told = || self.members(r, cap).filter(|member| member.reason != Reason::Cancelled);
        let kept = told().map(|member| member.kept).reduce(Kept::or)?;
        let errors = self.error.is_some() || self.below.is_some();
        let cap = if errors { self.error_cap(cap) } else { Threshold::ALWAYS };
        let failing = self.counted(r).any(|class| class == Class::Errors);
        (failing || told().any(|member| member.keeps)).then_some(Below { kept, cap })
    }

    /// The largest threshold that is known of the path: our callers', our own, our callees'.
    fn error_cap(&self, cap: &PathCap) -> Threshold {
        cap.get(Class::Errors).max(self.below.map_or(Threshold::ALWAYS, |below| below.cap))
    }
}
