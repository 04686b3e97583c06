//! Envoy's access logs: what really happened at each hop. The spans are compared with them.

use super::hop::Hop;
use super::trace_context::{Context, Headers, TRACE_HEADERS};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// One request through one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// The listener that wrote it.
    pub hop: Hop,
    /// Path as the client wrote it.
    pub path: String,
    /// Status sent downstream; 0 if there was none.
    pub status: u16,
    /// Envoy's response flags, empty for none.
    pub flags: String,
    /// Trace headers as they were sent on: name and value, in the order of [`TRACE_HEADERS`].
    pub sent: Headers,
    /// The context in these headers; `None` if no header can be read.
    pub context: Option<Context>,
}

/// The entries of each trace, in the order of the hops; the key is the trace id.
pub(crate) type EntriesByTrace = BTreeMap<String, Vec<LogEntry>>;

/// What access logs write for an absent value.
const ABSENT: &str = "-";

/// The format of the access logs that [`LogEntry::read`] reads.
pub(crate) fn format() -> String {
    let headers = TRACE_HEADERS.iter().map(|name| format!("%REQ({name})%"));
    let fields = ["%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%REQ(:PATH)%"].map(str::to_owned);
    fields.into_iter().chain(headers).collect::<Vec<_>>().join("\t")
}

/// Groups entries by trace. Entries without a trace context are left out.
pub(crate) fn by_trace(entries: &[LogEntry]) -> EntriesByTrace {
    let mut traces = EntriesByTrace::new();
    for entry in entries {
        if let Some(context) = &entry.context {
            traces.entry(context.trace_id.clone()).or_default().push(entry.clone());
        }
    }
    traces.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.hop));
    traces
}

/// The entries whose spans must be kept when something failed: from the root to the deepest failure.
pub(crate) fn path_to_failure(entries: &[LogEntry]) -> &[LogEntry] {
    let end = entries.iter().rposition(LogEntry::failed).map_or(0, |deepest| deepest + 1);
    &entries[..end]
}

// === impl LogEntry ===

impl LogEntry {
    /// Reads one line of an access log.
    pub(crate) fn read(hop: Hop, line: &str) -> Result<Self> {
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
    pub(crate) fn failed(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_access_log_is_read() {
        let hop = Hop::all().next().expect("a hop");
        let line = "503\tUC\t/checkout/7\t-\t-\t4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1\t-\t-\t-\t-\t-";
        let entry = LogEntry::read(hop, line).expect("reads");
        assert_eq!((entry.status, entry.flags.as_str(), entry.failed()), (503, "UC", true));
        assert_eq!(entry.sent.len(), 1);
        assert!(entry.context.is_some_and(|context| context.sampled));
        assert!(LogEntry::read(hop, "503\tUC").is_err());
    }

    #[test]
    fn the_path_to_a_failure_ends_at_the_deepest_one() {
        let entry = |hop, status| LogEntry {
            hop,
            path: String::new(),
            status,
            flags: String::new(),
            sent: Headers::new(),
            context: None,
        };
        let entries = |codes: &[u16]| Hop::all().zip(codes).map(|(hop, code)| entry(hop, *code)).collect::<Vec<_>>();
        let table = [
            (&[200, 200, 200][..], 0, "nothing failed"),
            (&[500, 500, 500, 500], 4, "all the way up"),
            (&[200, 200, 200, 200, 503, 503], 6, "masked by the backend"),
            (&[200, 200, 0, 200], 3, "no answer is a failure, what is below is not on the path"),
        ];
        for (codes, expected, why) in table {
            assert_eq!(path_to_failure(&entries(codes)).len(), expected, "{why}");
        }
    }
}
