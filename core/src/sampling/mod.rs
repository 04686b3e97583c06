//! The two sampling decisions: at the request headers (head), and revised at the end.
//!
//! There is one sampling stage with a conditional threshold. A request falls into strata by facts that do not depend on
//! the trace's randomness R (it failed, it was slow, an error below it was kept, the caller asked for debugging), and it is
//! exported iff R ≥ T, T being the smallest threshold of its strata, the head's among them. So the exported span's
//! `ot=th:T` is its true inclusion probability, and counts made from spans stay exact although errors are over-sampled.

pub mod budget;
pub mod budgets;
mod final_decision;
mod head;
pub mod late_keep;
pub mod outcome;
pub mod path_cap;
mod reason;
pub mod request_cap;
pub mod response_flags;
pub mod rules;
mod strata;
#[cfg(test)]
mod tests;
pub mod threshold;

pub use self::final_decision::{FinalDecision, revise};
pub use self::head::{Head, HeadThreshold, OtChange, ParentState, beside_native, decide, set_threshold};
pub use self::reason::Reason;
pub use self::strata::Strata;
