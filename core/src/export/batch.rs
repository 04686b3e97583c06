//! Spans that wait: a buffer bounded in bytes, in batches bounded in spans and bytes.
//!
//! The bound counts every sealed span from [`Queue::push`] until [`Queue::release`]: in the open batch, waiting, or under way.
//! Beside it there is only what a `Vec` keeps in reserve for the open batch (never more than it holds) and, while a call is
//! made, its framed request.

use super::stats::{Counter, Gauge, Stats};
use crate::otlp::{Encoder, Envelope};
use std::collections::VecDeque;

/// Which spans are dropped first when there is no room for all: plain ones, then marked ones, then errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Sampled by the head or the parent, or slow.
    Plain,
    /// On the path to an error.
    Marked,
    /// An error, or B3 debug.
    Error,
}

/// Spans that leave together.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// By [`Class`].
    sections: [Section; 3],
    /// When its first span came.
    born_ns: u64,
    /// When it was complete: its age counts from here.
    closed_ns: u64,
    /// Calls made with it so far.
    pub(super) attempts: u32,
}

/// Sealed spans of one class, oldest first.
#[derive(Clone, Debug, Default)]
struct Section {
    bytes: Vec<u8>,
    /// Where each span ends.
    ends: Vec<u32>,
}

/// All spans that wait, and the size of those under way.
#[derive(Debug)]
pub(super) struct Queue {
    open: Batch,
    waiting: VecDeque<Batch>,
    /// Size of all spans here and under way.
    bytes: usize,
    spans: u64,
    limits: QueueLimits,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// A batch is complete.
    pub(super) full: bool,
    /// There was no room for all, and something was dropped.
    pub(super) overflowed: bool,
}

/// The bounds of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueLimits {
    /// Bytes of the whole queue.
    pub(super) queue_bytes: usize,
    /// Spans of a batch before it is framed. A larger span travels alone.
    pub(super) batch_bytes: usize,
    /// Number of spans of a batch.
    pub(super) batch_spans: usize,
    /// A larger span does not travel at all.
    pub(super) span_bytes: usize,
    /// How long the first span of a batch waits for others.
    pub(super) delay_ns: u64,
}

/// Bookkeeping of one span and of one batch, counted as if they were span bytes.
const SPAN_COST: usize = size_of::<u32>();
const BATCH_COST: usize = 256;

// === impl Class ===

impl Class {
    const ALL: [Self; 3] = [Self::Plain, Self::Marked, Self::Error];

    /// What is counted where a span of this class finds no room.
    pub(crate) fn drop_counter(self) -> Counter {
        match self {
            Self::Plain => Counter::DroppedQueueFullPlain,
            Self::Marked => Counter::DroppedQueueFullMarked,
            Self::Error => Counter::DroppedQueueFullError,
        }
    }
}

// === impl Section ===

impl Section {
    fn size(&self) -> usize {
        self.bytes.len().saturating_add(self.ends.len().saturating_mul(SPAN_COST))
    }

    /// Removes the newest span.
    fn pop(&mut self) -> bool {
        let popped = self.ends.pop().is_some();
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        popped
    }
}

// === impl Batch ===

impl Batch {
    /// Number of spans.
    pub(super) fn spans(&self) -> usize {
        self.sections.iter().fold(0, |sum, section| sum.saturating_add(section.ends.len()))
    }

    /// The whole request.
    pub(super) fn frame(&self, envelope: &Envelope, out: &mut Vec<u8>) {
        let [plain, marked, error] = &self.sections;
        envelope.frame(&[&error.bytes, &marked.bytes, &plain.bytes], out);
    }

    fn size(&self) -> usize {
        match self.spans() {
            0 => 0,
            _ => self.sections.iter().fold(BATCH_COST, |sum, section| sum.saturating_add(section.size())),
        }
    }

    fn section(&mut self, class: Class) -> &mut Section {
        let [plain, marked, error] = &mut self.sections;
        match class {
            Class::Plain => plain,
            Class::Marked => marked,
            Class::Error => error,
        }
    }

    fn size_of(&self, class: Class) -> usize {
        self.sections.get(class as usize).map_or(0, Section::size)
    }

    fn expired(&self, now_ns: u64, max_age_ns: u64) -> bool {
        now_ns.saturating_sub(self.closed_ns) >= max_age_ns
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { open: Batch::default(), waiting: VecDeque::new(), bytes: 0, spans: 0, limits }
    }

    /// Takes a span, if need be at the cost of spans of a lower class. Whatever is dropped is counted.
    pub(super) fn push(
        &mut self,
        encoder: &Encoder,
        (body, trace_state): (&[u8], &[u8]),
        class: Class,
        now_ns: u64,
        stats: &mut Stats,
    ) -> Taken {
        stats.count(Counter::SpansKept);
        let size = body.len().saturating_add(trace_state.len());
        if size > self.limits.span_bytes {
            stats.count(Counter::DroppedTooLarge);
            return Taken { full: false, overflowed: false };
        }
        let overflows = self.open.size().saturating_add(size) > self.limits.batch_bytes;
        if overflows {
            self.close(now_ns);
        }
        self.append(encoder, (body, trace_state), class, now_ns);
        let overflowed = self.bytes > self.limits.queue_bytes;
        if overflowed {
            self.make_room(class, stats);
        }
        let full = self.open.spans() >= self.limits.batch_spans || self.open.size() >= self.limits.batch_bytes;
        if full {
            self.close(now_ns);
        }
        self.update_gauges(stats);
        Taken { full: full || overflows, overflowed }
    }

    /// A batch to send: the oldest that waits, or the open one if it is due (or `now` even if it is not).
    pub(super) fn next(&mut self, now_ns: u64, at_once: bool) -> Option<Batch> {
        if self.waiting.is_empty() && (at_once || self.due_ns().is_some_and(|due| due <= now_ns)) {
            self.close(now_ns);
        }
        self.waiting.pop_front()
    }

    /// Takes back a batch that is to be sent again.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.waiting.push_front(batch);
    }

    /// Forgets a batch that was under way: its spans were counted by the caller.
    pub(super) fn release(&mut self, batch: &Batch, stats: &mut Stats) {
        self.uncount(batch.size(), batch.spans());
        self.update_gauges(stats);
    }

    /// Drops what waited for longer than `max_age_ns`; 0 means that age does not matter. Returns the number of spans.
    ///
    /// The open batch must not collect for ever while nothing can leave, or old and new spans would share one age.
    pub(super) fn expire(&mut self, now_ns: u64, max_age_ns: u64, stats: &mut Stats) -> u64 {
        if max_age_ns == 0 {
            return 0;
        }
        if self.open.spans() > 0 && now_ns.saturating_sub(self.open.born_ns) >= self.limits.delay_ns.max(max_age_ns / 8)
        {
            self.close(now_ns);
        }
        let (mut bytes, mut spans) = (0usize, 0usize);
        self.waiting.retain(|batch| {
            let expired = batch.expired(now_ns, max_age_ns);
            if expired {
                bytes = bytes.saturating_add(batch.size());
                spans = spans.saturating_add(batch.spans());
            }
            !expired
        });
        self.uncount(bytes, spans);
        self.update_gauges(stats);
        stats.add(Counter::DroppedRetryExhausted, spans as u64);
        spans as u64
    }

    /// When the open batch has waited long enough; `None` if it is empty.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (self.open.spans() > 0).then(|| self.open.born_ns.saturating_add(self.limits.delay_ns))
    }

    /// Whether a complete batch waits.
    #[cfg(test)]
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it is less than three quarters full.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.saturating_add(self.limits.queue_bytes / 4) < self.limits.queue_bytes
    }

    /// Bytes that count against the bound, under way included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Spans that wait or are under way.
    pub(super) fn spans(&self) -> u64 {
        self.spans
    }

    /// Empties it, without what is under way.
    pub(super) fn clear(&mut self, stats: &mut Stats) -> u64 {
        self.close(0);
        let spans = self.spans;
        while let Some(batch) = self.waiting.pop_front() {
            self.release(&batch, stats);
        }
        spans.saturating_sub(self.spans)
    }

    fn append(&mut self, encoder: &Encoder, (body, trace_state): (&[u8], &[u8]), class: Class, now_ns: u64) {
        let before = self.open.size();
        if before == 0 {
            self.open.born_ns = now_ns;
        }
        let section = self.open.section(class);
        encoder.seal(body, trace_state, &mut section.bytes);
        section.ends.push(u32::try_from(section.bytes.len()).unwrap_or(u32::MAX));
        self.bytes = self.bytes.saturating_add(self.open.size().saturating_sub(before));
        self.spans = self.spans.saturating_add(1);
    }

    /// Completes the open batch.
    fn close(&mut self, now_ns: u64) {
        if self.open.spans() == 0 {
            return;
        }
        let mut batch = std::mem::take(&mut self.open);
        batch.closed_ns = now_ns;
        for section in &mut batch.sections {
            section.bytes.shrink_to_fit();
            section.ends.shrink_to_fit();
        }
        self.waiting.push_back(batch);
    }

    /// Drops spans until the bound holds: of the lowest class first, the newest first. If what is below `class` would not be
    /// enough, it is the newcomer (the newest of its class) that goes.
    fn make_room(&mut self, class: Class, stats: &mut Stats) {
        let excess = self.bytes.saturating_sub(self.limits.queue_bytes);
        let lower = |candidate: &&Class| **candidate < class;
        let droppable =
            Class::ALL.iter().filter(lower).fold(0usize, |sum, lower| sum.saturating_add(self.size_of(*lower)));
        if droppable < excess {
            self.drop_newest(class, 1, stats);
            return;
        }
        for lower in Class::ALL.iter().filter(lower) {
            self.drop_newest(*lower, usize::MAX, stats);
        }
        self.waiting.retain(|batch| batch.spans() > 0);
    }

    /// Drops at most `most` spans of `class`, the newest first, as long as the bound does not hold.
    fn drop_newest(&mut self, class: Class, most: usize, stats: &mut Stats) {
        let mut left = most;
        for batch in std::iter::once(&mut self.open).chain(self.waiting.iter_mut().rev()) {
            while left > 0 && self.bytes > self.limits.queue_bytes {
                let before = batch.size();
                if !batch.section(class).pop() {
                    break;
                }
                self.bytes = self.bytes.saturating_sub(before.saturating_sub(batch.size()));
                self.spans = self.spans.saturating_sub(1);
                left = left.saturating_sub(1);
                stats.count(class.drop_counter());
            }
        }
    }

    fn size_of(&self, class: Class) -> usize {
        self.waiting.iter().fold(self.open.size_of(class), |sum, batch| sum.saturating_add(batch.size_of(class)))
    }

    fn uncount(&mut self, bytes: usize, spans: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.spans = self.spans.saturating_sub(spans as u64);
    }

    fn update_gauges(&self, stats: &mut Stats) {
        stats.set(Gauge::QueueBytes, self.bytes as u64);
        stats.set(Gauge::QueueSpans, self.spans);
    }
}

#[cfg(test)]
impl Queue {
    /// What is counted is what is there, but for what is under way; and the bound holds.
    pub(super) fn check(&self) {
        let batches = || std::iter::once(&self.open).chain(&self.waiting);
        let (bytes, spans) = (batches().map(Batch::size).sum::<usize>(), batches().map(Batch::spans).sum::<usize>());
        assert!(bytes <= self.bytes && spans as u64 <= self.spans && self.bytes <= self.limits.queue_bytes);
        assert!(self.waiting.iter().all(|batch| batch.spans() > 0));
        for section in batches().flat_map(|batch| &batch.sections) {
            assert_eq!(section.ends.last().map_or(0, |end| *end as usize), section.bytes.len());
        }
    }
}
