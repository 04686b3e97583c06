//! sidespan
pub mod config;
pub mod context;
pub mod id;
pub mod propagation;
pub mod sampling;
pub mod span;
