//! Headers in, header edits out.
pub mod headers;
