//! What is known of a request, so far and at its end. Each read is a host call, so only what the decision needs is read.

use super::host::StreamHost;
use super::response::number;
use super::state::{ResponseHead, Stream};
use crate::http::headers;
use crate::sampling::outcome::Outcome;
use crate::sampling::response_flags::ResponseFlags;
use crate::sampling::rules::Policy;
use crate::span::attributes::{Attributes, path, uint};

impl Stream {
    /// When the response headers have come: the status, and the time so far where a policy needs it.
    pub(super) fn outcome_so_far(&self, policy: &Policy, host: &dyn StreamHost) -> Outcome {
        let duration_ns = match &policy.slow {
            Some(_) => {
                let start = attribute(host.attributes(), path::REQUEST_TIME);
                start.map_or(0, |start| host.now_ns().saturating_sub(start))
            }
            None => 0,
        };
        let ResponseHead { status: http_status, grpc_status, .. } = self.response;
        Outcome { http_status, grpc_status, grpc: self.original.grpc, duration_ns, ..Outcome::default() }
    }

    /// When the stream has ended.
    pub(super) fn outcome(&self, policy: &Policy, attributes: &dyn Attributes) -> Outcome {
        let with_duration = policy.slow.is_some() || (policy.errors.whole_path && self.had_a_body());
        if with_duration {
            attributes.expect_end();
        }
        let http_status = match self.response.seen {
            true => self.response.status,
            false => {
                let code = attribute(attributes, path::RESPONSE_CODE).and_then(|code| u16::try_from(code).ok());
                code.filter(|code| *code >= 100)
            }
        };
        let grpc_status = match self.original.grpc && !self.response.complete {
            true => self.response.grpc_status.or_else(|| trailing_grpc_status(attributes)),
            false => self.response.grpc_status,
        };
        Outcome {
            http_status,
            grpc_status,
            grpc: self.original.grpc,
            flags: ResponseFlags(attribute(attributes, path::RESPONSE_FLAGS).unwrap_or_default()),
            duration_ns: if with_duration { duration_ns(attributes) } else { 0 },
            attempts: self.response.attempts,
        }
    }
}

/// First to last byte; 0 where Envoy does not tell.
pub(super) fn duration_ns(attributes: &dyn Attributes) -> u64 {
    attribute(attributes, path::REQUEST_DURATION).unwrap_or_default()
}

/// A number, time or duration among Envoy's attributes.
pub(super) fn attribute(attributes: &dyn Attributes, path: &[u8]) -> Option<u64> {
    attributes.get(path).as_deref().and_then(uint)
}

fn trailing_grpc_status(attributes: &dyn Attributes) -> Option<u32> {
    headers::first(&attributes.response_trailers(), b"grpc-status").and_then(number)
}
