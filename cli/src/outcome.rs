//! What the filter would do with a case: one line of output.

use serde::Serialize;
use serde_json::Value;

/// What the filter would do with a case. It is written as one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// The context in the request headers; `None` if there is no valid one.
    pub extracted: Option<Extracted>,
    /// A sampling decision without ids (`b3: 0`), which applies to the trace that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// What became of the ids that Envoy's own tracer sent, where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    /// Trace headers that are sent upstream, changed or not.
    pub upstream_headers: Vec<(String, String)>,
    /// Trace headers that are removed.
    pub removed_headers: Vec<String>,
    /// Headers added to the response.
    pub response_headers: Vec<(String, String)>,
    /// Whether the span is kept, and why.
    pub decision: Decision,
    /// The span as OTLP/JSON; `None` if none is exported.
    pub span: Option<Value>,
}

/// What became of the ids that Envoy's own tracer sent, with `nativeTracer: adopt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Native {
    /// The span has them.
    Adopted,
    /// The request matters, but the tracer has sampled it and exports it.
    Exports,
    /// There were none, so the span has ids of its own.
    Absent,
}

/// The context in the request headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Extracted {
    /// The propagation format, by its name in the configuration.
    pub format: String,
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits; `None` where the format can name a trace without a span.
    pub span_id: Option<String>,
    /// `accept`, `deny`, `debug` or `defer`.
    pub sampled: String,
    /// All `tracestate` headers combined; empty if there is none.
    pub tracestate: String,
}

/// The sampling decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    /// At the request.
    pub head: bool,
    /// At the end.
    pub keep: bool,
    /// The stratum: `head`, `parent`, `error`, `slow`, `marked`, `cancelled`, `debug`, `native` (exported by Envoy's own tracer),
    /// `drop` or `none`.
    pub reason: String,
    /// `th` of the exported span; `None` if the probability is unknown or nothing is exported.
    pub threshold: Option<String>,
}
