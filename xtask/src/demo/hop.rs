//! What happened on each hop, by Envoy's own access logs: the truth that spans are compared with.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Name of the gateway's workload.
pub const GATEWAY: &str = "istio-ingressgateway";

/// A listener that every request of the demo passes, unless somebody before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop(usize);

/// One request through one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Where.
    pub hop: Hop,
    /// Path as the client wrote it.
    pub path: String,
    /// Status sent downstream; 0 if there was none.
    pub status: u16,
    /// Envoy's response flags, empty for none.
    pub flags: String,
    /// Trace headers as they were sent on: name and value, in the order of [`TRACE_HEADERS`].
    pub sent: Headers,
    /// The context in them; `None` if nothing there can be read.
    pub context: Option<Context>,
}

/// Names and values.
pub type Headers = Vec<(String, String)>;

/// Trace, span and sampled flag, from whichever header holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// 32 lower-case hex digits; a 64-bit B3 id is padded on the left.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// The sampled flag, `false` if there is none.
    pub sampled: bool,
}

/// Passages of one trace in the order of the hops.
pub type Journeys = BTreeMap<String, Vec<Passage>>;

/// What is logged of a request.
pub const TRACE_HEADERS: &[&str] = &[
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// Service, listener, and what to call it, from the client inwards.
const HOPS: &[(&str, &str, &str)] = &[
    (GATEWAY, "gateway", "gateway"),
    ("frontend", "inbound", "frontend inbound"),
    ("frontend", "outbound", "frontend outbound"),
    ("backend", "inbound", "backend inbound"),
    ("backend", "outbound", "backend outbound"),
    ("database", "inbound", "database inbound"),
];

/// Access logs write this for what is not there.
const ABSENT: &str = "-";

/// The format of the access logs that [`Passage::read`] reads.
pub fn access_log_format() -> String {
    let headers = TRACE_HEADERS.iter().map(|name| format!("%REQ({name})%"));
    let fields = ["%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%REQ(:PATH)%"].map(str::to_owned);
    fields.into_iter().chain(headers).collect::<Vec<_>>().join("\t")
}

/// Passages by trace; those whose trace nobody wrote down are left out.
pub fn journeys(passages: &[Passage]) -> Journeys {
    let mut journeys = Journeys::new();
    for passage in passages {
        if let Some(context) = &passage.context {
            journeys.entry(context.trace_id.clone()).or_default().push(passage.clone());
        }
    }
    journeys.values_mut().for_each(|journey| journey.sort_by_key(|passage| passage.hop));
    journeys
}

/// The part of a journey that must be kept when something failed: from the root to the deepest failure.
pub fn path_to_failure(journey: &[Passage]) -> &[Passage] {
    let end = journey.iter().rposition(Passage::failed).map_or(0, |deepest| deepest + 1);
    &journey[..end]
}

// === impl Hop ===

impl Hop {
    /// From the client inwards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..HOPS.len()).map(Self)
    }

    /// The service whose Envoy it belongs to.
    pub fn service(self) -> &'static str {
        HOPS[self.0].0
    }

    /// The file of its access log.
    pub fn access_log(self) -> String {
        format!("{}.log", HOPS[self.0].1)
    }

    /// What to call it.
    pub fn label(self) -> &'static str {
        HOPS[self.0].2
    }

    /// Whether requests from outside come here first.
    pub fn is_first(self) -> bool {
        self.0 == 0
    }

    /// Whether it leads to an application rather than to another hop.
    pub fn is_inbound(self) -> bool {
        HOPS[self.0].1 == "inbound"
    }
}

// === impl Passage ===

impl Passage {
    /// Reads one line of an access log.
    pub fn read(hop: Hop, line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        ensure!(fields.len() == 3 + TRACE_HEADERS.len(), "access log of {}: {line:?}", hop.label());
        let present = |value: &str| value != ABSENT;
        let named = TRACE_HEADERS.iter().zip(&fields[3..]).filter(|(_, value)| present(value));
        let sent: Headers = named.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self {
            hop,
            path: fields[2].to_owned(),
            status: fields[0].parse().with_context(|| format!("access log of {}: {line:?}", hop.label()))?,
            flags: Some(fields[1]).filter(|flags| present(flags)).unwrap_or_default().to_owned(),
            context: Context::of(&sent),
            sent,
        })
    }

    /// A server error, or no answer at all.
    pub fn failed(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

// === impl Context ===

impl Context {
    /// From the first header that can be read: `traceparent`, `b3`, `x-b3-…`.
    pub fn of(headers: &[(String, String)]) -> Option<Self> {
        let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let traceparent = value("traceparent").and_then(|value| {
            let mut parts = value.split('-').skip(1);
            let (trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?);
            Self::new(trace_id, span_id, u8::from_str_radix(flags, 16).ok()? & 1 == 1)
        });
        let single = || {
            let mut parts = value("b3")?.split('-');
            let (trace_id, span_id) = (parts.next()?, parts.next()?);
            Self::new(trace_id, span_id, matches!(parts.next(), Some("1" | "d")))
        };
        let multi = || Self::new(value("x-b3-traceid")?, value("x-b3-spanid")?, value("x-b3-sampled") == Some("1"));
        traceparent.or_else(single).or_else(multi)
    }

    fn new(trace_id: &str, span_id: &str, sampled: bool) -> Option<Self> {
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let valid = [16, 32].contains(&trace_id.len()) && span_id.len() == 16 && is_hex(trace_id) && is_hex(span_id);
        valid.then(|| Self { trace_id: format!("{trace_id:0>32}"), span_id: span_id.to_owned(), sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Headers {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_context_is_found_in_every_form() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let whole = format!("00-{trace}-00f067aa0ba902b7-03");
        let single = format!("{trace}-00f067aa0ba902b7-0-e457b5a2e4d86bd1");
        let table = [
            (headers(&[("traceparent", &whole)]), Some((trace, true)), "W3C"),
            (headers(&[("b3", &single)]), Some((trace, false)), "B3 single"),
            (
                headers(&[
                    ("x-b3-traceid", "a3ce929d0e0e4736"),
                    ("x-b3-spanid", "00f067aa0ba902b7"),
                    ("x-b3-sampled", "1"),
                ]),
                Some(("0000000000000000a3ce929d0e0e4736", true)),
                "B3 multi, 64 bits",
            ),
            (headers(&[("b3", "0")]), None, "a decision is no context"),
            (headers(&[("traceparent", "00-xyz-00f067aa0ba902b7-01")]), None, "no hex"),
            (headers(&[]), None, "nothing"),
        ];
        for (headers, expected, why) in table {
            let found = Context::of(&headers);
            assert_eq!(found.as_ref().map(|found| (found.trace_id.as_str(), found.sampled)), expected, "{why}");
        }
    }

    #[test]
    fn a_line_of_an_access_log_is_read() {
        let hop = Hop::all().next().expect("a hop");
        let line = "503\tUC\t/checkout/7\t-\t-\t4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1\t-\t-\t-\t-\t-";
        let passage = Passage::read(hop, line).expect("reads");
        assert_eq!((passage.status, passage.flags.as_str(), passage.failed()), (503, "UC", true));
        assert_eq!(passage.sent.len(), 1);
        assert!(passage.context.is_some_and(|context| context.sampled));
        assert!(Passage::read(hop, "503\tUC").is_err());
    }

    #[test]
    fn the_path_to_a_failure_ends_at_the_deepest_one() {
        let passage = |hop, status| Passage {
            hop,
            path: String::new(),
            status,
            flags: String::new(),
            sent: Headers::new(),
            context: None,
        };
        let journey = |codes: &[u16]| Hop::all().zip(codes).map(|(hop, code)| passage(hop, *code)).collect::<Vec<_>>();
        let table = [
            (&[200, 200, 200][..], 0, "nothing failed"),
            (&[500, 500, 500, 500], 4, "all the way up"),
            (&[200, 200, 200, 200, 503, 503], 6, "masked by the backend"),
            (&[200, 200, 0, 200], 3, "no answer is a failure, what is below is not on the path"),
        ];
        for (codes, expected, why) in table {
            assert_eq!(path_to_failure(&journey(codes)).len(), expected, "{why}");
        }
    }
}
