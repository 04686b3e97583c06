//! Every counter, gauge and histogram in one table.
//!
//! Names are plain `a_b_c`: Istio's tag expressions run over the names of all statistics and would cut pieces out of names
//! with dots, `_rq_`, `cache.` or `component.`. Envoy shows them as `wasmcustom.<name>`, Prometheus as `<name>`.
//!
//! Counting is an addition in an array. Differences are reported to the host on a tick, so that a request costs no metric call.

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$help:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$help])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the metric.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

table! {
    /// Values that only grow.
    Counter {
        /// Requests seen by an inbound listener.
        RequestsInbound = "sidespan_requests_inbound_total",
        /// Requests seen by an outbound listener.
        RequestsOutbound = "sidespan_requests_outbound_total",
        /// Requests seen by a gateway or waypoint.
        RequestsGateway = "sidespan_requests_gateway_total",
        /// Requests of which nothing is recorded: dropped by a rule, or telemetry themselves.
        RequestsIgnored = "sidespan_requests_ignored_total",
        /// Spans built, whatever became of them.
        SpansCreated = "sidespan_spans_created_total",
        /// Kept by the head rate.
        KeptHead = "sidespan_kept_head_total",
        /// Kept because the parent was.
        KeptParent = "sidespan_kept_parent_total",
        /// Kept as an error.
        KeptError = "sidespan_kept_error_total",
        /// Kept as slow.
        KeptSlow = "sidespan_kept_slow_total",
        /// Kept for an error below.
        KeptMarked = "sidespan_kept_marked_total",
        /// Kept because its caller left before an answer.
        KeptCancelled = "sidespan_kept_cancelled_total",
        /// Kept for B3 debug.
        KeptDebug = "sidespan_kept_debug_total",
        /// Requests that a cap kept from being exported: no span is built.
        Capped = "sidespan_capped_total",
        /// Requests whose cap became much tighter before they ended.
        CapsTightened = "sidespan_caps_tightened_total",
        /// Requests that came with the thresholds of their callers' caps, which were believed.
        CapsReceived = "sidespan_caps_received_total",
        /// Requests whose thresholds of caps could not be read.
        CapsMalformed = "sidespan_caps_malformed_total",
        /// Spans handed to the exporter. Exported + dropped + queued, always.
        SpansKept = "sidespan_spans_kept_total",
        /// Spans that a receiver took.
        SpansExported = "sidespan_spans_exported_total",
        /// Spans sent once more (one span may count several times).
        SpansRetried = "sidespan_spans_retried_total",
        /// Dropped from a full queue: sampled by the head, or slow.
        DroppedQueueFullPlain = "sidespan_dropped_queue_full_plain_total",
        /// Dropped from a full queue: kept for an error below, or cancelled.
        DroppedQueueFullMarked = "sidespan_dropped_queue_full_marked_total",
        /// Dropped from a full queue: errors and debug.
        DroppedQueueFullError = "sidespan_dropped_queue_full_error_total",
        /// Dropped after `retry.maxElapsed`.
        DroppedRetryExhausted = "sidespan_dropped_retry_exhausted_total",
        /// Rejected by the receiver in a partial success.
        DroppedRejected = "sidespan_dropped_rejected_total",
        /// In a call that failed for good.
        DroppedNotRetryable = "sidespan_dropped_not_retryable_total",
        /// Larger than a request may be, alone or by the receiver's word.
        DroppedTooLarge = "sidespan_dropped_too_large_total",
        /// Still there when the filter was shut down.
        DroppedAbandoned = "sidespan_dropped_abandoned_total",
        /// Calls made to the receiver, accepted by Envoy or not.
        Calls = "sidespan_calls_total",
        /// Answered with success, partial included.
        CallsSuccess = "sidespan_calls_success_total",
        /// Answered with a partial success.
        CallsPartial = "sidespan_calls_partial_total",
        /// No such cluster.
        CallsUnknownCluster = "sidespan_calls_unknown_cluster_total",
        /// No endpoint.
        CallsNoHost = "sidespan_calls_no_host_total",
        /// No connection.
        CallsRefused = "sidespan_calls_refused_total",
        /// No answer in time.
        CallsTimeout = "sidespan_calls_timeout_total",
        /// Reset, or never answered.
        CallsReset = "sidespan_calls_reset_total",
        /// The receiver asked for less.
        CallsThrottled = "sidespan_calls_throttled_total",
        /// The receiver could not.
        CallsUnavailable = "sidespan_calls_unavailable_total",
        /// Request or response too large.
        CallsTooLarge = "sidespan_calls_too_large_total",
        /// The receiver would not.
        CallsRejected = "sidespan_calls_rejected_total",
        /// Envoy would not make the call.
        CallsNotDispatched = "sidespan_calls_not_dispatched_total",
        /// Bytes of requests before compression.
        BytesEncoded = "sidespan_bytes_encoded_total",
        /// Bytes of requests as sent.
        BytesSent = "sidespan_bytes_sent_total",
        /// Bodies sent uncompressed because compressing failed.
        CompressionFailed = "sidespan_compression_failed_total",
        /// Keep signals added to responses.
        SignalsSent = "sidespan_signals_sent_total",
        /// Keep signals received and believed.
        SignalsReceived = "sidespan_signals_received_total",
        /// Keep signals received and not believed.
        SignalsIgnored = "sidespan_signals_ignored_total",
        /// Marks left for the other listener.
        MarksWritten = "sidespan_marks_written_total",
        /// Marks of another trace that a mark replaced.
        MarksOverwritten = "sidespan_marks_overwritten_total",
        /// Marks found.
        MarksFound = "sidespan_marks_found_total",
        /// Trace headers that somebody changed after us (a native tracer that is still on).
        PropagationOverwritten = "sidespan_propagation_overwritten_total",
        /// Spans exported under the ids that Envoy's own tracer sent, which did not sample the request (`nativeTracer: adopt`).
        NativeAdopted = "sidespan_native_adopted_total",
        /// Requests that mattered and that Envoy's own tracer had sampled, so that it exports them.
        NativeSampled = "sidespan_native_sampled_total",
        /// Spans exported under ids of their own, because the request went upstream without a context of Envoy's own tracer.
        NativeAbsent = "sidespan_native_absent_total",
        /// Spans exported under ids of their own, because the request never went upstream.
        NativeUnsent = "sidespan_native_unsent_total",
        /// Requests whose headers named different traces.
        PropagationConflicts = "sidespan_propagation_conflicts_total",
        /// Trace headers that could not be read.
        PropagationInvalid = "sidespan_propagation_invalid_total",
        /// Spans whose threshold was erased because their probability is unknown.
        ThresholdsErased = "sidespan_thresholds_erased_total",
        /// Configurations refused.
        ConfigErrors = "sidespan_config_errors_total",
        /// Host calls that failed where they should not.
        HostErrors = "sidespan_host_errors_total",
        /// Faults of the filter that were caught, by the dynamic module only: a panic ends a VM.
        Panics = "sidespan_panics_total",
    }
}

table! {
    /// Values that rise and fall. Workers share a metric, so each adds its own differences.
    Gauge {
        /// Bytes of spans that wait or are under way.
        QueueBytes = "sidespan_queue_bytes",
        /// Spans that wait or are under way.
        QueueSpans = "sidespan_queue_spans",
        /// Calls under way.
        CallsUnderWay = "sidespan_calls_under_way",
        /// 1 while the last configuration that the host offered is refused.
        ConfigurationRefused = "sidespan_configuration_refused",
    }
}

table! {
    /// Values of which the distribution matters.
    Histogram {
        /// Milliseconds from a call to its answer.
        ExportMs = "sidespan_export_ms",
        /// Spans of a call.
        BatchSpans = "sidespan_batch_spans",
    }
}

/// What a metric of the host does with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// [`Counter`].
    Counter,
    /// [`Gauge`].
    Gauge,
    /// [`Histogram`].
    Histogram,
}

/// Samples kept between two reports. Calls are few, so more samples mean that nothing is reported.
const MAX_SAMPLES: usize = 256;

/// The values of one worker, and which part of them the host has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    counters: Vec<Pair<u64>>,
    gauges: Vec<Pair<i64>>,
    samples: Vec<(Histogram, u64)>,
}

/// A value, and what it was at the last flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair<T> {
    now: T,
    flushed: T,
}

// === impl Stats ===

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Stats {
    /// All zero.
    pub fn new() -> Self {
        let counters = vec![Pair::default(); Counter::ALL.len()];
        Self { counters, gauges: vec![Pair::default(); Gauge::ALL.len()], samples: Vec::new() }
    }

    /// One more.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// `amount` more.
    pub fn add(&mut self, counter: Counter, amount: u64) {
        if let Some(pair) = self.counters.get_mut(counter as usize) {
            pair.now = pair.now.saturating_add(amount);
        }
    }

    /// Sets what a gauge of this worker shows.
    pub fn set(&mut self, gauge: Gauge, value: u64) {
        if let Some(pair) = self.gauges.get_mut(gauge as usize) {
            pair.now = i64::try_from(value).unwrap_or(i64::MAX);
        }
    }

    /// One more value of a distribution.
    pub fn record(&mut self, histogram: Histogram, value: u64) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push((histogram, value));
        }
    }

    /// The count since the beginning.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).map_or(0, |pair| pair.now)
    }

    /// What the gauge shows.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges.get(gauge as usize).map_or(0, |pair| u64::try_from(pair.now).unwrap_or(0))
    }

    /// All spans dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        Counter::ALL
            .iter()
            .filter(|counter| counter.is_drop())
            .fold(0, |sum, counter| sum.saturating_add(self.get(*counter)))
    }

    /// What was counted since the last call; never zero, because Envoy refuses to add zero to a counter.
    pub fn take_counters(&mut self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().copied().zip(&mut self.counters).filter_map(|(counter, pair)| {
            let delta = pair.now.saturating_sub(std::mem::replace(&mut pair.flushed, pair.now));
            (delta > 0).then_some((counter, delta))
        })
    }

    /// How gauges moved since the last call; never zero. To be *added* to the metric, which all workers share.
    pub fn take_gauges(&mut self) -> impl Iterator<Item = (Gauge, i64)> {
        Gauge::ALL.iter().copied().zip(&mut self.gauges).filter_map(|(gauge, pair)| {
            let delta = pair.now.saturating_sub(std::mem::replace(&mut pair.flushed, pair.now));
            (delta != 0).then_some((gauge, delta))
        })
    }

    /// The values recorded since the last call.
    pub fn take_samples(&mut self) -> std::vec::Drain<'_, (Histogram, u64)> {
        self.samples.drain(..)
    }
}

// === impl Counter ===

impl Counter {
    /// Whether it counts spans that were kept and then lost.
    pub fn is_drop(self) -> bool {
        (Self::DroppedQueueFullPlain..=Self::DroppedAbandoned).contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<&'static str> {
        let counters = Counter::ALL.iter().map(|counter| counter.name());
        let gauges = Gauge::ALL.iter().map(|gauge| gauge.name());
        counters.chain(gauges).chain(Histogram::ALL.iter().map(|histogram| histogram.name())).collect()
    }

    #[test]
    fn names_survive_istios_tag_expressions() {
        for name in names() {
            assert!(name.starts_with("sidespan_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!name.contains("_rq") && !name.contains("__"), "{name}");
        }
        let mut unique = names();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names().len());
    }

    #[test]
    fn only_differences_leave_and_never_a_zero() {
        let mut stats = Stats::new();
        stats.count(Counter::Calls);
        stats.add(Counter::BytesSent, 0);
        stats.set(Gauge::QueueBytes, 10);
        assert_eq!(stats.take_counters().collect::<Vec<_>>(), [(Counter::Calls, 1)]);
        assert_eq!(stats.take_gauges().collect::<Vec<_>>(), [(Gauge::QueueBytes, 10)]);
        stats.add(Counter::Calls, 2);
        stats.set(Gauge::QueueBytes, 4);
        assert_eq!(stats.take_counters().collect::<Vec<_>>(), [(Counter::Calls, 2)]);
        assert_eq!(stats.take_gauges().collect::<Vec<_>>(), [(Gauge::QueueBytes, -6)]);
        assert_eq!(stats.take_counters().count() + stats.take_gauges().count(), 0);
        assert_eq!((stats.get(Counter::Calls), stats.gauge(Gauge::QueueBytes)), (3, 4));
    }

    #[test]
    fn samples_are_bounded_and_leave_once() {
        let mut stats = Stats::new();
        (0..1000).for_each(|value| stats.record(Histogram::ExportMs, value));
        assert_eq!(stats.take_samples().count(), MAX_SAMPLES);
        assert_eq!(stats.take_samples().count(), 0);
    }
}
