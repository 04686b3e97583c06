//! What the workers of one Envoy share: shared data with its compare-and-swap numbers, metrics, and the clock.

use super::engine::{BAD_ARGUMENT, CAS_MISMATCH, NOT_FOUND, Status};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One Envoy, as far as its workers meet. Clones are the same process.
#[derive(Clone)]
pub struct Process {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

/// Nanoseconds since the Unix epoch; clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<AtomicU64>);

/// Kinds of metrics, by ABI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Any value.
    Gauge,
    /// A list of what was recorded.
    Histogram,
}

#[derive(Default)]
struct State {
    shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
    values: BTreeMap<String, u64>,
    records: BTreeMap<String, Vec<u64>>,
}

// === impl Clock ===

impl Default for Clock {
    /// 2026-01-01T00:00:00Z, so that a zero or a swapped operand is seen.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_767_225_600_000_000_000)))
    }
}

impl Clock {
    /// Now.
    pub fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Jumps.
    pub fn set_ns(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

// === impl Process ===

impl Default for Process {
    fn default() -> Self {
        Self::at(Clock::default())
    }
}

impl Process {
    /// A process that reads this clock.
    pub fn at(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// `SharedData::get`.
    pub fn shared(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.state().shared.get(key).cloned().ok_or(NOT_FOUND)
    }

    /// `SharedData::set`: a number other than zero must be the current one, but only where the key exists.
    pub fn set_shared(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut state = self.state();
        if state.shared.get(key).is_some_and(|(_, current)| cas != 0 && cas != *current) {
            return Err(CAS_MISMATCH);
        }
        state.last_cas += 1;
        let number = state.last_cas;
        state.shared.insert(key.to_vec(), (value.to_vec(), number));
        Ok(())
    }

    /// Every key of shared data with its value.
    pub fn all_shared(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.state().shared.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// `Context::incrementMetric`: a counter refuses zero and less.
    pub fn increment(&self, kind: Kind, name: &str, offset: i64) -> Result<(), Status> {
        let mut state = self.state();
        let value = state.values.entry(name.to_owned()).or_default();
        match kind {
            Kind::Counter if offset <= 0 => return Err(BAD_ARGUMENT),
            Kind::Histogram => return Err(BAD_ARGUMENT),
            Kind::Counter | Kind::Gauge => *value = value.wrapping_add_signed(offset),
        }
        Ok(())
    }

    /// `Context::recordMetric`: adds to a counter, sets a gauge, records into a histogram.
    pub fn record(&self, kind: Kind, name: &str, number: u64) {
        let mut state = self.state();
        match kind {
            Kind::Counter => *state.values.entry(name.to_owned()).or_default() += number,
            Kind::Gauge => *state.values.entry(name.to_owned()).or_default() = number,
            Kind::Histogram => state.records.entry(name.to_owned()).or_default().push(number),
        }
    }

    /// The value of a counter or gauge; zero if it was never touched.
    pub fn metric(&self, name: &str) -> u64 {
        self.state().values.get(name).copied().unwrap_or_default()
    }

    /// All counters and gauges that are not zero.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.state()
            .values
            .iter()
            .filter(|(_, value)| **value != 0)
            .map(|(name, value)| (name.clone(), *value))
            .collect()
    }

    /// What a histogram recorded.
    pub fn records(&self, name: &str) -> Vec<u64> {
        self.state().records.get(name).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
