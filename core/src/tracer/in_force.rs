//! A usable configuration: the plan of its streams, and the pipeline of their spans.

use super::host::TracerHost;
use crate::export::{Reply, Stats};
use crate::otlp::Encoder;
use crate::pipeline::{EncodedSpan, Pipeline};
use crate::stream::Plan;
use std::sync::Arc;
use std::time::Duration;

/// How soon a full batch leaves.
const SOON: Duration = Duration::from_millis(5);
/// The timer's period without an exporter: metrics only.
const METRICS_TICK: Duration = Duration::from_secs(5);

pub(super) struct InForce {
    plan: Arc<Plan>,
    pipeline: Pipeline,
    /// The timer is set to [`SOON`].
    hurried: bool,
    /// The log says that another tracer changes our headers.
    warned: bool,
}

impl InForce {
    pub(super) fn new(plan: Arc<Plan>, seed: u64) -> Self {
        Self { pipeline: Pipeline::new(&plan, seed), plan, hurried: false, warned: false }
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
        self.warn(span.overwritten);
        if self.pipeline.record(span) && !std::mem::replace(&mut self.hurried, true) {
            host.set_tick_period(SOON);
        }
    }

    /// Says once that another tracer is on, also where nothing is exported.
    pub(super) fn warn(&mut self, overwritten: bool) {
        if overwritten && !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "trace headers were changed after this filter wrote them: Envoy's own tracer is on as well. Switch it off with a \
                 Telemetry resource (disableSpanReporting: true), or spans will not link"
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
