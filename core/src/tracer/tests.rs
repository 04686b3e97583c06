//! A tracer and a host in memory.

use super::*;
use crate::export::{DispatchError, ExportCall, MetricKind};
use crate::span::attributes::Recorded;
use std::cell::{Cell, RefCell};

const GOOD: &str = r#"{"exporter": {"otlp": {"cluster": "collector"}}}"#;
const BAD: &str = r#"{"exporter": 1}"#;

#[derive(Default)]
struct Memory {
    configured: Cell<bool>,
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
        metrics.push((name.to_owned(), 0));
        u32::try_from(metrics.len() - 1).ok()
    }
    fn increment_metric(&self, id: u32, by: i64) {
        self.metrics.borrow_mut()[id as usize].1 += by;
    }
    fn record_metric(&self, _: u32, _: u64) {}
    fn was_configured(&self) -> bool {
        self.configured.get()
    }
    fn set_configured(&self) {
        self.configured.set(true);
    }
    fn drained(&self) {
        self.drained.set(self.drained.get() + 1);
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
    assert!(!host.configured.get(), "Envoy also reads a configuration in a VM that it throws away");
    first.tick(&host);
    assert!(host.configured.get());
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
    assert_eq!(*host.metrics.borrow(), [("sidespan_config_errors_total".to_owned(), 1)]);
    configure(&mut tracer, GOOD, &host);
    tracer.stats().count(Counter::RequestsInbound);
    tracer.tick(&host);
    assert_eq!(host.metrics.borrow().last(), Some(&("sidespan_requests_inbound_total".to_owned(), 1)));
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
