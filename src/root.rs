//! The root context: configuration in, export calls out, once per worker and (up to Envoy 1.39) listener direction.

use crate::abi::{self, Buffer, Failed, Map};
use crate::attributes::Live;
use crate::entropy::Pool;
use crate::envoy::Envoy;
use crate::pairs::decode_pairs;
use crate::plans;
use crate::shared::Shared;
use crate::stream::HttpStream;
use sidespan_core::config::Problem;
use sidespan_core::export::Reply;
use sidespan_core::http::headers::first;
use sidespan_core::id::Entropy;
use sidespan_core::span::Environment;
use sidespan_core::tracer::{Surroundings, Tracer};
use std::cell::RefCell;
use std::rc::Rc;

/// A reply is read up to here; a receiver must not send more (OTLP specification: 4 MiB is an error).
const MAX_REPLY: usize = 4 * 1024 * 1024 + 1;
/// `pluginConfig` is read up to here.
const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;
const BANNER: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("SIDESPAN_REVISION"), " ", env!("SIDESPAN_PROFILE"), ")");

/// One root context.
pub(crate) struct Root {
    tracer: Rc<RefCell<Tracer>>,
    /// `None`: traffic passes untouched.
    shared: Option<Rc<Shared>>,
}

// === impl Root ===

impl Root {
    /// Not configured yet.
    pub(crate) fn new() -> Self {
        Self { tracer: Rc::default(), shared: None }
    }

    /// A stream under the configuration in force.
    pub(crate) fn stream(&self) -> HttpStream {
        HttpStream::new(self.shared.clone())
    }

    /// `on_configure`: reads `pluginConfig`, which has `size` bytes; false refuses it.
    pub(crate) fn configure(&mut self, size: usize) -> bool {
        let json = match size {
            0 => Ok(Vec::new()),
            size => abi::buffer(Buffer::PluginConfiguration, size.min(MAX_CONFIGURATION)),
        };
        let Ok(mut tracer) = self.tracer.try_borrow_mut() else { return false };
        let json = match json {
            Ok(json) => json,
            Err(failed) => return tracer.reject(&[unreadable(failed)], &Envoy),
        };
        let mut entropy = Pool::new();
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let surroundings = Surroundings {
            node: &Live::default(),
            environment: &environment(),
            banner: BANNER,
            seed: u64::from_le_bytes(seed),
            shared_plan: plans::find(&json),
        };
        let accepted = tracer.configure(&json, &surroundings, &Envoy);
        let plan = tracer.plan().filter(|_| accepted);
        plan.inspect(|plan| plans::remember(json, plan));
        self.shared = plan.map(|plan| Rc::new(Shared::new(plan, &self.tracer, entropy))).or(self.shared.take());
        accepted
    }

    /// `on_tick`.
    pub(crate) fn tick(&mut self) {
        self.with_tracer(|tracer| tracer.tick(&Envoy));
    }

    /// `on_http_call_response`: the reply to an export call.
    pub(crate) fn replied(&mut self, token: u32) {
        if self.shared.is_none() {
            return;
        }
        let (headers, trailers) = (abi::pairs(Map::CallResponse), abi::pairs(Map::CallResponseTrailers));
        let (headers, trailers) = (headers.unwrap_or_default(), trailers.unwrap_or_default());
        let body = abi::buffer(Buffer::CallResponseBody, MAX_REPLY).unwrap_or_default();
        let headers = decode_pairs(&headers);
        let status = first(&headers, b":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let reply = Reply { status, headers: &headers, body: &body, trailers: &decode_pairs(&trailers) };
        self.with_tracer(|tracer| tracer.replied(token, &reply, &Envoy));
    }

    /// `on_done`: true if the root context may go at once; else [`abi::done`] says when.
    pub(crate) fn done(&mut self) -> bool {
        self.with_tracer(|tracer| tracer.drain(&Envoy)).unwrap_or(true)
    }

    fn with_tracer<T>(&self, run: impl FnOnce(&mut Tracer) -> T) -> Option<T> {
        self.tracer.try_borrow_mut().ok().map(|mut tracer| run(&mut tracer))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.with_tracer(|tracer| tracer.abandon(&Envoy));
    }
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
