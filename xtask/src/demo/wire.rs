//! The trace headers of one request, as they left each place on its way.

use super::hop::{Context, Headers, Passage};
use super::paper::{Ink, Paper};
use super::traffic::GUEST;
use anyhow::Result;
use sidespan_harness::mesh::{Exchange, Mesh};

/// What left a place: what leaves one enters the next.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Who sent.
    pub who: String,
    /// Whether it was an Envoy with the filter.
    pub filter: bool,
    /// Trace headers.
    pub headers: Headers,
}

/// Columns of the place, and of the W3C headers.
const WHO: usize = 30;
const W3C: usize = 36;

/// The places that the guest's request passed, from what applications and access logs recorded.
pub fn places(mesh: &Mesh, journey: &[Passage], client: &[(&str, &str)]) -> Result<Vec<Place>> {
    let place = |who: String, filter, headers| Place { who, filter, headers };
    let mut places = vec![place("client".to_owned(), false, owned(client))];
    for passage in journey {
        let service = passage.hop.service();
        let (inbound, trace_id) = (passage.hop.is_inbound(), passage.context.as_ref().map(|context| &context.trace_id));
        let who = match (passage.hop.is_first(), inbound) {
            (true, _) => "gateway → frontend".to_owned(),
            (false, true) => format!("{service} sidecar → app"),
            (false, false) => format!("{service} sidecar → network"),
        };
        places.push(place(who, true, passage.sent.clone()));
        let exchange = if inbound { mesh.exchanges(service)? } else { Vec::new() };
        let exchange = exchange.iter().find(|exchange| context(exchange).as_ref().map(|it| &it.trace_id) == trace_id);
        for call in exchange.iter().flat_map(|exchange| &exchange.calls) {
            let sent: Vec<_> = call.sent.iter().filter(|(name, _)| is_trace_header(name)).cloned().collect();
            places.push(place(format!("{service} app → sidecar"), false, sent));
        }
    }
    Ok(places)
}

/// The guest's own headers.
pub fn guest(mesh: &Mesh, journey: &[Passage]) -> Result<Vec<Place>> {
    places(mesh, journey, GUEST)
}

/// Writes one place after the other, W3C and B3 side by side.
pub fn write(paper: &mut Paper, places: &[Place], trace_id: &str) {
    let short = short(trace_id);
    paper.note(&format!("{:WHO$}{:W3C$}{}", "sent by", "W3C Trace Context", "B3"));
    for place in places {
        let of = |b3: bool| -> Vec<String> {
            let headers = place.headers.iter().filter(|(name, _)| name.contains("b3") == b3);
            let mut cell: Vec<String> =
                headers.map(|(name, value)| shown(name, &value.replace(trace_id, &short))).collect();
            if cell.is_empty() {
                cell.push("–".to_owned());
            }
            cell
        };
        let (w3c, b3) = (of(false), of(true));
        for line in 0..w3c.len().max(b3.len()) {
            let who = if line == 0 { place.who.as_str() } else { "" };
            let ink = if place.filter { Ink::Plain } else { Ink::Yellow };
            let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            let row = format!("{}{:W3C$}{}", paper.ink(ink, &format!("{who:WHO$}")), cell(&w3c), cell(&b3));
            paper.line(&row);
        }
    }
}

/// The value says which header it is, but for the many of B3.
fn shown(name: &str, value: &str) -> String {
    match name {
        "traceparent" | "b3" => value.to_owned(),
        name => format!("{name}: {value}"),
    }
}

/// First and last digits of a trace id.
pub fn short(trace_id: &str) -> String {
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
    super::hop::TRACE_HEADERS.contains(&name)
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
        let places = [
            Place { who: "gateway".to_owned(), filter: true, headers },
            Place { who: "app".to_owned(), filter: false, headers: Headers::new() },
        ];
        let mut paper = Paper::plain();
        write(&mut paper, &places, trace);
        let text = paper.take();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim_end).collect();
        let expected = [
            "gateway                       00-4bf9…4736-00f067aa0ba902b7-01    4bf9…4736-00f067aa0ba902b7-1",
            "                              tracestate: ot=th:8",
            "app                           –                                   –",
        ];
        assert_eq!(lines, expected);
    }
}
