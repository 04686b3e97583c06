//! A span as a test or the demo wants to look at it: plain values, hexadecimal ids, its resource and scope at hand.

mod from_otlp;
mod hops;
mod received;

pub use self::from_otlp::spans_of;
pub use self::hops::hops;
pub use self::received::{Attributes, Event, Kind, Link, ReceivedSpan, Scope, Status, only};
