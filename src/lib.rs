//! sidespan
pub mod config;
pub mod context;
pub mod export;
pub mod filter;
#[cfg(not(test))]
pub mod host;
pub mod id;
pub mod otlp;
pub mod propagation;
pub mod recorder;
pub mod sampling;
pub mod span;
