//! The exporter: spans in, export calls out, every span accounted for.
//!
//! The [`Exporter`] does nothing by itself. Its owner pushes encoded spans, polls it on each tick (and after each
//! reply) for calls to make, and reports their results:
//!
//! ```text
//! push ──▶ open batch ──(count, bytes, delay)──▶ waiting ──poll──▶ under way ──dispatched, reply──▶ exported
//!                                                   ▲                  │
//!                                                   └── retryable ─────┴──▶ dropped, by reason
//! ```
//!
//! **Memory.** Spans in all three places together take at most `queue.maxBytes`, bookkeeping included. On top come the
//! reserve of the open batch (at most 512 KiB) and, for the length of one host call, one framed request.
//!
//! **Delivery.** A request is sent again only after a failure that the OTLP specification calls retryable. Where an answer was
//! lost after the receiver took the request, this is at least once; otherwise exactly once.
//!
//! **Account.** Spans kept = exported + dropped by reason + queued, after every call of every method.

mod backoff;
mod batch;
mod call;
mod events;
mod receiver;
pub mod stats;
mod telemetry;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
mod tests;

pub use self::batch::Class;
pub use self::call::{DispatchError, ExportCall};
pub use self::events::Event;
pub use self::stats::{Counter, Gauge, Histogram, MetricKind, Stats};
pub use self::telemetry::is_telemetry;
pub use crate::otlp::reply::Reply;

use self::backoff::Backoff;
use self::batch::{Batch, Queue, QueueLimits};
use self::call::grpc_frame;
use self::events::Events;
use self::receiver::Receiver;
use crate::config::{self, Compression, SemanticConventions};
use crate::otlp::reply::{self, ExportResult};
use crate::otlp::{Encoder, Envelope, Failure, SCOPE_VERSION, gzip, schema_url};
use crate::random::SplitMix64;
use crate::span::Attribute;
use std::sync::Arc;

/// Calls under way at once.
const MAX_CALLS: usize = 4;

/// Span bytes of one request, unless one span alone is larger. Far below the 4 MiB that gRPC servers take by default.
const BATCH_BYTES: usize = 512 * 1024;

/// A larger span is dropped.
const SPAN_BYTES: usize = 1024 * 1024;

/// Envoy answers each call in its timeout; one that is this much later is given up, so that its spans are not stuck.
const GRACE_NS: u64 = 30_000_000_000;

const MILLISECOND_NS: u64 = 1_000_000;

/// Compresses with zlib (RFC 1950); `None` if that failed. Envoy's foreign function `compress`, in a closure of the host.
type Compress<'a> = &'a mut dyn FnMut(&[u8]) -> Option<Vec<u8>>;

/// The result of [`Exporter::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// A batch is full: do not wait for the ordinary tick.
    pub flush_soon: bool,
}

/// Spans on their way to one receiver.
#[derive(Debug)]
pub struct Exporter {
    receiver: Receiver,
    encoder: Encoder,
    envelope: Envelope,
    queue: Queue,
    calls: Vec<CallUnderWay>,
    next_id: u64,
    backoff: Backoff,
    random: SplitMix64,
    max_elapsed_ns: u64,
    failures_in_a_row: u32,
    deadline_ns: Option<u64>,
    stats: Stats,
    events: Events,
}

/// A call that was polled and is not answered.
#[derive(Debug)]
struct CallUnderWay {
    id: u64,
    /// The host's number for it; `None` until [`Exporter::dispatched`].
    token: Option<u32>,
    batch: Batch,
    sent_ns: u64,
    generation: u32,
}

// === impl Exporter ===

impl Exporter {
    /// `None` if `config` names no receiver. `seed` spreads retries; any random number.
    pub fn new(
        config: &config::Exporter,
        resource: &[Attribute],
        conventions: SemanticConventions,
        seed: u64,
    ) -> Option<Self> {
        let receiver = Receiver::new(config)?;
        let queue_bytes = usize::try_from(config.queue.max_bytes.0).unwrap_or(usize::MAX);
        let limits = QueueLimits {
            queue_bytes,
            // A small queue still holds some batches: those under way and those that collect.
            batch_bytes: BATCH_BYTES.min(queue_bytes / 4),
            batch_spans: usize::try_from(config.batch.max_spans).unwrap_or(usize::MAX).max(1),
            span_bytes: SPAN_BYTES.min(queue_bytes),
            delay_ns: config.batch.delay.as_nanos(),
        };
        Some(Self {
            encoder: Encoder::new(receiver.encoding, resource),
            envelope: Envelope::new(receiver.encoding, resource, SCOPE_VERSION, schema_url(conventions)),
            queue: Queue::new(limits),
            calls: Vec::with_capacity(MAX_CALLS),
            next_id: 0,
            backoff: Backoff::new(&config.retry),
            random: SplitMix64::new(seed),
            max_elapsed_ns: config.retry.max_elapsed.as_nanos(),
            failures_in_a_row: 0,
            deadline_ns: None,
            stats: Stats::new(),
            events: Events::new(&receiver.cluster),
            receiver,
        })
    }

    /// The Envoy cluster that calls go to.
    pub fn cluster(&self) -> &str {
        &self.receiver.cluster
    }

    /// What makes bodies for [`Self::push`], now or later, here or on another thread.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Takes a span that was kept: its body, and the value of its `tracestate` (empty for none). Never fails: what does not fit is
    /// dropped, or drops what matters less, and is counted.
    pub fn push(&mut self, body: &[u8], trace_state: &[u8], class: Class, now_ns: u64) -> Pushed {
        let taken = self.queue.push(&self.encoder, (body, trace_state), class, now_ns, &mut self.stats);
        if taken.overflowed {
            self.events.queue_full(now_ns);
        }
        Pushed { flush_soon: taken.full && self.may_call(now_ns) }
    }

    /// The next call to make. To be called until `None`, on each tick and after each reply; each call must be reported to
    /// [`Self::dispatched`].
    pub fn poll(&mut self, now_ns: u64, compress: Compress<'_>) -> Option<ExportCall> {
        self.give_up_lost_calls(now_ns);
        if self.queue.expire(now_ns, self.max_elapsed_ns, &mut self.stats) == 0 {
            self.notice_room();
        }
        if !self.may_call(now_ns) {
            return None;
        }
        let batch = self.queue.next(now_ns, self.deadline_ns.is_some())?;
        Some(self.send(batch, now_ns, compress))
    }

    /// The result of an [`ExportCall`]: the host's token, or why there is none.
    pub fn dispatched(&mut self, id: u64, result: Result<u32, DispatchError>, now_ns: u64) {
        let Some(index) = self.calls.iter().position(|call| call.id == id) else { return };
        let failure = match result {
            Ok(token) => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.token = Some(token);
                }
                return;
            }
            Err(DispatchError::UnknownCluster) => (Failure::UnknownCluster, String::new()),
            Err(DispatchError::NoHealthyHost) => (Failure::NoHealthyHost, String::new()),
            Err(DispatchError::Other(status)) => (Failure::Dispatch, format!("host status {status}")),
        };
        let call = self.remove_call(index);
        self.fail(call, (failure.0, true), None, &failure.1, now_ns);
    }

    /// The answer to a call. False if `token` is not one of ours (any more): such an answer is ignored.
    pub fn reply(&mut self, token: u32, reply: &Reply<'_>, now_ns: u64) -> bool {
        let Some(index) = self.calls.iter().position(|call| call.token == Some(token)) else { return false };
        let call = self.remove_call(index);
        let elapsed_ms = now_ns.saturating_sub(call.sent_ns) / MILLISECOND_NS;
        self.stats.record(Histogram::ExportMs, elapsed_ms);
        let now_s = now_ns / 1_000_000_000;
        let verdict = if self.receiver.grpc {
            reply::grpc(reply, now_s)
        } else {
            reply::http(self.receiver.encoding, reply, now_s)
        };
        match verdict {
            ExportResult::Accepted { rejected, message } => self.succeed(&call, rejected, &message, now_ns),
            ExportResult::Failed { failure, retryable, wait_ns, message } => {
                self.fail(call, (failure, retryable), wait_ns, &message, now_ns);
            }
        }
        true
    }

    /// The host has taken a call back, for a reason of its own: its spans leave again at the next poll. Nothing is learnt of the
    /// receiver, which may have got them. False if `token` is not one of ours (any more).
    pub fn recall(&mut self, token: u32) -> bool {
        let Some(index) = self.calls.iter().position(|call| call.token == Some(token)) else { return false };
        let call = self.remove_call(index);
        self.queue.put_back(call.batch);
        true
    }

    /// Shutdown begins: everything leaves at once, retries included, until `deadline_ns`. Backoff starts anew.
    pub fn drain(&mut self, deadline_ns: u64) {
        self.deadline_ns = Some(deadline_ns);
        self.backoff.succeeded();
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.queue.spans() == 0 && self.calls.is_empty()
    }

    /// The end: all spans that are left are dropped and counted. Later answers are ignored.
    pub fn abandon(&mut self) {
        let mut left = self.queue.clear(&mut self.stats);
        for call in std::mem::take(&mut self.calls) {
            left = left.saturating_add(call.batch.spans() as u64);
            self.queue.release(&call.batch, &mut self.stats);
        }
        self.stats.add(Counter::DroppedAbandoned, left);
        self.update_calls();
    }

    /// The counters.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Lines for the log, since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.take()
    }

    fn may_call(&self, now_ns: u64) -> bool {
        let over = self.deadline_ns.is_some_and(|deadline| now_ns >= deadline);
        !over && self.calls.len() < self.backoff.limit(now_ns, MAX_CALLS)
    }

    fn send(&mut self, mut batch: Batch, now_ns: u64, compress: Compress<'_>) -> ExportCall {
        let spans = batch.spans() as u64;
        if batch.attempts > 0 {
            self.stats.add(Counter::SpansRetried, spans);
        }
        batch.attempts = batch.attempts.saturating_add(1);
        let (body, compression) = self.body(&batch, now_ns, compress);
        let headers = self.receiver.headers(&mut self.random, compression);
        self.stats.count(Counter::Calls);
        self.stats.add(Counter::BytesSent, body.len() as u64);
        self.stats.record(Histogram::BatchSpans, spans);
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        self.calls.push(CallUnderWay {
            id,
            token: None,
            batch,
            sent_ns: now_ns,
            generation: self.backoff.generation(),
        });
        self.update_calls();
        ExportCall {
            id,
            cluster: Arc::clone(&self.receiver.cluster),
            headers,
            body,
            timeout_ms: self.receiver.timeout_ms,
        }
    }

    /// The request, compressed if that is asked for and works, and the name of the compression.
    fn body(&mut self, batch: &Batch, now_ns: u64, compress: Compress<'_>) -> (Vec<u8>, Option<&'static str>) {
        let mut plain = Vec::new();
        batch.frame(&self.envelope, &mut plain);
        self.stats.add(Counter::BytesEncoded, plain.len() as u64);
        let (message, compression) = match self.receiver.compression {
            Compression::None => (plain, None),
            Compression::Deflate => match compress(&plain) {
                Some(zlib) => (zlib, Some("deflate")),
                None => (self.uncompressed(plain, now_ns), None),
            },
            Compression::Gzip => match compress(&plain).and_then(|zlib| gzip::from_zlib(&zlib, &plain)) {
                Some(gzip) => (gzip, Some("gzip")),
                None => (self.uncompressed(plain, now_ns), None),
            },
        };
        if self.receiver.grpc {
            (grpc_frame(&message, compression.is_some()), compression)
        } else {
            (message, compression)
        }
    }

    fn uncompressed(&mut self, plain: Vec<u8>, now_ns: u64) -> Vec<u8> {
        self.stats.count(Counter::CompressionFailed);
        self.events.not_compressed(now_ns);
        plain
    }

    fn succeed(&mut self, call: &CallUnderWay, rejected: u64, message: &str, now_ns: u64) {
        let spans = call.batch.spans() as u64;
        let rejected = rejected.min(spans);
        self.stats.count(Counter::CallsSuccess);
        self.stats.add(Counter::SpansExported, spans.saturating_sub(rejected));
        self.stats.add(Counter::DroppedRejected, rejected);
        if rejected > 0 || !message.is_empty() {
            self.stats.count(Counter::CallsPartial);
            self.events.rejected(rejected, message, now_ns);
        }
        self.queue.release(&call.batch, &mut self.stats);
        self.backoff.succeeded();
        self.failures_in_a_row = 0;
        self.events.delivered(self.stats.dropped());
        self.notice_room();
    }

    fn fail(
        &mut self,
        call: CallUnderWay,
        (failure, retryable): (Failure, bool),
        wait_ns: Option<u64>,
        message: &str,
        now_ns: u64,
    ) {
        self.stats.count(counter(failure));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let lost = self.stats.dropped();
        if retryable {
            // An unknown cluster will not appear soon: back off twice as fast.
            let steps = if failure == Failure::UnknownCluster { 2 } else { 1 };
            self.backoff.failed(now_ns, call.generation, steps, wait_ns, &mut self.random);
        } else {
            // The receiver works: it refused this request only.
            self.backoff.succeeded();
        }
        if retryable && self.max_elapsed_ns > 0 {
            self.queue.put_back(call.batch);
            self.queue.expire(now_ns, self.max_elapsed_ns, &mut self.stats);
        } else {
            let reason = match (retryable, failure) {
                (true, _) => Counter::DroppedRetryExhausted,
                (false, Failure::TooLarge) => Counter::DroppedTooLarge,
                (false, _) => Counter::DroppedNotRetryable,
            };
            self.stats.add(reason, call.batch.spans() as u64);
            self.queue.release(&call.batch, &mut self.stats);
        }
        self.events.failed((failure, retryable), message, self.failures_in_a_row, lost, now_ns);
    }

    /// Envoy answers or fails every call. If it ever does not, the spans must not be stuck.
    fn give_up_lost_calls(&mut self, now_ns: u64) {
        while let Some(index) = self.calls.iter().position(|call| now_ns >= self.lost_at(call)) {
            let call = self.remove_call(index);
            self.fail(call, (Failure::Reset, true), None, "no answer, not even a timeout", now_ns);
        }
    }

    fn lost_at(&self, call: &CallUnderWay) -> u64 {
        let timeout = u64::from(self.receiver.timeout_ms).saturating_mul(MILLISECOND_NS);
        call.sent_ns.saturating_add(timeout).saturating_add(GRACE_NS)
    }

    /// `index` must be one of `calls`.
    fn remove_call(&mut self, index: usize) -> CallUnderWay {
        let call = self.calls.swap_remove(index);
        self.update_calls();
        call
    }

    fn update_calls(&mut self) {
        self.stats.set(Gauge::CallsUnderWay, self.calls.len() as u64);
    }

    fn notice_room(&mut self) {
        if self.queue.has_room() {
            self.events.queue_has_room();
        }
    }
}

fn counter(failure: Failure) -> Counter {
    match failure {
        Failure::UnknownCluster => Counter::CallsUnknownCluster,
        Failure::NoHealthyHost => Counter::CallsNoHost,
        Failure::Refused => Counter::CallsRefused,
        Failure::Timeout => Counter::CallsTimeout,
        Failure::Reset => Counter::CallsReset,
        Failure::Throttled => Counter::CallsThrottled,
        Failure::Unavailable => Counter::CallsUnavailable,
        Failure::TooLarge => Counter::CallsTooLarge,
        Failure::Protocol | Failure::Refusal => Counter::CallsRejected,
        Failure::Dispatch => Counter::CallsNotDispatched,
    }
}
