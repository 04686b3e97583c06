//! One request through one listener, from its headers to its span. Every effect is an argument or a result.
//!
//! | file | concern |
//! |---|---|
//! | `plan` | what a configuration says about requests, shared by all streams |
//! | `host` | what a stream asks of the proxy |
//! | `state` | what is remembered of a request from one callback to the next |
//! | `request` | request headers: extract, decide, edit; once each |
//! | `response` | response headers: the status, and what is changed in them |
//! | `caps` | what callers tell of caps, what callees are told, and what a request costs |
//! | `whole_path` | the keep signal and the mark: callers learn of an error that was kept below |
//! | `callers` | which callers of a gateway are told |
//! | `native` | beside Envoy's own tracer: what is known of it and of a request |
//! | `adopt` | its ids become those of the span |
//! | `span_ids` | span ids of inbound requests, which can be recognised |
//! | `outcome` | what is known of the request, so far and at its end |
//! | `finish` | the end: the final decision, and the span if it is kept |
//!
//! A worker of a proxy needs this room only. [`crate::pipeline`] collects the spans, perhaps on another thread.

mod adopt;
mod callers;
mod caps;
mod finish;
mod host;
mod native;
mod outcome;
mod plan;
mod request;
mod response;
mod span_ids;
mod state;
mod whole_path;

pub use self::finish::{Fault, Finished};
pub use self::host::{MarkWritten, StreamHost};
pub use self::plan::Plan;
pub use self::state::Stream;
