//! Headers in, header edits out: which trace a request belongs to, and what the next hop is told.
//!
//! [`extract()`] reads the context of a request, [`edits()`] says how its headers must change. Edits are data: the shell makes
//! them.
//!
//! - Formats are read in the configured order and the first *valid* one wins. A malformed header counts as absent.
//! - Formats that name the same trace are one: W3C ids and `tracestate` are kept whichever comes first, debug in any of
//!   them is debug, else the winner's state counts. A 64-bit id is the same trace as the 128-bit id that ends with it.
//! - Formats that name other traces become links.
//! - What leaves is what the configuration injects plus every format that came in, valid or not, all with one context.
//!   So no two headers disagree, and none is stale. An opt-in format that the configuration does not name is not touched.
//!
//! The sources disagree on much of this (OpenTelemetry: last wins; Envoy and Datadog: first wins; Zipkin: B3 wins).

mod b3_multi;
mod b3_single;
pub(crate) mod baggage;
mod datadog;
mod edits;
mod extract;
mod format;
mod gcp;
mod header_name;
mod inject;
mod jaeger;
mod model;
mod native;
mod ottrace;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod test_support;
mod trace_headers;
pub(crate) mod traceparent;
mod tracestate;
mod xray;

pub use self::extract::extract;
pub use self::format::{Format, FormatSet};
pub use self::inject::edits;
pub use self::model::{Extracted, Incoming, Outgoing};
pub use self::native::NativeContexts;
pub use self::trace_headers::TraceHeaders;
pub use self::tracestate::TraceState;
