//! sidespan
pub mod config;
pub mod context;
pub mod export;
pub mod id;
pub mod otlp;
pub mod propagation;
pub mod sampling;
pub mod span;
