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
    /// By class.
    counted: [bool; 3],
}

// === impl RequestCap ===

impl RequestCap {
    /// `callers` is what came with the request, `path` the same, raised by the own budgets.
    pub fn new(callers: PathCap, path: PathCap) -> Self {
        Self { callers, path, counted: [false; 3] }
    }

    /// The thresholds that apply.
    pub fn path(&self) -> &PathCap {
        &self.path
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
