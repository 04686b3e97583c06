//! Decisions: at the request, and revised at the end.
pub mod outcome;
