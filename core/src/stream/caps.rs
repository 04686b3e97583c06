//! The caps of a request: what callers told, what callees are told, and what the request costs the budgets.

use super::host::StreamHost;
use super::state::{Recording, Stream};
use crate::export::{Counter, Stats};
use crate::sampling::Strata;
use crate::sampling::path_cap::PathCap;
use crate::sampling::request_cap::RequestCap;

impl Stream {
    /// Fixes the thresholds that caps apply to this request, and tells them to callees. A request that no cap binds costs
    /// neither the time nor a change of `tracestate`.
    pub(super) fn apply_caps(&mut self, policy: usize, host: &dyn StreamHost, stats: &mut Stats) -> RequestCap {
        let told = PathCap::read(&self.trace_state);
        let callers = self.believed(told, host, stats);
        let mut path = callers;
        let budgets = self.plan.budgets();
        if budgets.may_bind() {
            budgets.raise(policy, &mut path, host.now_ns());
        }
        // Nearly every request: what the member says stays true, so the list is not searched again.
        if told != Some(path) {
            path.write(&mut self.trace_state);
        }
        match self.native {
            Some(_) => RequestCap::upwards_only(callers, path),
            None => RequestCap::new(callers, path),
        }
    }

    /// What the callers told ([`PathCap::read`]), if they are believed: whoever may see a keep signal. A client outside the mesh
    /// could hide its errors behind a cap of its own.
    fn believed(&self, told: Option<PathCap>, host: &dyn StreamHost, stats: &mut Stats) -> PathCap {
        match told {
            Some(PathCap::NONE) => PathCap::NONE,
            Some(callers) if self.answers_caller(host.attributes()) => {
                stats.count(Counter::CapsReceived);
                callers
            }
            Some(_) => PathCap::NONE,
            None => {
                stats.count(Counter::CapsMalformed);
                PathCap::NONE
            }
        }
    }

    /// Counts the request in the budgets of its strata, once.
    pub(super) fn count(&mut self, strata: &Strata, host: &dyn StreamHost, stats: &mut Stats) {
        let Recording::On(sampling) = &mut self.recording else { return };
        let policy = (sampling.policy, self.plan.policy(sampling.policy));
        let trace = (self.trace_id, sampling.head.randomness);
        let late = sampling.cap.count(policy, trace, strata, self.plan.budgets(), &|| host.now_ns());
        stats.add(Counter::CapsTightened, late);
    }
}
