//! The rooms of the `sidespan` command, as a library so that tests and other tools can use them.

pub mod check;
pub mod explain;
pub mod fit;
pub mod replay;
pub mod schema;
pub mod wasmplugin;
pub mod yaml;
