//! The rooms of the `sidespan` command, as a library so that tests and other tools can use them.

pub mod check;
pub mod explain;
pub mod replay;
pub mod schema;
mod spec;
mod validate;
mod wasmplugin;
pub mod yaml;
