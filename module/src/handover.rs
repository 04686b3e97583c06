//! What workers hand over to the main thread: encoded spans and counts. Nothing here locks or waits.

use crossbeam_queue::ArrayQueue;
use sidespan_core::export::{Counter, Stats};
use sidespan_core::pipeline::EncodedSpan;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Spans that wait at once for the main thread, which takes them at each tick.
pub(crate) const MAX_SPANS: usize = 8192;
/// Bytes of these spans.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Counters are kept apart for so many threads, so that workers do not write to the same memory.
const SHARDS: usize = 16;

/// From the workers to one tracer.
pub(crate) struct Handover {
    spans: ArrayQueue<EncodedSpan>,
    bytes: AtomicUsize,
    counts: Vec<Counts>,
}

/// One number for each counter, on cache lines of their own.
#[repr(align(128))]
struct Counts(Vec<AtomicU64>);

thread_local! {
    /// What the hook that runs counts.
    static OWN: RefCell<Option<Stats>> = const { RefCell::new(None) };
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % SHARDS
    };
}

// === impl Handover ===

impl Handover {
    pub(crate) fn new() -> Self {
        let counts = || Counts(Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect());
        Self {
            spans: ArrayQueue::new(MAX_SPANS),
            bytes: AtomicUsize::new(0),
            counts: (0..SHARDS).map(|_| counts()).collect(),
        }
    }

    /// Runs a part of a hook with counters of this thread, and adds what it counted.
    pub(crate) fn counting<T>(&self, run: impl FnOnce(&mut Stats) -> T) -> T {
        let mut own = OWN.with(|own| own.try_borrow_mut().ok()?.take()).unwrap_or_default();
        let result = run(&mut own);
        let shard = SHARD.with(|shard| *shard);
        for (counter, by) in own.take_counters() {
            self.add_to(shard, counter, by);
        }
        OWN.with(|slot| {
            if let Ok(mut slot) = slot.try_borrow_mut() {
                *slot = Some(own);
            }
        });
        result
    }

    /// Hands a span over. One that finds no room is dropped and counted. Returns how many wait.
    pub(crate) fn push(&self, span: EncodedSpan) -> usize {
        let size = span.size();
        let before = self.bytes.fetch_add(size, Relaxed);
        let refused = match before.saturating_add(size) > MAX_BYTES {
            true => Err(span),
            false => self.spans.push(span),
        };
        if let Err(span) = refused {
            self.bytes.fetch_sub(size, Relaxed);
            let shard = SHARD.with(|shard| *shard);
            // As the queue of an exporter counts a span that it takes and drops at once.
            self.add_to(shard, Counter::SpansKept, 1);
            self.add_to(shard, span.drop_counter(), 1);
        }
        self.spans.len()
    }

    /// The next span, for the main thread.
    pub(crate) fn pop(&self) -> Option<EncodedSpan> {
        let span = self.spans.pop()?;
        self.bytes.fetch_sub(span.size(), Relaxed);
        Some(span)
    }

    /// Spans that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.spans.len() as u64
    }

    /// Moves all counts to the main thread.
    pub(crate) fn take_counts(&self, stats: &mut Stats) {
        for counts in &self.counts {
            for (counter, count) in Counter::ALL.iter().zip(&counts.0) {
                if count.load(Relaxed) > 0 {
                    stats.add(*counter, count.swap(0, Relaxed));
                }
            }
        }
    }

    fn add_to(&self, shard: usize, counter: Counter, by: u64) {
        if let Some(count) = self.counts.get(shard).and_then(|counts| counts.0.get(counter as usize)) {
            count.fetch_add(by, Relaxed);
        }
    }
}
