//! Spans and access log entries for tests.

use super::access_log::LogEntry;
use super::hop::Hop;
use super::trace_context::{Context, Headers};
use sidespan_harness::ReceivedSpan;
use sidespan_harness::span::{Attributes, Kind, Scope, Status};

/// A span of 1.5 ms named `GET /`.
pub(super) fn span(trace_id: &str, span_id: &str, parent: &str, service: &str, kind: Kind) -> ReceivedSpan {
    ReceivedSpan {
        resource: Attributes::from([("service.name".to_owned(), service.into())]),
        scope: Scope::default(),
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        parent_span_id: parent.to_owned(),
        trace_state: String::new(),
        flags: 1,
        name: "GET /".to_owned(),
        kind,
        start_ns: 1_000_000,
        end_ns: 2_500_000,
        attributes: Attributes::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: String::new(),
        problems: Vec::new(),
    }
}

/// One entry for each hop in order, with the span ids `<trace>0`, `<trace>1`, …
pub(super) fn entries_of(trace_id: &str, codes: &[u16], sampled: bool) -> Vec<LogEntry> {
    let entry = |(n, (hop, status)): (usize, (Hop, &u16))| LogEntry {
        hop,
        path: "/".to_owned(),
        status: *status,
        flags: String::new(),
        sent: Headers::new(),
        context: Some(Context { trace_id: trace_id.to_owned(), span_id: format!("{trace_id}{n}"), sampled }),
    };
    Hop::all().zip(codes).enumerate().map(entry).collect()
}

/// A span for each of these entries.
pub(super) fn spans_of(entries: &[LogEntry], trace_state: &str) -> Vec<ReceivedSpan> {
    let mut parent = String::new();
    let mut spans = Vec::new();
    for context in entries.iter().filter_map(|entry| entry.context.as_ref()) {
        let mut span = span(&context.trace_id, &context.span_id, &parent, "s", Kind::Server);
        span.trace_state = trace_state.to_owned();
        parent.clone_from(&context.span_id);
        spans.push(span);
    }
    spans
}
