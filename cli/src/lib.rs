//! The `sidespan` command as a library, so that tests can use it.

mod case;
pub mod check;
pub mod explain;
mod outcome;
mod replay;
pub mod schema;
mod traffic_extension;
mod wasmplugin;
pub mod yaml;
