//! CEL expressions that Envoy evaluates: all attributes of a span in one host call.

use crate::abi;
use crate::batch_read::{self, BatchRead};
use sidespan_core::span::Kind;

/// Compiled by the host, one for each kind of span and one for requests of which none may come; none where the host knows no CEL.
pub(crate) struct Expressions {
    istio: bool,
    server: Option<Vec<u8>>,
    client: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

// === impl Expressions ===

impl Expressions {
    /// Compiles them; `istio`: also for what only Istio's proxies have.
    pub(crate) fn new(istio: bool) -> Self {
        let compile = |expression: String| {
            let id = abi::foreign_function("expr_create", expression.as_bytes());
            id.ok().filter(|id| !id.is_empty())
        };
        let span = |kind| batch_read::expression(kind, istio);
        let [server, client, end] = [span(Kind::Server), span(Kind::Client), batch_read::end_expression()].map(compile);
        Self { istio, server, client, end }
    }

    /// The attributes of the current stream; `None` if they must be read one by one.
    pub(crate) fn evaluate(&self, kind: Kind) -> Option<BatchRead> {
        let id = match kind {
            Kind::Server => self.server.as_ref(),
            Kind::Client => self.client.as_ref(),
        };
        let answer = abi::foreign_function("expr_evaluate", id?).ok()?;
        BatchRead::read(kind, self.istio, answer)
    }

    /// How the current stream ended; `None` likewise.
    pub(crate) fn evaluate_end(&self) -> Option<BatchRead> {
        let answer = abi::foreign_function("expr_evaluate", self.end.as_ref()?).ok()?;
        BatchRead::read_end(answer)
    }
}

impl Drop for Expressions {
    fn drop(&mut self) {
        for id in [&self.server, &self.client, &self.end].into_iter().flatten() {
            // If the host does not delete it, a few hundred bytes stay for each configuration.
            let _ = abi::foreign_function("expr_delete", id);
        }
    }
}
