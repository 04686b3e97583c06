//! sidespan as a proxy-wasm filter: callbacks of Envoy come in, host calls go out.
//!
//! Everything that is decided is decided in [`sidespan_core`], which knows no host. `unsafe` code is in [`abi`] and
//! [`callbacks`] only.

#![warn(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links, rustdoc::bare_urls)]

pub mod abi;
mod attributes;
mod batch_read;
pub mod callbacks;
mod entropy;
mod envoy;
mod expressions;
mod logging;
mod marks;
mod pairs;
mod root;
mod shared;
mod stream;

pub use logging::start;
