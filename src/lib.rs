//! sidespan as a proxy-wasm filter: Envoy's callbacks come in, host calls go out.
//!
//! Every decision is made in [`sidespan_core`], which knows no host. `unsafe` code is in [`abi`] and [`callbacks`] only.
//!
//! | file | concern |
//! |---|---|
//! | `callbacks` | what Envoy calls; which context is meant |
//! | `abi` | what Envoy is called for: host calls with results |
//! | `pairs` | the serialisation of header maps |
//! | `root`, `stream` | the two kinds of contexts |
//! | `shared`, `plans` | what a root context shares with its streams, and with other roots of the same configuration |
//! | `attributes`, `marks` | a request, as the core asks for it ([`sidespan_core::stream::StreamHost`]) |
//! | `expressions`, `batch_read` | all attributes of a span in one host call |
//! | `envoy` | timer, export calls, metrics ([`sidespan_core::tracer::TracerHost`]) |
//! | `entropy`, `logging` | random bytes; log lines |

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(unreachable_pub)]
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
mod plans;
mod root;
mod shared;
mod stream;

pub use logging::start;
