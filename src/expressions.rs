//! CEL expressions that Envoy evaluates for us: all attributes of a span in one host call.

use crate::abi;
use sidespan_core::span::Kind;
use sidespan_core::span::batch_read::{self, BatchRead};

/// Compiled by the host, one for each kind of span; none where the host knows no CEL.
pub struct Expressions {
    istio: bool,
    server: Option<Vec<u8>>,
    client: Option<Vec<u8>>,
}

// === impl Expressions ===

impl Expressions {
    /// Compiles them; `istio`: also for what only Istio's proxies have.
    pub fn new(istio: bool) -> Self {
        let compile = |kind| {
            let id = abi::foreign_function("expr_create", batch_read::expression(kind, istio).as_bytes());
            id.ok().filter(|id| !id.is_empty())
        };
        Self { istio, server: compile(Kind::Server), client: compile(Kind::Client) }
    }

    /// The attributes of the current stream; `None` if they must be read one by one.
    pub fn evaluate(&self, kind: Kind) -> Option<BatchRead> {
        let id = match kind {
            Kind::Server => self.server.as_ref(),
            Kind::Client => self.client.as_ref(),
        };
        let answer = abi::foreign_function("expr_evaluate", id?).ok()?;
        BatchRead::read(kind, self.istio, answer)
    }
}

impl Drop for Expressions {
    fn drop(&mut self) {
        for id in [&self.server, &self.client].into_iter().flatten() {
            // What the host does not delete it keeps: a few hundred bytes, once per configuration.
            let _ = abi::foreign_function("expr_delete", id);
        }
    }
}
