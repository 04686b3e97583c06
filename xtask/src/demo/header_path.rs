//! The trace headers of one request: what each client, application and proxy on its path received and sent.

use super::access_log::LogEntry;
use super::source::Source;
use super::trace_context::{Context, Headers, TRACE_HEADERS};
use super::traffic::{B3_CLIENT_HEADERS, B3_CLIENT_TRACE};
use anyhow::Result;
use sidespan_harness::mesh::Exchange;
use std::collections::BTreeMap;

/// A client, an application or a proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Trace headers that it received. A proxy received what the hop before it sent.
    pub received: Headers,
    /// Trace headers that it sent on; `None` if it called nobody.
    pub sent: Option<Headers>,
}

/// What a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Sends the request.
    Client,
    /// An Envoy with the filter.
    Proxy,
    /// Forwards the headers that it knows.
    Application,
}

/// A header of a hop.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference<'a> {
    /// Lower-case.
    pub name: &'a str,
    /// Value received.
    pub received: Option<&'a str>,
    /// Value sent on.
    pub sent: Option<&'a str>,
}

/// The exchanges of the applications, by application and trace id.
#[derive(Default)]
pub(super) struct Exchanges(BTreeMap<(&'static str, String), Exchange>);

// === impl Exchanges ===

impl Exchanges {
    /// Asks the applications behind the hops of these entries.
    ///
    /// # Errors
    /// If the mesh has no service of that name.
    pub(super) fn of<'a>(source: &impl Source, entries: impl IntoIterator<Item = &'a LogEntry>) -> Result<Self> {
        let mut services: Vec<&'static str> =
            entries.into_iter().filter(|entry| entry.hop.is_inbound()).map(|entry| entry.hop.service()).collect();
        services.sort_unstable();
        services.dedup();
        let mut exchanges = BTreeMap::new();
        for service in services {
            for exchange in source.exchanges(service)? {
                if let Some(context) = Context::of(&received(&exchange)) {
                    exchanges.insert((service, context.trace_id), exchange);
                }
            }
        }
        Ok(Self(exchanges))
    }

    /// Names of the trace headers that an application sent in all of its calls; empty if it made none.
    pub(super) fn forwarded(&self, service: &str) -> Vec<&'static str> {
        let own = self.0.iter().filter(|((name, _), _)| *name == service).map(|(_, exchange)| exchange);
        let sent: Vec<&str> = own
            .flat_map(|exchange| &exchange.calls)
            .flat_map(|call| &call.sent)
            .map(|(name, _)| name.as_str())
            .collect();
        TRACE_HEADERS.iter().copied().filter(|name| sent.contains(name)).collect()
    }

    /// The hops on the path of one request, from the client inwards.
    pub(super) fn path(&self, entries: &[LogEntry]) -> Vec<Hop> {
        let trace_id = entries.iter().find_map(|entry| entry.context.as_ref()).map(|context| context.trace_id.as_str());
        let from_client = if trace_id == Some(B3_CLIENT_TRACE) { owned(B3_CLIENT_HEADERS) } else { Headers::new() };
        let client = Hop {
            name: "client".to_owned(),
            role: Role::Client,
            received: Headers::new(),
            sent: Some(from_client.clone()),
        };
        let (mut hops, mut last) = (vec![client], from_client);
        for entry in entries {
            let name = format!("{} (Envoy)", entry.hop.label());
            let sent = entry.sent.clone();
            hops.push(Hop { name, role: Role::Proxy, received: last, sent: Some(sent.clone()) });
            last = sent;
            let key = (entry.hop.service(), trace_id.unwrap_or_default().to_owned());
            if let Some(exchange) = self.0.get(&key).filter(|_| entry.hop.is_inbound()) {
                let sent = exchange.calls.first().map(|call| trace_headers(&call.sent));
                let name = format!("{} application", entry.hop.service());
                hops.push(Hop { name, role: Role::Application, received: received(exchange), sent: sent.clone() });
                last = sent.unwrap_or_default();
            }
        }
        hops
    }
}

// === impl Hop ===

impl Hop {
    /// Each trace header that was received or sent, in the order of [`TRACE_HEADERS`].
    pub(super) fn differences(&self) -> Vec<Difference<'_>> {
        let sent = self.sent.as_deref().unwrap_or_default();
        let all = TRACE_HEADERS.iter();
        all.map(|name| Difference { name, received: value(&self.received, name), sent: value(sent, name) })
            .filter(|header| header.received.is_some() || header.sent.is_some())
            .collect()
    }
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The trace headers that an application received. Values that are not UTF-8 are left out.
fn received(exchange: &Exchange) -> Headers {
    let text = |name: &str| Some((name.to_owned(), exchange.received.header(name)?.to_owned()));
    TRACE_HEADERS.iter().filter_map(|name| text(name)).collect()
}

fn trace_headers(headers: &[(String, String)]) -> Headers {
    headers.iter().filter(|(name, _)| TRACE_HEADERS.contains(&name.as_str())).cloned().collect()
}

fn owned(headers: &[(&str, &str)]) -> Headers {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::entries_of;

    #[test]
    fn each_hop_receives_what_the_one_before_it_sent() {
        let mut entries = entries_of("a", &[200; 3], true);
        entries[0].sent = owned(&[("traceparent", "1")]);
        entries[1].sent = owned(&[("traceparent", "2"), ("tracestate", "ot=th:8")]);
        let hops = Exchanges(BTreeMap::new()).path(&entries);
        let names: Vec<&str> = hops.iter().map(|hop| hop.name.as_str()).collect();
        assert_eq!(
            names,
            ["client", "gateway (Envoy)", "frontend inbound (Envoy)", "frontend outbound (Envoy)"],
            "no application recorded this request"
        );
        assert_eq!((&hops[2].received, hops[2].sent.as_ref()), (&entries[0].sent, Some(&entries[1].sent)));
        let expected = [
            Difference { name: "traceparent", received: Some("1"), sent: Some("2") },
            Difference { name: "tracestate", received: None, sent: Some("ot=th:8") },
        ];
        assert_eq!(hops[2].differences(), expected);
    }

    #[test]
    fn the_b3_client_sends_its_headers() {
        let hops = Exchanges(BTreeMap::new()).path(&entries_of(B3_CLIENT_TRACE, &[200], true));
        assert_eq!(hops[0].sent.as_deref(), Some(&owned(B3_CLIENT_HEADERS)[..]));
        assert_eq!(hops[1].received, owned(B3_CLIENT_HEADERS));
    }
}
