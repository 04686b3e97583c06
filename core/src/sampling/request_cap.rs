//! The caps of one request: what its callers told, what it tells its callees, and that it counts once.

use crate::id::TraceId;
use crate::sampling::budget;
use crate::sampling::budgets::Budgets;
use crate::sampling::path_cap::{Class, PathCap};
use crate::sampling::rules::Policy;
use crate::sampling::strata::Strata;

/// What the caps do to a request, fixed when it comes in.
#[derive(Clone, Copy, Debug)]
pub struct RequestCap {
    callers: PathCap,
    path: PathCap,
    /// Callees are not told, and apply their own caps.
    upwards_only: bool,
    /// By class.
    counted: [bool; 3],
}

/// Where callees are not told, what they kept is kept up to this many times the own cap.
const LENIENCE: u64 = 4;

// === impl RequestCap ===

impl RequestCap {
    /// `callers` is what came with the request, `path` the same, raised by the own budgets.
    pub fn new(callers: PathCap, path: PathCap) -> Self {
        Self { callers, path, upwards_only: false, counted: [false; 3] }
    }

    /// The same where callees are told nothing.
    pub fn upwards_only(callers: PathCap, path: PathCap) -> Self {
        Self { upwards_only: true, ..Self::new(callers, path) }
    }

    /// The thresholds that apply to a request of these strata.
    ///
    /// Where callees are told nothing, the hop that sees most errors has the largest threshold, and would lose its span of paths
    /// that all others keep. So what a callee has told applies instead of the own one, unless that is [`LENIENCE`] times as tight.
    /// All of them are fixed before the outcome, so that counts stay unbiased.
    pub fn path(&self, strata: &Strata) -> PathCap {
        let own = self.path.get(Class::Errors);
        match strata.told_cap().filter(|_| self.upwards_only) {
            Some(told) if !budget::is_tighter(own, told, LENIENCE) => {
                let mut path = self.path.without(Class::Errors);
                path.raise(Class::Errors, told.max(self.callers.get(Class::Errors)));
                path
            }
            _ => self.path,
        }
    }

    /// Counts the request in the budgets of its strata, each once, and makes its cap tighter where the budget has become much
    /// tighter since it came in. Returns how often that was so. `now` is asked for the time only if there is something to count.
    ///
    /// Who has heard of an error below makes nothing tighter: the failing hop has done so and told it.
    pub fn count(
        &mut self,
        (number, policy): (usize, &Policy),
        (trace_id, randomness): (TraceId, u64),
        strata: &Strata,
        budgets: &Budgets,
        now: &dyn Fn() -> u64,
    ) -> u64 {
        let mut tightened = 0_u64;
        for class in strata.counted(randomness).filter(|class| policy.max_per_second(*class).is_some()) {
            let Some(counted) = self.counted.get_mut(class as usize) else { continue };
            if std::mem::replace(counted, true) {
                continue;
            }
            let own = budgets.count((number, class), trace_id, self.callers.of(class), now());
            if budget::is_much_tighter(own, self.path.of(class)) && !(class == Class::Errors && strata.is_told()) {
                self.path.raise(class, own);
                tightened = tightened.saturating_add(1);
            }
        }
        tightened
    }
}
