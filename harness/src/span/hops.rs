//! The path of one request over the spans of several exporters.

use super::received::ReceivedSpan;
use anyhow::{Result, ensure};

/// The spans of a trace by hop, from the root down: each hop has exactly one span, which is the child of the hop before and has the
/// service name given, from whichever exporter. Where Envoy's own tracer has a second span for what it sent upstream
/// (`spawn_upstream_span`), that one belongs to the hop too. The last hop has `attempts` spans with the same parent.
///
/// # Errors
/// If a span is missing, there twice, or left over; the message shows all of them.
pub fn hops<'a>(spans: &'a [ReceivedSpan], services: &[&str], attempts: usize) -> Result<Vec<Vec<&'a ReceivedSpan>>> {
    let (mut left, mut parent, mut path): (Vec<&ReceivedSpan>, &str, Vec<Vec<&ReceivedSpan>>) =
        (spans.iter().collect(), "", Vec::new());
    for (number, service) in services.iter().enumerate() {
        let expected = if number + 1 == services.len() { attempts } else { 1 };
        let (mut hop, mut others): (Vec<_>, Vec<_>) = left.into_iter().partition(|span| span.parent_span_id == parent);
        let named = hop.iter().all(|span| span.service() == *service);
        ensure!(hop.len() == expected && named, "{expected} of {service} below {parent:?}: {:#?}", outline(spans));
        for first in hop.clone() {
            let second = others.iter().position(|other| is_sent_upstream(first, other));
            hop.extend(second.map(|index| others.remove(index)));
        }
        parent = hop.last().map_or("", |last| &last.span_id);
        path.push(hop);
        left = others;
    }
    ensure!(left.is_empty(), "{} spans too many: {:#?}", left.len(), outline(spans));
    Ok(path)
}

/// Whether `second` is Envoy's span of what it sent upstream for the request of `first`.
fn is_sent_upstream(first: &ReceivedSpan, second: &ReceivedSpan) -> bool {
    let router = |span: &ReceivedSpan| span.name.starts_with("router ");
    second.parent_span_id == first.span_id && router(second) && !router(first)
}

fn outline(spans: &[ReceivedSpan]) -> Vec<String> {
    let line = |span: &ReceivedSpan| {
        let (scope, service, id, parent) = (&span.scope.name, span.service(), &span.span_id, &span.parent_span_id);
        format!("{service} {:?} {id} below {parent:?}, exported by {scope}: {}", span.kind, span.name)
    };
    spans.iter().map(line).collect()
}
