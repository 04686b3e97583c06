//! A tracer of the process: one for each distinct configuration, whatever the number of listeners that have it.
//!
//! Workers read the plan and hand spans over. The tracer itself runs on the main thread only, and is taken out of its place while
//! it runs, so that no lock is held while Envoy is called, and a hook inside of another one finds the place empty.

use crate::calls::Calls;
use crate::handover::{Handover, MAX_SPANS};
use crate::main_thread::MainThread;
use crate::{clock, entropy, guard, node, process};
use sidespan_core::export::{Counter, MetricKind, Stats};
use sidespan_core::otlp::Encoder;
use sidespan_core::pipeline::EncodedSpan;
use sidespan_core::stream::{Finished, Plan};
use sidespan_core::tracer::{Surroundings, Tracer, TracerHost};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const BANNER: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("SIDESPAN_REVISION"),
    " ",
    env!("SIDESPAN_PROFILE"),
    " dynamic module)"
);

/// Spans that wait before the main thread is asked to take them ahead of time, where the batches are larger.
const SOON: usize = MAX_SPANS / 4;

/// One configuration text, and everything that listeners with it share.
pub(crate) struct SharedTracer {
    text: Vec<u8>,
    plan: Option<Arc<Plan>>,
    encoder: Option<Encoder>,
    /// From the workers.
    pub(crate) handover: Handover,
    /// Export calls under way.
    pub(crate) calls: Calls,
    tracer: Mutex<Option<Box<Tracer>>>,
    timer: Timer,
    /// So many spans make the main thread come soon.
    hurry_at: usize,
    hurried: AtomicBool,
    /// Filter configurations of Envoy that use it.
    users: AtomicUsize,
    /// The last of them has ended, and what is left is being delivered.
    draining: AtomicBool,
    drained: AtomicBool,
}

/// When the tracer is to run next, in nanoseconds of [`clock::monotonic_ns`].
#[derive(Default)]
struct Timer {
    period_ns: AtomicU64,
    due_ns: AtomicU64,
}

/// What happens while a configuration is read: there is no call to make and no metric to report yet.
struct Reading<'a>(&'a Timer);

// === impl SharedTracer ===

impl SharedTracer {
    /// Reads a configuration. One that is not usable gives a tracer without a plan, which reports that.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut seed = [0; 8];
        entropy::with(|entropy| entropy.fill(&mut seed));
        let surroundings = Surroundings {
            node: node::of_process(),
            environment: &node::environment(),
            banner: BANNER,
            seed: u64::from_le_bytes(seed),
            shared_plan: None,
        };
        let timer = Timer::default();
        let mut tracer = Box::<Tracer>::default();
        tracer.configure(text, &surroundings, &Reading(&timer));
        let plan = tracer.plan().cloned();
        let batch = plan.as_ref().and_then(|plan| Some(plan.config().exporter.as_ref()?.batch.max_spans));
        let hurry_at = batch.map_or(SOON, |batch| usize::try_from(batch).unwrap_or(SOON));
        Self {
            text: text.to_vec(),
            plan,
            encoder: tracer.encoder().cloned(),
            handover: Handover::new(),
            calls: Calls::default(),
            tracer: Mutex::new(Some(tracer)),
            timer,
            hurry_at: hurry_at.clamp(1, SOON),
            hurried: AtomicBool::new(false),
            users: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            drained: AtomicBool::new(false),
        }
    }

    /// Whether a listener with this text can share it.
    pub(crate) fn serves(&self, text: &[u8]) -> bool {
        self.text == text && !self.draining.load(Relaxed)
    }

    /// `None`: the configuration is not usable, and requests pass untouched.
    pub(crate) fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref()
    }

    /// One more filter configuration uses it.
    pub(crate) fn enter(&self) {
        self.users.fetch_add(1, Relaxed);
    }

    /// One less. What the last one leaves is delivered by others.
    pub(crate) fn leave(&self) {
        self.users.fetch_sub(1, Relaxed);
        self.timer.set_due(0);
    }

    /// Takes a span from a worker.
    pub(crate) fn record(&self, finished: Finished) {
        let Some(encoder) = &self.encoder else { return };
        let waiting = self.handover.push(EncodedSpan::new(finished, encoder));
        if waiting >= self.hurry_at && !self.hurried.swap(true, Relaxed) {
            self.timer.set_due(0);
            process::wake();
        }
    }

    /// When it is to run next.
    pub(crate) fn due_ns(&self) -> u64 {
        self.timer.due_ns.load(Relaxed)
    }

    /// Its calls through a configuration that has ended will not be answered.
    pub(crate) fn lose_calls(&self, config: usize) {
        if self.calls.lose(config) {
            self.timer.set_due(0);
        }
    }

    /// Runs on the main thread. False once nothing is left of it, and it can be forgotten.
    pub(crate) fn tick(&self, host: &MainThread<'_>) -> bool {
        self.timer.restart();
        self.hurried.store(false, Relaxed);
        let going = self.with_tracer(host, |tracer| {
            self.handover.take_counts(tracer.stats());
            // Workers go on meanwhile: not more than there can be at once.
            for _ in 0..MAX_SPANS {
                let Some(span) = self.handover.pop() else { break };
                tracer.record_encoded(&span, host);
            }
            tracer.stats().add(Counter::Panics, guard::take_caught());
            let ended = self.users.load(Relaxed) == 0 && self.end(tracer, host);
            if !ended {
                tracer.tick(host);
            }
            !ended
        });
        going.unwrap_or(true)
    }

    /// Answers of the collector have come.
    pub(crate) fn answered(&self, host: &MainThread<'_>) {
        self.with_tracer(host, |_| ());
    }

    /// The host has been told that the last call is answered, or that time is up.
    pub(crate) fn set_drained(&self) {
        self.drained.store(true, Relaxed);
    }

    /// The period of the timer.
    pub(crate) fn set_period(&self, period: Duration) {
        self.timer.set_period(period);
    }

    /// Spans that are not delivered and that nobody will deliver if the process ends now.
    pub(crate) fn undelivered(&self) -> u64 {
        let queued = |stats: &Stats| stats.gauge(sidespan_core::export::Gauge::QueueSpans);
        let place = self.tracer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tracer) = place else { return 0 };
        let left = queued(tracer.stats());
        self.put_back(tracer);
        left.saturating_add(self.handover.waiting())
    }

    /// True once everything is delivered, or its time is up: what is left then is counted.
    fn end(&self, tracer: &mut Tracer, host: &MainThread<'_>) -> bool {
        let idle = match self.draining.swap(true, Relaxed) {
            false => tracer.drain(host),
            true => self.drained.load(Relaxed),
        };
        if idle {
            tracer.abandon(host);
        }
        idle
    }

    /// Runs with the tracer, and hands it the answers that have come. `None` inside of another run: what came meanwhile is
    /// handed to it at the end of that one.
    fn with_tracer<T>(&self, host: &MainThread<'_>, run: impl FnOnce(&mut Tracer) -> T) -> Option<T> {
        let tracer = self.tracer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut taken = Taken { tracer: Some(tracer), from: self };
        let tracer = taken.tracer.as_mut()?;
        self.calls.take_lost().into_iter().for_each(|token| tracer.recalled(token));
        self.calls.deliver(|token, reply| tracer.replied(token, &reply, host));
        let result = run(tracer);
        self.calls.deliver(|token, reply| tracer.replied(token, &reply, host));
        Some(result)
    }

    fn put_back(&self, tracer: Box<Tracer>) {
        *self.tracer.lock().unwrap_or_else(PoisonError::into_inner) = Some(tracer);
    }
}

/// A tracer that runs. It goes back to its place also if it panics.
struct Taken<'a> {
    tracer: Option<Box<Tracer>>,
    from: &'a SharedTracer,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            self.from.put_back(tracer);
        }
    }
}

// === impl Timer ===

impl Timer {
    fn set_period(&self, period: Duration) {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        self.period_ns.store(period, Relaxed);
        self.restart();
    }

    fn set_due(&self, due_ns: u64) {
        self.due_ns.store(due_ns, Relaxed);
    }

    fn restart(&self) {
        self.set_due(clock::monotonic_ns().saturating_add(self.period_ns.load(Relaxed)));
    }
}

impl TracerHost for Reading<'_> {
    fn now_ns(&self) -> Option<u64> {
        Some(clock::now_ns())
    }

    fn set_tick_period(&self, period: Duration) -> bool {
        self.0.set_period(period);
        true
    }

    fn http_call(&self, _: &sidespan_core::export::ExportCall) -> Result<u32, sidespan_core::export::DispatchError> {
        Err(sidespan_core::export::DispatchError::Other(0))
    }

    fn compress(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn define_metric(&self, _: MetricKind, _: &str) -> Option<u32> {
        None
    }

    fn increment_metric(&self, _: u32, _: i64) {}

    fn record_metric(&self, _: u32, _: u64) {}

    /// A configuration cannot be refused here: Envoy would refuse the listener.
    fn remembered(&self) -> Option<Vec<u8>> {
        None
    }

    fn remember(&self, _: &[u8]) {}

    fn drained(&self) {}
}
