//! Envoy's own tracer, as far as a filter meets it: it starts its span before any filter, and the router writes its headers into
//! the request that filters saw (`source/extensions/tracers/opentelemetry/tracer.cc`, `source/extensions/tracers/zipkin/`).

use super::headers::HeaderMap;

/// A tracer of one Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Reads and writes `traceparent`, and always writes `tracestate`, even empty. The caller's flag decides.
    OpenTelemetry,
    /// Reads `b3`, else `x-b3-*`, and writes `x-b3-*`. `b3` stays as it came.
    Zipkin,
}

/// A span that the tracer exports if it is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeSpan {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// The caller's span; empty for a root.
    pub parent_id: String,
    /// Whether it is exported.
    pub sampled: bool,
}

// === impl Provider ===

impl Provider {
    /// The span of a request with these headers. `number` makes ids that differ, `rate` decides where no caller did.
    pub fn start(self, headers: &HeaderMap, number: u64, rate: bool) -> NativeSpan {
        let caller = match self {
            Self::OpenTelemetry => headers.text("traceparent").and_then(|value| fields(&value, 1)),
            Self::Zipkin => headers.text("b3").and_then(|value| fields(&value, 0)).or_else(|| {
                let header = |name: &str| headers.text(name);
                Some((header("x-b3-traceid")?, header("x-b3-spanid")?, header("x-b3-sampled").as_deref() == Some("1")))
            }),
        };
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (trace_id, parent_id, sampled) =
            caller.unwrap_or_else(|| (format!("{id:016x}{:016x}", id.rotate_left(17)), String::new(), rate));
        NativeSpan { trace_id, span_id: format!("{:016x}", id.rotate_left(31)), parent_id, sampled }
    }

    /// What the router sends: the headers after the filter, with those of the span.
    pub fn inject(self, headers: &HeaderMap, span: &NativeSpan) -> HeaderMap {
        let mut sent = headers.clone();
        match self {
            Self::OpenTelemetry => {
                let flags = if span.sampled { "01" } else { "00" };
                let state = headers.text("tracestate").unwrap_or_default();
                sent.set(b"traceparent", format!("00-{}-{}-{flags}", span.trace_id, span.span_id).as_bytes());
                sent.set(b"tracestate", state.as_bytes());
            }
            Self::Zipkin => {
                sent.set(b"x-b3-traceid", span.trace_id.as_bytes());
                sent.set(b"x-b3-spanid", span.span_id.as_bytes());
                sent.set(b"x-b3-sampled", if span.sampled { b"1" } else { b"0" });
                if !span.parent_id.is_empty() {
                    sent.set(b"x-b3-parentspanid", span.parent_id.as_bytes());
                }
            }
        }
        sent
    }
}

/// `[version-]trace-span-sampled`, of `traceparent` and of `b3`.
fn fields(value: &str, skip: usize) -> Option<(String, String, bool)> {
    let mut fields = value.split('-').skip(skip);
    let (trace, span) = (fields.next()?, fields.next()?);
    Some((trace.to_owned(), span.to_owned(), matches!(fields.next(), Some("01" | "1"))))
}
