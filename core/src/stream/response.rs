//! The response headers: what they say, and what is changed in them.

use super::host::StreamHost;
use super::state::{ResponseHead, Stream};
use crate::config::Direction;
use crate::export::Stats;
use crate::http::headers::{self, Header, HeaderEdit};
use std::str::FromStr;

impl Stream {
    /// Reads the response headers, and returns their changes.
    pub fn response_headers(
        &mut self,
        headers: &[Header<'_>],
        end_of_stream: bool,
        host: &dyn StreamHost,
        stats: &mut Stats,
    ) -> Vec<HeaderEdit> {
        self.response = ResponseHead {
            seen: true,
            complete: end_of_stream,
            after_ns: service_time_ns(headers),
            status: headers::first(headers, b":status").and_then(number),
            grpc_status: headers::first(headers, b"grpc-status").filter(|_| self.original.grpc).and_then(number),
            attempts: 0,
        };
        let mut edits = Vec::new();
        let direction = self.original.direction;
        // A gateway's listener serves both sides, so it needs no mark for what it hears.
        match direction {
            Direction::Inbound => self.find_mark(host, stats),
            Direction::Outbound | Direction::Gateway => self.hear_callee(headers, host, stats, &mut edits),
        }
        match direction {
            Direction::Outbound => self.mark_early(host, stats),
            Direction::Inbound | Direction::Gateway => edits.extend(self.signal_to_caller(host, stats)),
        }
        edits.extend(self.trace_id_header());
        edits
    }

    /// `propagation.traceIdResponseHeader`, for the caller of this workload. An application does not need the trace ids of its
    /// own calls.
    fn trace_id_header(&self) -> Option<HeaderEdit> {
        let name = self.plan.config().propagation.trace_id_response_header.as_ref()?;
        let to_caller = self.original.direction != Direction::Outbound;
        to_caller.then(|| HeaderEdit::Set(name.clone().into(), self.trace_id.hex().to_vec()))
    }
}

/// What Envoy's router has measured, in milliseconds (`x-envoy-upstream-service-time`); 0 where that header is suppressed.
fn service_time_ns(headers: &[Header<'_>]) -> u64 {
    let time = headers::first(headers, b"x-envoy-upstream-service-time").and_then(number::<u32>);
    u64::from(time.unwrap_or_default()).saturating_mul(1_000_000)
}

/// A decimal number.
pub(super) fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
