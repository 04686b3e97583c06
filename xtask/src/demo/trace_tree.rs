//! One trace as a tree.

use super::adjusted_count::{self, AdjustedCount};
use super::styled_text::{Style, StyledText, WIDTH, milliseconds, truncate};
use serde_json::Value;
use sidespan_harness::ReceivedSpan;
use sidespan_harness::span::{Kind, Status};
use std::collections::BTreeSet;

/// Columns of the tree with the service names.
const SERVICE: usize = 23;
/// Columns of the span's name.
const NAME: usize = 23;

/// The attribute that says why a span was kept.
pub(super) const REASON: &str = "sidespan.sampling.reason";

/// Attributes that are shown, in this order.
const TAGS: &[&str] = &["url.path", "url.query", "tenant", "http.request.resend_count", "envoy.response_flags"];
/// The same for a client span.
const CLIENT_TAGS: &[&str] =
    &["server.address", "envoy.upstream_cluster", "http.request.resend_count", "envoy.response_flags"];
/// Attributes of the resource: of a service, and of the first one.
const RESOURCE: &[&str] = &["k8s.namespace.name"];
const ROOT_RESOURCE: &[&str] = &["k8s.namespace.name", "cloud.region"];

/// Writes a headline and the spans of one trace, children below their parents, each with a line of tags.
pub(super) fn write(out: &mut StyledText, spans: &[&ReceivedSpan]) {
    let head = format!(
        "{:SERVICE$}{:7} {:NAME$} {:>9}  {:12}{:8}{}",
        "service", "kind", "name", "time", "status", "kept by", "counts as"
    );
    out.dim_line(&head);
    for (depth, span) in ordered(spans) {
        write_span(out, depth, span);
    }
}

/// Spans with their depth: each parent before its children, siblings by their start. A span whose parent is not among them
/// is a root; nothing is left out, whatever the ids say.
pub(super) fn ordered<'a>(spans: &[&'a ReceivedSpan]) -> Vec<(usize, &'a ReceivedSpan)> {
    let known: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut sorted = spans.to_vec();
    sorted.sort_by_key(|span| span.start_ns);
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    let roots = sorted.iter().filter(|span| !known.contains(span.parent_span_id.as_str()));
    // The second pass adds spans whose parents form a loop, so that no span is left out.
    for root in roots.chain(&sorted) {
        descend(&sorted, root, 0, &mut seen, &mut out);
    }
    out
}

fn descend<'a>(
    spans: &[&'a ReceivedSpan],
    span: &'a ReceivedSpan,
    depth: usize,
    seen: &mut BTreeSet<&'a str>,
    out: &mut Vec<(usize, &'a ReceivedSpan)>,
) {
    if !seen.insert(&span.span_id) {
        return;
    }
    out.push((depth, span));
    for child in spans.iter().filter(|child| child.parent_span_id == span.span_id) {
        descend(spans, child, depth + 1, seen, out);
    }
}

fn write_span(out: &mut StyledText, depth: usize, span: &ReceivedSpan) {
    let branch = branch(depth);
    let service = truncate(span.service(), SERVICE.saturating_sub(branch.chars().count() + 1));
    let (style, status) = status(span);
    let line = format!(
        "{:SERVICE$}{:7} {:NAME$} {:>9}  {}{:8}{}",
        format!("{branch}{service}"),
        kind(span.kind),
        truncate(&span.name, NAME),
        milliseconds(span.duration()),
        out.styled(style, &format!("{status:12}")),
        span.text(REASON).unwrap_or("?"),
        counts_as(span),
    );
    out.line(&line);
    let indent = " ".repeat(branch.chars().count());
    out.dim_line(&truncate(&format!("{indent}{}", tags(span, depth)), WIDTH));
}

fn branch(depth: usize) -> String {
    match depth {
        0 => String::new(),
        deeper => format!("{}└ ", "  ".repeat(deeper - 1)),
    }
}

fn kind(kind: Kind) -> String {
    format!("{kind:?}").to_uppercase()
}

fn status(span: &ReceivedSpan) -> (Style, String) {
    let code = span.int("http.response.status_code").or(span.int("http.status_code"));
    let code = code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
    match span.status {
        Status::Error => (Style::Red, format!("{code} error")),
        Status::Ok | Status::Unset => (Style::Green, code),
    }
}

fn counts_as(span: &ReceivedSpan) -> String {
    match adjusted_count::of(&span.trace_state) {
        AdjustedCount::Known { th, count } => format!("{count:.0}  (th:{th})"),
        AdjustedCount::Unknown => "?  (no th)".to_owned(),
    }
}

fn tags(span: &ReceivedSpan, depth: usize) -> String {
    let (own, resource) = match (span.kind, depth) {
        (Kind::Client, _) => (CLIENT_TAGS, &[][..]),
        (_, 0) => (TAGS, ROOT_RESOURCE),
        (_, _) => (TAGS, RESOURCE),
    };
    let own = own.iter().filter_map(|key| Some((*key, span.attributes.get(*key)?)));
    let resource = resource.iter().filter_map(|key| Some((*key, span.resource.get(*key)?)));
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut tags: Vec<String> = own.chain(resource).map(|(key, value)| format!("{key}={}", plain(value))).collect();
    if !span.status_message.is_empty() {
        tags.push(format!("{:?}", span.status_message));
    }
    tags.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::span;

    fn text(spans: &[ReceivedSpan]) -> String {
        let mut out = StyledText::plain();
        write(&mut out, &spans.iter().collect::<Vec<_>>());
        out.take()
    }

    #[test]
    fn children_are_written_below_their_parents_with_status_and_attributes() {
        let mut server = span("t", "b", "a", "backend", Kind::Server);
        server.attributes.insert(REASON.to_owned(), "error".into());
        server.attributes.insert("http.response.status_code".to_owned(), 503.into());
        server.attributes.insert("url.path".to_owned(), "/api".into());
        server.status = Status::Error;
        server.status_message = "reset".to_owned();
        server.trace_state = "ot=th:0".to_owned();
        let mut client = span("t", "a", "", "frontend", Kind::Client);
        client.trace_state = "ot=th:f333".to_owned();
        let text = text(&[server, client]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("frontend               CLIENT  GET /"), "{text}");
        assert!(lines[1].ends_with("20  (th:f333)"), "{text}");
        assert!(lines[3].starts_with("└ backend              SERVER  GET /"), "{text}");
        assert!(lines[3].contains("1.5 ms  503 error   error   1  (th:0)"), "{text}");
        assert_eq!(lines[4], "  url.path=/api \"reset\"");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn every_span_is_written_once_for_any_parent_ids() {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(id, parent)| span("t", id, parent, "s", Kind::Server)).collect::<Vec<_>>()
        };
        let table = [
            (of(&[("a", ""), ("b", "a"), ("c", "b")]), vec![0, 1, 2], "a chain"),
            (of(&[("a", ""), ("b", "a"), ("c", "a")]), vec![0, 1, 1], "siblings"),
            (of(&[("a", ""), ("c", "b")]), vec![0, 0], "the parent is missing"),
            (of(&[("a", "b"), ("b", "a")]), vec![0, 1], "a loop"),
            (of(&[("a", "a")]), vec![0], "its own parent"),
            (of(&[]), vec![], "nothing"),
        ];
        for (spans, expected, why) in table {
            let depths: Vec<usize> =
                ordered(&spans.iter().collect::<Vec<_>>()).iter().map(|(depth, _)| *depth).collect();
            assert_eq!(depths, expected, "{why}");
        }
    }
}
