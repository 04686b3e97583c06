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
const NAME: usize = 22;

/// The attribute that says why a span was kept.
pub(super) const REASON: &str = "sidespan.sampling.reason";

/// Attributes of the first span that are shown, in this order.
const TAGS: &[&str] = &["url.path", "tenant"];
/// Attributes of its resource.
const RESOURCE: &[&str] = &["k8s.namespace.name", "cloud.region"];

/// Writes a headline and the spans of one trace, children below their parents; the first one with a line of tags.
pub(super) fn write(out: &mut StyledText, spans: &[&ReceivedSpan]) {
    let head = format!(
        "{:SERVICE$}{:7} {:NAME$} {:>9}  {:12}{:8}{}",
        "service", "kind", "name", "time", "status", "kept by", "stands for"
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
        stands_for(span),
    );
    out.line(&line);
    let tags = tags(span);
    if depth == 0 && !tags.is_empty() {
        out.dim_line(&truncate(&format!("  {tags}"), WIDTH));
    }
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
    let code = status_code(span);
    match span.status {
        Status::Error => (Style::Red, format!("{code} error")),
        Status::Ok | Status::Unset => (Style::Green, code),
    }
}

/// The HTTP status as text, or that there was none.
pub(super) fn status_code(span: &ReceivedSpan) -> String {
    let code = span.int("http.response.status_code").or(span.int("http.status_code"));
    code.map_or_else(|| "no response".to_owned(), |code| code.to_string())
}

fn stands_for(span: &ReceivedSpan) -> String {
    match adjusted_count::of(&span.trace_state) {
        AdjustedCount::Known { count } => format!("{count:.0}"),
        AdjustedCount::Unknown => "unknown".to_owned(),
    }
}

fn tags(span: &ReceivedSpan) -> String {
    let own = TAGS.iter().filter_map(|key| Some((*key, span.attributes.get(*key)?)));
    let resource = RESOURCE.iter().filter_map(|key| Some((*key, span.resource.get(*key)?)));
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    own.chain(resource).map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ")
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
        server.trace_state = "ot=th:0".to_owned();
        let mut client = span("t", "a", "", "frontend", Kind::Client);
        client.trace_state = "ot=th:f333".to_owned();
        client.attributes.insert("url.path".to_owned(), "/shop".into());
        let text = text(&[server, client]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("frontend               CLIENT  GET /"), "{text}");
        assert!(lines[1].ends_with(" 20"), "{text}");
        assert_eq!(lines[2], "  url.path=/shop", "tags of the first span only");
        assert!(lines[3].starts_with("└ backend              SERVER  GET /"), "{text}");
        assert!(lines[3].ends_with("1.5 ms  503 error   error   1"), "{text}");
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
