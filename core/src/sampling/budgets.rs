//! The budgets of all caps of a configuration: one for each policy and class. Both directions of a proxy share them.

use crate::id::TraceId;
use crate::sampling::budget::Budget;
use crate::sampling::path_cap::{Class, PathCap};
use crate::sampling::rules::Policy;
use crate::sampling::threshold::Threshold;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The budgets, by the number of the policy and the class; `None` where nothing is capped.
///
/// The lock is tried, never waited for: whoever does not get it applies no cap of its own and counts nothing. In a VM of one
/// thread it is always free.
pub struct Budgets {
    policies: Mutex<Vec<[Option<Budget>; 3]>>,
    /// A budget may be overdrawn. As long as none is, requests ask neither for the lock nor for the time.
    may_bind: AtomicBool,
}

// === impl Budgets ===

impl Budgets {
    /// Full budgets.
    pub fn new<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let budgets = |policy: &Policy| Class::ALL.map(|class| policy.max_per_second(class).map(Budget::new));
        Self { policies: Mutex::new(policies.map(budgets).collect()), may_bind: AtomicBool::new(false) }
    }

    /// Whether [`Self::raise`] could change something.
    pub fn may_bind(&self) -> bool {
        self.may_bind.load(Relaxed)
    }

    /// Raises the thresholds of a path to those of this policy, for a request that comes in now.
    pub fn raise(&self, policy: usize, path: &mut PathCap, now_ns: u64) {
        let Ok(mut policies) = self.policies.try_lock() else { return };
        let mut overdrawn = false;
        for (number, budgets) in policies.iter_mut().enumerate() {
            for (class, budget) in Class::ALL.into_iter().zip(budgets) {
                let Some(budget) = budget else { continue };
                let threshold = budget.threshold(now_ns);
                overdrawn |= budget.is_overdrawn();
                if number == policy {
                    path.raise(class, threshold);
                }
            }
        }
        self.may_bind.store(overdrawn, Relaxed);
    }

    /// Counts a trace ([`Budget::count`]), and returns the threshold of its budget afterwards.
    pub fn count(
        &self,
        (policy, class): (usize, Class),
        trace_id: TraceId,
        callers: Threshold,
        now_ns: u64,
    ) -> Threshold {
        let Ok(mut policies) = self.policies.try_lock() else { return Threshold::ALWAYS };
        let budget = policies.get_mut(policy).and_then(|budgets| budgets.get_mut(class as usize)?.as_mut());
        let Some(budget) = budget else { return Threshold::ALWAYS };
        budget.count(now_ns, trace_id, callers);
        if budget.is_overdrawn() {
            self.may_bind.store(true, Relaxed);
        }
        budget.threshold(now_ns)
    }
}
