//! What the wire shares: header names and values, percent-encoding, numbers as text, authorities, dates.
//!
//! This room holds rules of HTTP itself (RFC 9110, RFC 3986), not of a trace format or of an exporter. It knows no other
//! room; every room may read it.

pub(crate) mod authority;
pub(crate) mod date;
pub mod headers;
pub(crate) mod number;
pub(crate) mod percent;
pub(crate) mod token;
