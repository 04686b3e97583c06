//! One trace as a waterfall: a row for each span, with its tags, and the headers that each hop received and sent.

use crate::demo::adjusted_count::{self, AdjustedCount};
use crate::demo::examples::ExampleTrace;
use crate::demo::header_path::{Difference, Exchanges, Hop, Role};
use crate::demo::styled_text::percent;
use crate::demo::trace_tree::{self, REASON};
use serde::Serialize;
use serde_json::Value;
use sidespan_harness::ReceivedSpan;
use sidespan_harness::span::{Attributes, Status};

/// One trace.
#[derive(Serialize)]
pub(super) struct Waterfall {
    id: String,
    title: &'static str,
    explanation: String,
    /// From the first start to the last end.
    milliseconds: f64,
    spans: Vec<Row>,
    hops: Vec<HopTable>,
}

/// One span.
#[derive(Serialize)]
struct Row {
    depth: usize,
    service: String,
    /// A number for the colour of the service, from 0 in order of appearance.
    colour: usize,
    kind: String,
    name: String,
    milliseconds: f64,
    /// Milliseconds after the start of the trace.
    start: f64,
    /// Start of the bar in percent of the trace.
    left: f64,
    /// Length of the bar in percent of the trace.
    width: f64,
    /// HTTP status, or that there was none.
    status: String,
    error: bool,
    reason: String,
    /// Probability with which the span was kept; empty if unknown.
    probability: String,
    /// Number of requests that the span stands for; empty if unknown.
    stands_for: String,
    span_id: String,
    parent_span_id: String,
    trace_state: String,
    message: String,
    attributes: Vec<Tag>,
    resource: Vec<Tag>,
}

/// A name and a value.
#[derive(Serialize)]
struct Tag {
    name: String,
    value: String,
}

/// What a hop received and sent.
#[derive(Serialize)]
struct HopTable {
    name: String,
    /// `client`, `proxy` or `application`.
    role: &'static str,
    /// Whether it sent a request on.
    sends: bool,
    headers: Vec<Header>,
}

/// One header of a hop.
#[derive(Serialize)]
struct Header {
    name: String,
    received: Option<String>,
    sent: Option<String>,
    /// `added`, `changed`, `removed`, `same`, or `received` if the hop calls nobody.
    change: &'static str,
}

// === impl Waterfall ===

impl Waterfall {
    pub(super) fn of(example: &ExampleTrace<'_>, exchanges: &Exchanges) -> Self {
        let start = example.spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
        let end = example.spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
        let whole = end.saturating_sub(start);
        let mut services: Vec<&str> = Vec::new();
        let mut rows = Vec::new();
        for (depth, span) in trace_tree::ordered(&example.spans) {
            let colour = services.iter().position(|known| *known == span.service()).unwrap_or_else(|| {
                services.push(span.service());
                services.len() - 1
            });
            rows.push(Row { depth, colour, ..Row::of(span, start, whole) });
        }
        Self {
            id: example.trace_id.to_owned(),
            title: example.title,
            explanation: example.explanation.clone(),
            milliseconds: milliseconds(whole),
            spans: rows,
            hops: exchanges.path(example.entries).iter().map(HopTable::of).collect(),
        }
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

// === impl Row ===

impl Row {
    fn of(span: &ReceivedSpan, trace_start: u64, trace_length: u64) -> Self {
        let after = span.start_ns.saturating_sub(trace_start);
        let length = u64::try_from(span.duration().as_nanos()).unwrap_or(u64::MAX);
        let share = |part: u64| 100.0 * part as f64 / (trace_length.max(1)) as f64;
        let (probability, stands_for) = match adjusted_count::of(&span.trace_state) {
            AdjustedCount::Known { count } => (percent(1.0, count), format!("{count:.0}")),
            AdjustedCount::Unknown => (String::new(), String::new()),
        };
        Self {
            depth: 0,
            colour: 0,
            service: span.service().to_owned(),
            kind: format!("{:?}", span.kind).to_lowercase(),
            name: span.name.clone(),
            milliseconds: milliseconds(length),
            start: milliseconds(after),
            left: share(after),
            width: share(length),
            status: trace_tree::status_code(span),
            error: span.status == Status::Error,
            reason: span.text(REASON).unwrap_or_default().to_owned(),
            probability,
            stands_for,
            span_id: span.span_id.clone(),
            parent_span_id: span.parent_span_id.clone(),
            trace_state: span.trace_state.clone(),
            message: span.status_message.clone(),
            attributes: tags(&span.attributes),
            resource: tags(&span.resource),
        }
    }
}

fn tags(attributes: &Attributes) -> Vec<Tag> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    attributes.iter().map(|(name, value)| Tag { name: name.clone(), value: text(value) }).collect()
}

// === impl HopTable, Header ===

impl HopTable {
    fn of(hop: &Hop) -> Self {
        let role = match hop.role {
            Role::Client => "client",
            Role::Proxy => "proxy",
            Role::Application => "application",
        };
        let sends = hop.sent.is_some();
        let headers = hop.differences().iter().map(|difference| Header::of(difference, sends, hop.role)).collect();
        Self { name: hop.name.clone(), role, sends, headers }
    }
}

impl Header {
    fn of(difference: &Difference<'_>, sends: bool, role: Role) -> Self {
        let change = match (difference.received, difference.sent) {
            _ if role == Role::Client => "sent",
            (_, None) if !sends => "received",
            (None, _) => "added",
            (_, None) => "removed",
            (received, sent) if received == sent => "same",
            _ => "changed",
        };
        let owned = |value: Option<&str>| value.map(str::to_owned);
        Self {
            name: difference.name.to_owned(),
            received: owned(difference.received),
            sent: owned(difference.sent),
            change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::span;
    use sidespan_harness::span::Kind;

    #[test]
    fn a_bar_has_the_place_of_its_span_in_the_trace() {
        let mut child = span("t", "b", "a", "s", Kind::Client);
        (child.start_ns, child.end_ns) = (3_000_000, 4_000_000);
        child.trace_state = "ot=th:f3333333333333".to_owned();
        let row = Row::of(&child, 1_000_000, 4_000_000);
        assert_eq!((row.left, row.width, row.start, row.milliseconds), (50.0, 25.0, 2.0, 1.0));
        assert_eq!(
            (row.probability.as_str(), row.stands_for.as_str(), row.status.as_str()),
            ("5 %", "20", "no response")
        );
        let empty = Row::of(&child, 3_000_000, 0);
        assert!(empty.left.is_finite() && empty.width.is_finite());
    }

    #[test]
    fn each_header_says_what_the_hop_did_to_it() {
        let table = [
            (Some("1"), Some("1"), true, Role::Proxy, "same"),
            (Some("1"), Some("2"), true, Role::Proxy, "changed"),
            (None, Some("2"), true, Role::Proxy, "added"),
            (Some("1"), None, true, Role::Application, "removed"),
            (Some("1"), None, false, Role::Application, "received"),
            (None, Some("1"), true, Role::Client, "sent"),
        ];
        for (received, sent, sends, role, expected) in table {
            let header = Header::of(&Difference { name: "b3", received, sent }, sends, role);
            assert_eq!(header.change, expected, "{received:?} {sent:?}");
        }
    }
}
