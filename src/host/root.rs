//! The root context: configuration in, exports out, once per worker and listener direction.

use super::abi::{self, Buffer, Map};
use super::entropy::Pool;
use super::metrics::Metrics;
use super::shared::{self, SharedMarks};
use super::stream::HttpStream;
use crate::config::{self, Config, Direction, Problem};
use crate::export::stats::{Counter, Stats};
use crate::export::{DispatchError, Level, Reply};
use crate::filter::{Finished, Plan, World};
use crate::id::Entropy;
use crate::propagation::headers::decode_pairs;
use crate::recorder::Recorder;
use crate::span::attributes::{self, Attributes, LISTENER_DIRECTION};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How long an old root may go on delivering after its last stream has gone.
const DRAIN: Duration = Duration::from_secs(5);
/// How soon a batch that is full leaves.
const SOON: Duration = Duration::from_millis(10);
/// How often a configuration that could not be used is reported to the metrics.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// One root context.
pub struct Root {
    active: Option<Rc<Active>>,
    metrics: Metrics,
    /// Counts while there is no usable configuration.
    stats: Stats,
    draining: bool,
}

/// A configuration in force: what streams share with their root.
pub struct Active {
    /// Everything resolved from the configuration.
    pub plan: Plan,
    recorder: RefCell<Recorder>,
    entropy: RefCell<Pool>,
    tick: Cell<Duration>,
    announced: Cell<bool>,
}
