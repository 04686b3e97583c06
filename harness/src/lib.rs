//! harness

pub mod provide;
