//! What a root context shares with its streams, one callback at a time.

use crate::attributes::Live;
use crate::entropy::Pool;
use crate::envoy::Envoy;
use crate::expressions::Expressions;
use sidespan_core::config::Direction;
use sidespan_core::export::Stats;
use sidespan_core::id::Entropy;
use sidespan_core::span::attributes::{Attributes, int, path};
use sidespan_core::stream::{Finished, Plan};
use sidespan_core::tracer::Tracer;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A configuration in force, for streams.
pub(crate) struct Shared {
    /// What does not depend on a request.
    pub plan: Arc<Plan>,
    /// All attributes of a span in one host call.
    pub expressions: Expressions,
    tracer: Rc<RefCell<Tracer>>,
    entropy: RefCell<Pool>,
    /// All streams of this root context come through listeners of one direction.
    one_direction: bool,
    direction: Cell<Option<Direction>>,
}

impl Shared {
    /// Compiles the expressions of a plan.
    pub(crate) fn new(plan: &Arc<Plan>, tracer: &Rc<RefCell<Tracer>>, entropy: Pool) -> Self {
        Self {
            plan: Arc::clone(plan),
            expressions: Expressions::new(plan.identity().istio),
            tracer: Rc::clone(tracer),
            entropy: RefCell::new(entropy),
            one_direction: has_root_per_direction(&Live::default()),
            direction: Cell::new(None),
        }
    }

    /// The direction of the listener of this stream.
    pub(crate) fn direction(&self, attributes: &dyn Attributes) -> Direction {
        if let Some(known) = self.direction.get() {
            return known;
        }
        let listener = attributes.get(path::LISTENER_DIRECTION).as_deref().and_then(int);
        let direction = self.plan.direction(listener);
        if self.one_direction && listener.is_some() {
            self.direction.set(Some(direction));
        }
        direction
    }

    /// For the beginning of a stream.
    pub(crate) fn with_entropy<T>(&self, run: impl FnOnce(&mut dyn Entropy, &mut Stats) -> T) -> Option<T> {
        let mut entropy = self.entropy.try_borrow_mut().ok()?;
        self.with_stats(|stats| run(&mut *entropy, stats))
    }

    /// For what a stream does later. `None` if a callback runs inside of another one, which Envoy does not do.
    pub(crate) fn with_stats<T>(&self, run: impl FnOnce(&mut Stats) -> T) -> Option<T> {
        self.tracer.try_borrow_mut().ok().map(|mut tracer| run(tracer.stats()))
    }

    /// Takes a span that is kept.
    pub(crate) fn record(&self, finished: Finished) {
        if let Ok(mut tracer) = self.tracer.try_borrow_mut() {
            tracer.record(finished, &Envoy);
        }
    }
}

/// Up to Envoy 1.39 the key of a root context contains the listener's direction (`source/extensions/common/wasm/plugin.h`), so
/// the direction of the first stream is that of all. Since 1.40 listeners of both directions share a root context. An unknown
/// version is taken as a new one.
fn has_root_per_direction(attributes: &dyn Attributes) -> bool {
    let version = |part: &str| {
        let path = format!("xds\0node\0user_agent_build_version\0version\0{part}");
        attributes.get(path.as_bytes()).as_deref().and_then(int)
    };
    matches!((version("major_number"), version("minor_number")), (Some(1), Some(..40)))
}
