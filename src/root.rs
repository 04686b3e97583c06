//! The root context: configuration in, exports out, once per worker and (in most versions) listener direction.

use crate::abi::{self, Answer, Buffer, Failed, Map};
use crate::active::Active;
use crate::attributes::Live;
use crate::metrics::Metrics;
use crate::shared;
use crate::stream::HttpStream;
use sidespan_core::config::{self, Problem};
use sidespan_core::export::{Counter, DispatchError, Reply, Send, Stats};
use sidespan_core::http::headers::{Header, first};
use sidespan_core::propagation::headers::decode_pairs;
use sidespan_core::span::{Environment, Identity, tags};
use std::rc::Rc;
use std::time::Duration;

/// How long an old root may go on delivering after its last stream has gone.
const DRAIN: Duration = Duration::from_secs(5);
/// Ticks while draining, and while there is nothing but a metric to report.
const DRAIN_TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(5);
/// A reply is read up to here; a receiver has no business sending more (OTLP specification: 4 MiB is an error).
const MAX_REPLY: usize = 4 * 1024 * 1024 + 1;
/// `pluginConfig` is read up to here.
const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;

/// One root context.
pub struct Root {
    /// `None`: traffic passes untouched.
    active: Option<Rc<Active>>,
    /// Counts while nothing is active.
    idle: Stats,
    metrics: Metrics,
    announced: bool,
    drain_until_ns: Option<u64>,
}

// === impl Root ===

impl Root {
    /// Not configured yet.
    pub fn new() -> Self {
        Self { active: None, idle: Stats::new(), metrics: Metrics::default(), announced: false, drain_until_ns: None }
    }

    fn activate(&mut self, config: config::Config) {
        config.warnings().iter().for_each(|warning| log::warn!("pluginConfig: {warning}"));
        let environment = environment();
        let identity = Identity::detect(&Live::default(), &environment, &config);
        let active = Active::new(config, &environment, identity);
        log::info!("{} {}", banner(), active.summary());
        let _ = abi::set_tick_period(active.tick());
        self.active = Some(Rc::new(active));
    }

    /// A bad update is refused so that the old configuration stays in force. A bad first one must not be: Envoy would answer
    /// every request with 500 (trap 10), so traffic passes untouched.
    fn reject(&mut self, problems: &[Problem]) -> bool {
        let listed: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let update = shared::was_configured();
        let fate = match update {
            true => "the configuration in force stays",
            false => "requests pass untraced until it is fixed",
        };
        log::error!("pluginConfig is not usable, {fate}: {}", listed.join("; "));
        self.idle.count(Counter::ConfigErrors);
        let _ = abi::set_tick_period(IDLE_TICK);
        !update
    }

    /// The timer: sends what is due, and reports metrics.
    pub fn tick(&mut self) -> Option<()> {
        let Some(active) = self.active.clone() else {
            self.metrics.flush(&mut self.idle);
            return None;
        };
        if !self.announced {
            self.announced = true;
            shared::set_configured();
        }
        let now_ns = abi::now_ns().ok()?;
        active.export(now_ns, self.drain_until_ns.is_some());
        active.with_recorder(|recorder| self.metrics.flush(recorder.stats()));
        if self.drain_until_ns.is_some_and(|deadline| now_ns >= deadline || active.is_idle()) {
            self.drain_until_ns = None;
            let _ = abi::finished();
        }
        let _ = active.rearm();
        Some(())
    }

    /// The answer to a call of ours: read, and handed to the exporter.
    pub fn replied(&mut self, token: u32) {
        let Some(active) = &self.active else { return };
        let (headers, trailers) = (abi::pairs(Map::CallResponse), abi::pairs(Map::CallResponseTrailers));
        let (headers, trailers) = (headers.unwrap_or_default(), trailers.unwrap_or_default());
        let body = abi::buffer(Buffer::CallResponseBody, MAX_REPLY).unwrap_or_default();
        let headers = decode_pairs(&headers);
        let status = first(&headers, b":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let reply = Reply { status, headers: &headers, body: &body, trailers: &decode_pairs(&trailers) };
        active.replied(token, &reply);
    }

    /// The last stream has gone: what waits is sent for a few seconds more, then the root goes.
    pub fn done(&mut self) -> bool {
        let Some(active) = &self.active else { return true };
        let now_ns = abi::now_ns().unwrap_or_default();
        let deadline = now_ns.saturating_add(u64::try_from(DRAIN.as_nanos()).unwrap_or_default());
        active.drain(deadline);
        active.export(now_ns, true);
        if active.is_idle() {
            return true;
        }
        self.drain_until_ns = Some(deadline);
        abi::set_tick_period(DRAIN_TICK).is_err()
    }

    /// Reads `pluginConfig`, which has `size` bytes; false refuses it.
    pub fn configure(&mut self, size: usize) -> bool {
        let json = match size {
            0 => Ok(Vec::new()),
            size => abi::buffer(Buffer::PluginConfiguration, size.min(MAX_CONFIGURATION)),
        };
        match json.map(|json| config::parse(&json).and_then(tags::check)) {
            Ok(Ok(config)) => {
                self.activate(config);
                true
            }
            Ok(Err(problems)) => self.reject(&problems),
            Err(failed) => self.reject(&[unreadable(failed)]),
        }
    }

    /// A stream under the configuration in force.
    pub fn stream(&self) -> HttpStream {
        HttpStream::new(self.active.clone())
    }
}

impl Drop for Root {
    /// The host cancels calls of a root that goes without a word: their spans are lost, and counted.
    fn drop(&mut self) {
        let Self { active, metrics, idle, .. } = self;
        match active {
            Some(active) => active.with_recorder(|recorder| {
                if let Some(exporter) = recorder.exporter() {
                    exporter.abandon();
                }
                metrics.flush(recorder.stats());
            }),
            None => {
                metrics.flush(idle);
                None
            }
        };
    }
}

/// Hands one call to the host.
pub fn dispatch(send: &Send) -> Result<u32, DispatchError> {
    let headers: Vec<_> = send.headers.iter().map(|(name, value)| Header::new(name, value)).collect();
    let timeout = Duration::from_millis(u64::from(send.timeout_ms));
    call_result(abi::http_call(&send.cluster, &headers, &send.body, timeout))
}

fn call_result(answer: Answer<u32>) -> Result<u32, DispatchError> {
    answer.map_err(|failed| match failed {
        Failed::BAD_ARGUMENT => DispatchError::UnknownCluster,
        Failed::INTERNAL_FAILURE => DispatchError::NoHealthyHost,
        Failed(status) => DispatchError::Other(status),
    })
}

fn banner() -> String {
    format!("{} ({} {})", env!("CARGO_PKG_VERSION"), env!("SIDESPAN_REVISION"), env!("SIDESPAN_PROFILE"))
}

/// What `vmConfig.env` passes; `std::env::vars` would panic on a value that is not UTF-8.
fn environment() -> Environment {
    let mut environment = Environment::new();
    // One by one: `collect` would sort first, and bring 10 kB of sorting into the module.
    for (name, value) in std::env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
            environment.insert(name, value);
        }
    }
    environment
}

fn unreadable(failed: Failed) -> Problem {
    Problem {
        path: String::new(),
        problem: format!("the host did not hand it over (status {})", failed.0),
        hint: "this is a fault of the proxy, not of the configuration".to_owned(),
    }
}
