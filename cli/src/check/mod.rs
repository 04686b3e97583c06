//! `sidespan check`: files to findings.
//!
//! `docs/check.md` has a row for each kind of finding.

mod advice;
mod checker;
pub mod code;
mod document;
mod embedded;
mod envoy;
mod files;
mod finding;
mod outcome;
mod resource;
mod rules;
mod shape;
mod spec;
mod surroundings;
mod telemetry;
mod together;
mod validate;
mod variables;

pub use self::checker::{Checker, ROOT_NAMESPACE, check_files, check_text};
pub use self::code::Severity;
pub use self::finding::Finding;
pub use self::outcome::{Format, Outcome};
