//! The trace headers of one request, as each sender on its path sent them.

use super::access_log::LogEntry;
use super::source::Source;
use super::styled_text::{Style, StyledText};
use super::trace_context::{Context, Headers, TRACE_HEADERS};
use super::traffic::B3_CLIENT_HEADERS;
use anyhow::Result;
use sidespan_harness::mesh::Exchange;

/// A client, application or proxy, and the trace headers that it sent to the next one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// What the table calls it.
    pub name: String,
    /// Whether it is an Envoy with the filter.
    pub filter: bool,
    /// Trace headers.
    pub headers: Headers,
}

/// Widths of the columns of names and of W3C headers.
const NAME: usize = 30;
const W3C: usize = 36;

/// The senders on the path of the request of the B3 client, as applications and access logs recorded them.
///
/// # Errors
/// If the mesh has no service of that name.
pub(super) fn of_b3_client(source: &impl Source, entries: &[LogEntry]) -> Result<Vec<Sender>> {
    let sender = |name: String, filter, headers| Sender { name, filter, headers };
    let mut senders = vec![sender("client".to_owned(), false, owned(B3_CLIENT_HEADERS))];
    for entry in entries {
        let service = entry.hop.service();
        let (inbound, trace_id) = (entry.hop.is_inbound(), entry.context.as_ref().map(|context| &context.trace_id));
        let name = match (entry.hop.is_first(), inbound) {
            (true, _) => "gateway → frontend".to_owned(),
            (false, true) => format!("{service} sidecar → app"),
            (false, false) => format!("{service} sidecar → network"),
        };
        senders.push(sender(name, true, entry.sent.clone()));
        let exchange = if inbound { source.exchanges(service)? } else { Vec::new() };
        let exchange =
            exchange.iter().find(|exchange| context(exchange).as_ref().map(|context| &context.trace_id) == trace_id);
        for call in exchange.iter().flat_map(|exchange| &exchange.calls) {
            let sent: Vec<_> = call.sent.iter().filter(|(name, _)| is_trace_header(name)).cloned().collect();
            senders.push(sender(format!("{service} app → sidecar"), false, sent));
        }
    }
    Ok(senders)
}

/// Writes the senders in order, with W3C and B3 headers side by side.
pub(super) fn write(out: &mut StyledText, senders: &[Sender], trace_id: &str) {
    let short = short(trace_id);
    out.dim_line(&format!("{:NAME$}{:W3C$}{}", "sent by", "W3C Trace Context", "B3"));
    for sender in senders {
        let of = |b3: bool| -> Vec<String> {
            let headers = sender.headers.iter().filter(|(name, _)| name.contains("b3") == b3);
            let mut cell: Vec<String> =
                headers.map(|(name, value)| cell_text(name, &value.replace(trace_id, &short))).collect();
            if cell.is_empty() {
                cell.push("–".to_owned());
            }
            cell
        };
        let (w3c, b3) = (of(false), of(true));
        for line in 0..w3c.len().max(b3.len()) {
            let name = if line == 0 { sender.name.as_str() } else { "" };
            let style = if sender.filter { Style::Plain } else { Style::Yellow };
            let line_of = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            let row = format!("{}{:W3C$}{}", out.styled(style, &format!("{name:NAME$}")), line_of(&w3c), line_of(&b3));
            out.line(&row);
        }
    }
}

/// The value alone identifies `traceparent` and `b3`; other headers are written with their names.
fn cell_text(name: &str, value: &str) -> String {
    match name {
        "traceparent" | "b3" => value.to_owned(),
        name => format!("{name}: {value}"),
    }
}

/// First and last digits of a trace id.
pub(super) fn short(trace_id: &str) -> String {
    match (trace_id.get(..4), trace_id.get(trace_id.len().saturating_sub(4)..)) {
        (Some(first), Some(last)) if trace_id.len() > 9 => format!("{first}…{last}"),
        _ => trace_id.to_owned(),
    }
}

fn context(exchange: &Exchange) -> Option<Context> {
    let text = |(name, value): &(String, _)| {
        let value: &[u8] = AsRef::as_ref(value);
        Some((name.clone(), std::str::from_utf8(value).ok()?.to_owned()))
    };
    let headers: Headers = exchange
        .received
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.to_vec()))
        .filter_map(|pair| text(&pair))
        .collect();
    Context::of(&headers)
}

fn is_trace_header(name: &str) -> bool {
    TRACE_HEADERS.contains(&name)
}

fn owned(headers: &[(&str, &str)]) -> Headers {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w3c_and_b3_stand_side_by_side_with_the_trace_id_shortened() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let headers = owned(&[
            ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
            ("tracestate", "ot=th:8"),
            ("b3", &format!("{trace}-00f067aa0ba902b7-1")),
        ]);
        let senders = [
            Sender { name: "gateway".to_owned(), filter: true, headers },
            Sender { name: "app".to_owned(), filter: false, headers: Headers::new() },
        ];
        let mut out = StyledText::plain();
        write(&mut out, &senders, trace);
        let text = out.take();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim_end).collect();
        let expected = [
            "gateway                       00-4bf9…4736-00f067aa0ba902b7-01    4bf9…4736-00f067aa0ba902b7-1",
            "                              tracestate: ot=th:8",
            "app                           –                                   –",
        ];
        assert_eq!(lines, expected);
    }
}
