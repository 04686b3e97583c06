//! A tracer: the configuration that is in force, its timer, its export calls, its metrics and its end.
//!
//! One thread owns it: in proxy-wasm that of the VM, which also serves the streams. Where workers serve the streams,
//! they share the [`Plan`] and hand each [`Finished`] span over.

mod host;
mod in_force;
mod memory;
mod metrics;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a wrong test fails, as it should")]
mod tests;

pub use self::host::TracerHost;

use self::in_force::InForce;
use self::metrics::Metrics;
use crate::config::{self, Config, Problem};
use crate::export::{Counter, Gauge, Reply, Stats};
use crate::otlp::Encoder;
use crate::pipeline::EncodedSpan;
use crate::span::{Attributes, Environment, Identity};
use crate::stream::{Finished, Plan};
use std::sync::Arc;
use std::time::Duration;

/// How long spans are still delivered after the last stream has ended.
const DRAIN: Duration = Duration::from_secs(5);
/// The timer's period in that time.
const DRAIN_TICK: Duration = Duration::from_millis(100);
/// The timer's period without a usable configuration: metrics only.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// What a configuration is read with, beside its text.
pub struct Surroundings<'a> {
    /// Leaves of `xds.node`.
    pub node: &'a dyn Attributes,
    /// Environment variables.
    pub environment: &'a Environment,
    /// Name and version of the build, for the log.
    pub banner: &'a str,
    /// Any random number; it spreads retries.
    pub seed: u64,
    /// The plan of another tracer of this worker with the same configuration text. It is shared, and with it the caps.
    pub shared_plan: Option<Arc<Plan>>,
}

/// One configuration, from its reading to its end.
#[derive(Default)]
pub struct Tracer {
    /// `None`: there is no usable configuration, and traffic passes untouched.
    in_force: Option<InForce>,
    /// Counts while there is none.
    idle: Stats,
    metrics: Metrics,
    /// Tells the configuration in force from others.
    digest: u64,
    /// It is remembered as the one in force.
    announced: bool,
    drain_until_ns: Option<u64>,
}

/// Where workers only hand spans over, one thread owns the tracer.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Tracer>();
};

// === impl Tracer ===

impl Tracer {
    /// Reads a configuration and puts it into force. False refuses it, so that the host keeps the one before.
    pub fn configure(&mut self, json: &[u8], surroundings: &Surroundings<'_>, host: &dyn TracerHost) -> bool {
        let mut config = match config::parse(json) {
            Ok(config) => config,
            Err(problems) => return self.reject(&problems, host),
        };
        if let Err(problems) = config.resolve(surroundings.environment) {
            return self.reject(&problems, host);
        }
        self.digest = memory::digest(json);
        self.activate(config, surroundings, host);
        true
    }

    fn activate(&mut self, config: Config, surroundings: &Surroundings<'_>, host: &dyn TracerHost) {
        config.warnings().iter().for_each(|warning| log::warn!("pluginConfig: {warning}"));
        let plan = surroundings.shared_plan.clone().unwrap_or_else(|| {
            let identity = Identity::detect(surroundings.node, surroundings.environment, &config);
            Arc::new(Plan::new(config, surroundings.environment, identity))
        });
        let mut in_force = InForce::new(plan, surroundings.seed);
        log::info!("{} {}", surroundings.banner, in_force.summary());
        host.set_tick_period(in_force.tick_period());
        self.in_force = Some(in_force);
    }

    /// A bad update is refused, so that the old configuration stays in force. A bad first one must not be refused: Envoy
    /// would answer every request with 500. So traffic passes untouched.
    pub fn reject(&mut self, problems: &[Problem], host: &dyn TracerHost) -> bool {
        let listed: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let update = memory::was_configured(host);
        let consequence = match update {
            true => "the configuration in force stays",
            false => "requests pass untraced until it is fixed",
        };
        log::error!("pluginConfig is not usable, {consequence}: {}", listed.join("; "));
        self.stats().count(Counter::ConfigErrors);
        // An update is read, and refused, in a VM that is thrown away: the tracers of the configuration in force show the gauge.
        match update {
            true => memory::refuse_update(host),
            false => self.stats().set(Gauge::ConfigurationRefused, 1),
        }
        host.set_tick_period(IDLE_TICK);
        !update
    }

    /// What streams need; `None` while there is no usable configuration.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.in_force.as_ref().map(InForce::plan)
    }

    /// The counters.
    pub fn stats(&mut self) -> &mut Stats {
        match &mut self.in_force {
            Some(in_force) => in_force.stats(),
            None => &mut self.idle,
        }
    }

    /// Takes a span that was kept.
    pub fn record(&mut self, finished: Finished, host: &dyn TracerHost) {
        let Some(in_force) = &mut self.in_force else { return };
        match in_force.encoder() {
            Some(encoder) => in_force.record(&EncodedSpan::new(finished, encoder), host),
            None => in_force.warn(finished.fault),
        }
    }

    /// Takes a span that was encoded elsewhere, with [`Self::encoder`].
    pub fn record_encoded(&mut self, span: &EncodedSpan, host: &dyn TracerHost) {
        if let Some(in_force) = &mut self.in_force {
            in_force.record(span, host);
        }
    }

    /// What encodes spans for [`Self::record_encoded`]; `None` while nothing is exported.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.in_force.as_ref().and_then(InForce::encoder)
    }

    /// The timer: sends what is due, and reports metrics.
    pub fn tick(&mut self, host: &dyn TracerHost) {
        let Some(in_force) = &mut self.in_force else {
            self.metrics.report(&mut self.idle, host);
            return;
        };
        if !self.announced {
            self.announced = true;
            memory::put_into_force(self.digest, host);
            // Of the time before, if this tracer has refused a configuration.
            self.idle.set(Gauge::ConfigurationRefused, 0);
            self.metrics.report(&mut self.idle, host);
        }
        in_force.stats().set(Gauge::ConfigurationRefused, u64::from(memory::was_update_refused(host)));
        let Some(now_ns) = host.now_ns() else { return };
        in_force.export(now_ns, host);
        in_force.notice_idleness();
        self.metrics.report(in_force.stats(), host);
        if self.drain_until_ns.is_some_and(|deadline| now_ns >= deadline || in_force.is_idle()) {
            self.drain_until_ns = None;
            host.drained();
        }
        in_force.reset_timer(host);
    }

    /// The reply to an export call. `token` is what [`TracerHost::http_call`] returned; a reply to another call is ignored.
    pub fn replied(&mut self, token: u32, reply: &Reply<'_>, host: &dyn TracerHost) {
        if let Some(in_force) = &mut self.in_force {
            in_force.replied(token, reply, host);
        }
    }

    /// The host has taken an export call back before it was answered: its spans leave again at the next tick.
    pub fn recalled(&mut self, token: u32) {
        if let Some(in_force) = &mut self.in_force {
            in_force.recalled(token);
        }
    }

    /// The last stream has ended. True if nothing is left to send; otherwise spans are still delivered for some seconds, and
    /// [`TracerHost::drained`] is called at their end.
    pub fn drain(&mut self, host: &dyn TracerHost) -> bool {
        let Some(in_force) = &mut self.in_force else { return true };
        let now_ns = host.now_ns().unwrap_or_default();
        let deadline = now_ns.saturating_add(u64::try_from(DRAIN.as_nanos()).unwrap_or_default());
        in_force.drain(deadline);
        in_force.export(now_ns, host);
        if in_force.is_idle() {
            return true;
        }
        self.drain_until_ns = Some(deadline);
        !host.set_tick_period(DRAIN_TICK)
    }

    /// The end. The host cancels calls under way without an answer, so their spans are lost, and counted.
    pub fn abandon(&mut self, host: &dyn TracerHost) {
        if let Some(in_force) = &mut self.in_force {
            in_force.abandon();
        }
        let Self { in_force, idle, metrics, .. } = self;
        let stats = in_force.as_mut().map_or(idle, InForce::stats);
        // Workers share the gauge: each takes back what it has added.
        stats.set(Gauge::ConfigurationRefused, 0);
        metrics.report(stats, host);
    }
}
