//! A usable configuration: the plan of its streams, and the pipeline of their spans.

use super::host::TracerHost;
use crate::export::{Counter, Reply, Stats};
use crate::otlp::Encoder;
use crate::pipeline::{EncodedSpan, Pipeline};
use crate::stream::{Fault, Plan};
use std::sync::Arc;
use std::time::Duration;

/// How soon a full batch leaves.
const SOON: Duration = Duration::from_millis(5);
/// The timer's period without an exporter: metrics only.
const METRICS_TICK: Duration = Duration::from_secs(5);

/// So many requests that mattered show that Envoy's own tracer samples everything.
const ENOUGH: u64 = 1000;

pub(super) struct InForce {
    plan: Arc<Plan>,
    pipeline: Pipeline,
    /// The timer is set to [`SOON`].
    hurried: bool,
    /// The log says what is wrong with trace headers. One configuration has one such fault.
    warned: bool,
    /// The log says that Envoy's own tracer leaves nothing to export.
    idle: bool,
}

/// What the operator should do.
fn text(fault: Fault) -> &'static str {
    match fault {
        Fault::Overwritten => {
            "trace headers were changed after this filter wrote them: Envoy's own tracer is on as well, and spans will not link. \
             Either keep it on and set nativeTracer: adopt, or switch it off with a Telemetry resource (disableSpanReporting: true)"
        }
        Fault::NothingToAdopt => {
            "nativeTracer is adopt, but a request went upstream without ids of Envoy's own tracer: it is off, does not propagate \
             (disableContextPropagation: true), or could not read the caller's headers. Such spans get ids of their own, and \
             nothing below links to them. Switch it on with a Telemetry resource, or set nativeTracer: replace"
        }
    }
}

impl InForce {
    pub(super) fn new(plan: Arc<Plan>, seed: u64) -> Self {
        Self { pipeline: Pipeline::new(&plan, seed), plan, hurried: false, warned: false, idle: false }
    }

    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(super) fn stats(&mut self) -> &mut Stats {
        self.pipeline.stats()
    }

    /// For the log: the workload, and where spans go.
    pub(super) fn summary(&mut self) -> String {
        let to = match self.pipeline.exporter() {
            Some(exporter) => format!("exporting to {}", exporter.cluster()),
            None => "propagating only, no exporter".to_owned(),
        };
        let workload = &self.plan.identity().workload;
        let rate = self.plan.config().sampling.random_sampling_percentage;
        let policies = self.plan.sampler().len();
        format!("for {}/{}: {to}; head rate {rate} %, {policies} policies", workload.namespace, workload.name)
    }

    /// The ordinary period of the timer.
    pub(super) fn tick_period(&self) -> Duration {
        let exporter = self.plan.config().exporter.as_ref();
        exporter.map_or(METRICS_TICK, |exporter| exporter.batch.delay.0)
    }

    /// What encodes spans; `None` without an exporter.
    pub(super) fn encoder(&self) -> Option<&Encoder> {
        self.pipeline.encoder()
    }

    /// Takes a span. A full batch makes the timer fire soon.
    pub(super) fn record(&mut self, span: &EncodedSpan, host: &dyn TracerHost) {
        self.warn(span.fault);
        if self.pipeline.record(span) && !std::mem::replace(&mut self.hurried, true) {
            host.set_tick_period(SOON);
        }
    }

    /// Says once what is wrong with trace headers, also where nothing is exported.
    pub(super) fn warn(&mut self, fault: Option<Fault>) {
        if let Some(fault) = fault
            && !std::mem::replace(&mut self.warned, true)
        {
            log::warn!("{}", text(fault));
        }
    }

    /// Says once that Envoy's own tracer samples everything. Cheap: two counters, once for each tick.
    pub(super) fn notice_idleness(&mut self) {
        if self.idle {
            return;
        }
        let stats = self.stats();
        let exported = [Counter::NativeAdopted, Counter::NativeAbsent, Counter::NativeUnsent];
        let only_native = exported.iter().all(|counter| stats.get(*counter) == 0);
        if only_native && stats.get(Counter::NativeSampled) >= ENOUGH {
            self.idle = true;
            log::info!(
                "nativeTracer is adopt, and Envoy's own tracer has sampled all of the first {ENOUGH} requests that mattered: at a \
                 rate of 100 % it leaves nothing to export here"
            );
        }
    }

    /// Back to the ordinary period after a tick that came soon.
    pub(super) fn reset_timer(&mut self, host: &dyn TracerHost) {
        if std::mem::take(&mut self.hurried) {
            host.set_tick_period(self.tick_period());
        }
    }

    /// Sends what is due.
    pub(super) fn export(&mut self, now_ns: u64, host: &dyn TracerHost) {
        let Some(exporter) = self.pipeline.exporter() else { return };
        while let Some(call) = exporter.poll(now_ns, &mut |plain| host.compress(plain)) {
            exporter.dispatched(call.id, host.http_call(&call), now_ns);
        }
        for event in exporter.take_events() {
            log::log!(event.level, "{}", event.text);
        }
    }

    /// The receiver has answered, so the next call may be possible.
    pub(super) fn replied(&mut self, token: u32, reply: &Reply<'_>, host: &dyn TracerHost) {
        let now_ns = host.now_ns().unwrap_or_default();
        if self.pipeline.exporter().is_some_and(|exporter| exporter.reply(token, reply, now_ns)) {
            self.export(now_ns, host);
        }
    }

    /// The spans of a call leave again.
    pub(super) fn recalled(&mut self, token: u32) {
        if let Some(exporter) = self.pipeline.exporter() {
            exporter.recall(token);
        }
    }

    /// From now on everything leaves at once, until the deadline.
    pub(super) fn drain(&mut self, deadline_ns: u64) {
        if let Some(exporter) = self.pipeline.exporter() {
            exporter.drain(deadline_ns);
        }
    }

    /// What is left is dropped and counted.
    pub(super) fn abandon(&mut self) {
        if let Some(exporter) = self.pipeline.exporter() {
            exporter.abandon();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pipeline.is_idle()
    }
}
