//! The trace context in the headers of a request: W3C Trace Context or B3. Read without the code of the filter, so that the demo does
//! not repeat its errors.

/// Names and values.
pub(crate) type Headers = Vec<(String, String)>;

/// Trace, span and sampled flag, from whichever header holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// 32 lower-case hex digits; a 64-bit B3 id is padded on the left.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// The sampled flag, `false` if there is none.
    pub sampled: bool,
}

/// What is logged of a request.
pub(crate) const TRACE_HEADERS: &[&str] = &[
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

// === impl Context ===

impl Context {
    /// From the first header that can be read: `traceparent`, `b3`, `x-b3-…`.
    pub(crate) fn of(headers: &[(String, String)]) -> Option<Self> {
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
}
