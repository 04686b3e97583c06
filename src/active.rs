//! A configuration in force: what a root context shares with its streams.

use crate::abi;
use crate::attributes::Live;
use crate::entropy::Pool;
use crate::expressions::Expressions;
use crate::root;
use crate::shared::SharedMarks;
use sidespan_core::config::{Config, Direction};
use sidespan_core::export::{Reply, Stats};
use sidespan_core::filter::{Finished, Plan, World};
use sidespan_core::id::Entropy;
use sidespan_core::recorder::Recorder;
use sidespan_core::span::attributes::{Attributes, int, path};
use sidespan_core::span::{Environment, Identity};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How soon a full batch leaves.
const SOON: Duration = Duration::from_millis(5);
/// The tick of a configuration without an exporter: metrics only.
const METRICS_TICK: Duration = Duration::from_secs(5);

/// Borrowed by the root and by its streams, one callback at a time.
pub struct Active {
    /// Everything resolved from the configuration.
    pub plan: Plan,
    /// Attributes in one go.
    pub expressions: Expressions,
    /// Whether all streams of this root context come through listeners of the same direction.
    one_direction: bool,
    direction: Cell<Option<Direction>>,
    recorder: RefCell<Recorder>,
    entropy: RefCell<Pool>,
    /// The timer runs faster than usual.
    hurried: Cell<bool>,
    warned: Cell<bool>,
}

impl Active {
    /// Compiles everything that does not depend on a request.
    pub fn new(config: Config, environment: &Environment, identity: Identity) -> Self {
        let mut entropy = Pool::new();
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let plan = Plan::new(config, environment, identity);
        let recorder =
            Recorder::new(plan.config(), plan.sampler(), &plan.identity().resource, u64::from_le_bytes(seed));
        Self {
            expressions: Expressions::new(plan.identity().istio),
            one_direction: has_root_per_direction(&Live::default()),
            direction: Cell::new(None),
            plan,
            recorder: RefCell::new(recorder),
            entropy: RefCell::new(entropy),
            hurried: Cell::new(false),
            warned: Cell::new(false),
        }
    }

    /// One line for the log: who we are and where spans go.
    pub fn summary(&self) -> String {
        let workload = &self.plan.identity().workload;
        let rate = self.plan.config().sampling.random_sampling_percentage;
        let to = self.with_recorder(|recorder| recorder.exporter().map(|exporter| exporter.cluster().to_owned()));
        let to = to
            .flatten()
            .map_or("propagating only, no exporter".to_owned(), |cluster| format!("exporting to {cluster}"));
        let policies = self.plan.sampler().len();
        format!("for {}/{}: {to}; head rate {rate} %, {policies} policies", workload.namespace, workload.name)
    }

    /// The ordinary period of the timer.
    pub fn tick(&self) -> Duration {
        let exporter = self.plan.config().exporter.as_ref();
        exporter.map_or(METRICS_TICK, |exporter| exporter.batch.delay.0)
    }

    /// Which side of the workload this stream's listener serves.
    pub fn direction(&self, attributes: &dyn Attributes) -> Direction {
        if let Some(known) = self.direction.get() {
            return known;
        }
        let listener = attributes.get(path::LISTENER_DIRECTION).as_deref().and_then(int);
        let direction = self.plan.direction(|| listener);
        if self.one_direction && listener.is_some() {
            self.direction.set(Some(direction));
        }
        direction
    }

    /// Nothing here is entered twice at a time; if it were, the inner call is left out rather than trapping.
    pub fn with_recorder<T>(&self, run: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        self.recorder.try_borrow_mut().ok().map(|mut recorder| run(&mut recorder))
    }

    /// For the start of a stream.
    pub fn with_entropy<T>(&self, run: impl FnOnce(&mut dyn Entropy, &mut Stats) -> T) -> Option<T> {
        let mut entropy = self.entropy.try_borrow_mut().ok()?;
        self.with_recorder(|recorder| run(&mut *entropy, recorder.stats()))
    }

    /// For what a stream does later.
    pub fn with_world<T>(&self, attributes: &Live<'_>, run: impl FnOnce(&mut World<'_>) -> T) -> Option<T> {
        self.with_recorder(|recorder| {
            let (stats, caps) = recorder.stats_and_caps();
            run(&mut World {
                attributes,
                marks: &mut SharedMarks,
                stats,
                now_ns: &|| abi::now_ns().unwrap_or_default(),
                last_tau: &|policy, cap| caps.last_tau(policy, cap),
            })
        })
    }

    /// Takes a span, and hurries the timer if a batch is full.
    pub fn record(&self, finished: Finished) {
        self.warn_of_overwriting(&finished);
        let now_ns = finished.span.end_ns;
        let soon = self.with_recorder(|recorder| recorder.record(finished, now_ns)).unwrap_or_default();
        if soon && !self.hurried.replace(true) {
            let _ = abi::set_tick_period(SOON);
        }
    }

    /// Back to the ordinary period after a hurried tick.
    pub fn rearm(&self) -> abi::Answer<()> {
        if self.hurried.replace(false) { abi::set_tick_period(self.tick()) } else { Ok(()) }
    }

    /// Sends what is due.
    pub fn export(&self, now_ns: u64, at_once: bool) {
        self.with_recorder(|recorder| {
            recorder.close_window(now_ns, at_once);
            let Some(exporter) = recorder.exporter() else { return };
            while let Some(send) = exporter.poll(now_ns, &mut |plain| abi::foreign_function("compress", plain).ok()) {
                exporter.dispatched(send.id, root::dispatch(&send), now_ns);
            }
            for event in exporter.take_events() {
                log::log!(event.level, "{}", event.text);
            }
        });
    }

    /// The receiver has answered: there may be room for the next call.
    pub fn replied(&self, token: u32, reply: &Reply<'_>) {
        let now_ns = abi::now_ns().unwrap_or_default();
        let known =
            self.with_recorder(|recorder| recorder.exporter().map(|exporter| exporter.reply(token, reply, now_ns)));
        if known.flatten() == Some(true) {
            self.export(now_ns, false);
        }
    }

    /// Everything leaves at once, until the deadline.
    pub fn drain(&self, deadline_ns: u64) {
        self.with_recorder(|recorder| recorder.exporter().map(|exporter| exporter.drain(deadline_ns)));
    }

    /// Whether no span waits for anything.
    pub fn is_idle(&self) -> bool {
        let idle = self.with_recorder(|recorder| recorder.exporter().is_none_or(|exporter| exporter.is_idle()));
        idle.unwrap_or(true)
    }

    fn warn_of_overwriting(&self, finished: &Finished) {
        if finished.overwritten && !self.warned.replace(true) {
            log::warn!(
                "trace headers were changed after this filter wrote them: Envoy's own tracer is on as well. Switch it off with a \
                 Telemetry resource (disableSpanReporting: true), or spans will not link"
            );
        }
    }
}

/// Up to Envoy 1.39 the key of a root context holds the listener's direction (`source/extensions/common/wasm/plugin.h`), so
/// what the first stream reads holds for all; since 1.40 listeners of both directions share one. Unknown versions are new.
fn has_root_per_direction(attributes: &dyn Attributes) -> bool {
    let version = |part: &str| {
        let path = format!("xds\0node\0user_agent_build_version\0version\0{part}");
        attributes.get(path.as_bytes()).as_deref().and_then(int)
    };
    matches!((version("major_number"), version("minor_number")), (Some(1), Some(..40)))
}
