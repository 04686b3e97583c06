//! Draft, outcome and attributes → span.

use crate::sampling::outcome::Outcome;
use crate::span::limits::Collector;
use crate::span::{Attributes, Draft, Identity, Ids, Recipe, Span, Status};

/// Makes the span of a request that has ended. `times` are start and end in nanoseconds since the epoch; `reason` is the
/// stratum that kept it.
#[allow(clippy::too_many_arguments)]
pub fn build(
    recipe: &Recipe,
    _identity: &Identity,
    draft: &Draft,
    ids: Ids,
    _outcome: &Outcome,
    _attributes: &dyn Attributes,
    times: (u64, u64),
    reason: &'static str,
) -> Span {
    let mut all = Collector::new(recipe.limits);
    all.set("sidespan.sampling.reason", reason);
    let (attributes, dropped_attributes) = all.finish();
    Span {
        trace_id: ids.trace_id,
        span_id: ids.span_id,
        parent: ids.parent,
        flags: ids.flags,
        name: String::from_utf8_lossy(draft.method()).into_owned(),
        kind: draft.kind(),
        start_ns: times.0,
        end_ns: times.1.max(times.0),
        attributes,
        dropped_attributes,
        links: ids.links,
        status: Status::Unset,
    }
}
