//! What one request becomes: a [`Span`], independent of any encoding.
//!
//! [`SpanBuilder`] and [`Identity`] are made when the configuration is read, an [`OriginalRequest`] when a request comes in.
//! [`SpanBuilder::build`] makes a [`Span`] of them and of what Envoy knows when the request has ended.

pub mod attributes;
mod builder;
mod captured;
mod environment;
mod envoy;
mod exchange;
mod identity;
mod istio;
mod limits;
mod model;
mod name;
mod node;
mod original_request;
mod path_shape;
mod redact;
mod resource;
mod semconv;
mod settings;
mod side;
mod status;
pub mod tags;
#[cfg(test)]
mod tests;

pub use self::attributes::Attributes;
pub use self::builder::{EndedRequest, SpanBuilder};
pub use self::environment::Environment;
pub use self::identity::{Identity, Workload};
pub use self::model::{Attribute, Ids, Kind, Link, Span, Status, Value};
pub use self::original_request::OriginalRequest;
