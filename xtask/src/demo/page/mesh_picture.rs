//! The mesh as a picture: its services in the order of the calls, with the requests, errors and kept spans of each service and edge.

use crate::demo::access_log::LogEntry;
use crate::demo::account::{Observations, exported, index};
use crate::demo::header_path::Exchanges;
use crate::demo::hop::Hop;
use crate::demo::styled_text::percent;
use crate::demo::traffic::Traffic;
use serde::Serialize;

/// Everything in the picture.
#[derive(Serialize)]
pub(super) struct MeshPicture {
    /// From the client inwards.
    stations: Vec<Station>,
    /// What arrived at the receiver.
    collector: Collector,
}

/// A service with its Envoy, and the edge that leads to it.
#[derive(Serialize)]
struct Station {
    name: &'static str,
    /// Whether it is the gateway, which has no application.
    gateway: bool,
    /// Which trace headers the application forwards; empty if it calls nobody.
    forwards: String,
    edge: Rates,
    inbound: Rates,
}

/// Counts at a listener.
#[derive(Serialize)]
struct Rates {
    requests: usize,
    per_second: String,
    errors: usize,
    error_share: String,
    /// Kept spans; `None` where no span is made.
    spans: Option<usize>,
    span_share: String,
}

/// What arrived at the receiver.
#[derive(Serialize)]
struct Collector {
    spans: usize,
    calls: usize,
    kilobytes: String,
}

// === impl MeshPicture ===

impl MeshPicture {
    pub(super) fn of(observations: &Observations, traffic: &Traffic, exchanges: &Exchanges) -> Self {
        let index = index(&observations.spans);
        let seconds = traffic.time.as_secs_f64();
        let rates = |hop: Hop| {
            let entries: Vec<&LogEntry> = observations.entries.iter().filter(|entry| entry.hop == hop).collect();
            let errors = entries.iter().filter(|entry| entry.failed()).count();
            let spans = entries.iter().filter(|entry| exported(entry, &index).is_some()).count();
            Rates::new(entries.len(), errors, Some(spans), seconds)
        };
        let failed = traffic.failed + traffic.unanswered.len();
        let mut edge = Rates::new(observations.requests, failed, None, seconds);
        let mut stations = Vec::new();
        for hop in Hop::all() {
            if !hop.is_first() && !hop.is_inbound() {
                edge = rates(hop);
                continue;
            }
            let inbound = rates(hop);
            // The gateway makes one span of a request, so the edge behind it has the same counts and no span of its own.
            let next = Rates::new(inbound.requests, inbound.errors, None, seconds);
            let forwards = describe(&exchanges.forwarded(hop.service()));
            let edge = std::mem::replace(&mut edge, next);
            stations.push(Station { name: hop.service(), gateway: hop.is_first(), forwards, edge, inbound });
        }
        let collector = Collector {
            spans: observations.spans.len(),
            calls: observations.calls,
            kilobytes: format!("{:.0}", observations.bytes as f64 / 1000.0),
        };
        Self { stations, collector }
    }
}

/// The families of these trace headers.
fn describe(headers: &[&str]) -> String {
    let b3 = headers.iter().any(|name| name.contains("b3"));
    match (headers.iter().any(|name| name.starts_with("trace")), b3) {
        (true, true) => "forwards W3C and B3 headers",
        (true, false) => "forwards W3C headers only",
        (false, true) => "forwards B3 headers only",
        (false, false) => "",
    }
    .to_owned()
}

// === impl Rates ===

impl Rates {
    fn new(requests: usize, errors: usize, spans: Option<usize>, seconds: f64) -> Self {
        let per_second = format!("{:.0}", requests as f64 / seconds.max(f64::EPSILON));
        let span_share = percent(spans.unwrap_or_default() as f64, requests as f64);
        Self { requests, per_second, errors, error_share: percent(errors as f64, requests as f64), spans, span_share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::{entries_of, spans_of};
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn each_service_and_edge_has_the_counts_of_its_listener() {
        let failing = entries_of("a", &[500, 500, 500, 500, 503, 503], false);
        let healthy = entries_of("b", &[200; 6], false);
        let spans = spans_of(&failing, "ot=th:0");
        let entries = [failing, healthy].concat();
        let observations =
            Observations { requests: 2, entries, spans, calls: 1, bytes: 2000, metrics: BTreeMap::new() };
        let traffic = Traffic { succeeded: 1, failed: 1, time: Duration::from_secs(2), ..Traffic::default() };
        let picture = MeshPicture::of(&observations, &traffic, &Exchanges::default());
        let counts = |rates: &Rates| (rates.requests, rates.errors, rates.spans);
        let found: Vec<_> = picture.stations.iter().map(|s| (s.name, counts(&s.edge), counts(&s.inbound))).collect();
        let expected = [
            ("istio-ingressgateway", (2, 1, None), (2, 1, Some(1))),
            ("frontend", (2, 1, None), (2, 1, Some(1))),
            ("backend", (2, 1, Some(1)), (2, 1, Some(1))),
            ("database", (2, 1, Some(1)), (2, 1, Some(1))),
        ];
        assert_eq!(found, expected);
        assert_eq!((picture.stations[0].edge.per_second.as_str(), picture.collector.spans), ("1", 6));
    }

    #[test]
    fn what_an_application_forwards_is_named() {
        let table = [
            (&["traceparent"][..], "W3C headers only"),
            (&["b3"], "B3 headers only"),
            (&["tracestate", "b3"], "W3C and B3"),
        ];
        for (headers, expected) in table {
            assert!(describe(headers).contains(expected), "{headers:?}");
        }
        assert_eq!(describe(&[]), "");
    }
}
