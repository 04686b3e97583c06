//! A tracer and a host in memory.

use super::*;
use crate::export::{DispatchError, ExportCall, MetricKind};
use crate::span::attributes::Recorded;
use std::cell::{Cell, RefCell};

const GOOD: &str = r#"{"exporter": {"otlp": {"cluster": "collector"}}}"#;
const OTHER: &str = r#"{"exporter": {"otlp": {"cluster": "another"}}}"#;
const BAD: &str = r#"{"exporter": 1}"#;

#[derive(Default)]
struct Memory {
    remembered: RefCell<Option<Vec<u8>>>,
    period: Cell<Duration>,
    /// By the names of their metrics.
    metrics: RefCell<Vec<(String, i64)>>,
    drained: Cell<u32>,
}

impl TracerHost for Memory {
    fn now_ns(&self) -> Option<u64> {
        Some(1_000_000_000)
    }
    fn set_tick_period(&self, period: Duration) -> bool {
        self.period.set(period);
        true
    }
    fn http_call(&self, _: &ExportCall) -> Result<u32, DispatchError> {
        Err(DispatchError::NoHealthyHost)
    }
    fn compress(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn define_metric(&self, _: MetricKind, name: &str) -> Option<u32> {
        let mut metrics = self.metrics.borrow_mut();
        // The same name is the same metric, whoever asks.
        let place = metrics.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            metrics.push((name.to_owned(), 0));
            metrics.len() - 1
        });
        u32::try_from(place).ok()
    }
    fn increment_metric(&self, id: u32, by: i64) {
        self.metrics.borrow_mut()[id as usize].1 += by;
    }
    fn record_metric(&self, _: u32, _: u64) {}
    fn remembered(&self) -> Option<Vec<u8>> {
        self.remembered.borrow().clone()
    }
    fn remember(&self, value: &[u8]) {
        *self.remembered.borrow_mut() = Some(value.to_vec());
    }
    fn drained(&self) {
        self.drained.set(self.drained.get() + 1);
    }
}

impl Memory {
    /// What a metric shows; `None` if nobody has defined it.
    fn metric(&self, name: &str) -> Option<i64> {
        self.metrics.borrow().iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn configure(tracer: &mut Tracer, json: &str, host: &Memory) -> bool {
    let (node, environment) = (Recorded::default(), Environment::new());
    let surroundings =
        Surroundings { node: &node, environment: &environment, banner: "test", seed: 1, shared_plan: None };
    tracer.configure(json.as_bytes(), &surroundings, host)
}

#[test]
fn a_bad_update_is_refused_and_with_a_bad_first_configuration_traffic_passes() {
    let host = Memory::default();
    let mut first = Tracer::default();
    assert!(configure(&mut first, BAD, &host), "Envoy would answer 500");
    assert!(first.plan().is_none());
    assert!(configure(&mut first, GOOD, &host));
    assert!(first.plan().is_some());
    assert!(host.remembered().is_none(), "Envoy also reads a configuration in a VM that it throws away");
    first.tick(&host);
    assert!(host.remembered().is_some());
    assert!(!configure(&mut Tracer::default(), BAD, &host), "the one before stays");
}

#[test]
fn counts_are_reported_on_ticks_with_and_without_a_configuration() {
    let host = Memory::default();
    let mut tracer = Tracer::default();
    configure(&mut tracer, BAD, &host);
    assert_eq!(*host.metrics.borrow(), [], "not while it is read");
    tracer.tick(&host);
    tracer.tick(&host);
    let metrics = ["sidespan_config_errors_total", "sidespan_configuration_refused"].map(|name| (name.to_owned(), 1));
    assert_eq!(*host.metrics.borrow(), metrics);
    configure(&mut tracer, GOOD, &host);
    tracer.stats().count(Counter::RequestsInbound);
    tracer.tick(&host);
    assert_eq!(host.metrics.borrow().last(), Some(&("sidespan_requests_inbound_total".to_owned(), 1)));
}

const REFUSED: &str = "sidespan_configuration_refused";

#[test]
fn a_refused_first_configuration_shows_until_its_tracers_end() {
    let host = Memory::default();
    // Two workers.
    let mut tracers = [Tracer::default(), Tracer::default()];
    for tracer in &mut tracers {
        configure(tracer, BAD, &host);
        (0..3).for_each(|_| tracer.tick(&host));
    }
    assert_eq!(host.metric(REFUSED), Some(2));
    let mut good = Tracer::default();
    configure(&mut good, GOOD, &host);
    good.tick(&host);
    assert_eq!(host.metric(REFUSED), Some(2), "the old ones still serve");
    tracers.iter_mut().for_each(|tracer| tracer.abandon(&host));
    assert_eq!(host.metric(REFUSED), Some(0));
}

#[test]
fn a_refused_update_shows_until_a_good_one_is_in_force() {
    let host = Memory::default();
    let mut tracer = Tracer::default();
    configure(&mut tracer, GOOD, &host);
    tracer.tick(&host);
    assert_eq!(host.metric(REFUSED), None, "nothing was refused");
    let mut canary = Tracer::default();
    assert!(!configure(&mut canary, BAD, &host));
    canary.abandon(&host);
    (0..3).for_each(|_| tracer.tick(&host));
    assert_eq!(host.metric(REFUSED), Some(1), "as long as it lasts");
    // A listener has changed: Envoy puts the configuration in force into force once more.
    let mut again = Tracer::default();
    configure(&mut again, GOOD, &host);
    again.tick(&host);
    assert_eq!(host.metric(REFUSED), Some(2), "the update is still refused");
    again.abandon(&host);
    let mut next = Tracer::default();
    configure(&mut next, OTHER, &host);
    next.tick(&host);
    tracer.tick(&host);
    assert_eq!(host.metric(REFUSED), Some(0), "also while the old one drains");
    configure(&mut Tracer::default(), BAD, &host);
    tracer.tick(&host);
    next.tick(&host);
    assert_eq!(host.metric(REFUSED), Some(2));
    [tracer, next].iter_mut().for_each(|tracer| tracer.abandon(&host));
    assert_eq!(host.metric(REFUSED), Some(0), "a tracer that ends takes back what it has added");
}

#[test]
fn a_configuration_that_is_replaced_by_a_good_one_in_the_same_tracer_is_not_refused_any_more() {
    let host = Memory::default();
    let mut tracer = Tracer::default();
    configure(&mut tracer, BAD, &host);
    tracer.tick(&host);
    configure(&mut tracer, GOOD, &host);
    tracer.tick(&host);
    assert_eq!(host.metric(REFUSED), Some(0));
}

#[test]
fn a_tracer_with_nothing_to_send_ends_at_once_and_its_timer_has_the_period_of_a_batch() {
    let host = Memory::default();
    let mut tracer = Tracer::default();
    assert!(tracer.drain(&host));
    configure(&mut tracer, GOOD, &host);
    let delay = tracer.plan().and_then(|plan| plan.config().exporter.as_ref()).map(|exporter| exporter.batch.delay.0);
    assert_eq!(Some(host.period.get()), delay);
    assert!(tracer.drain(&host));
    tracer.tick(&host);
    assert_eq!(host.drained.get(), 0, "nobody waits for it");
}
