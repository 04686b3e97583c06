//! sidespan as a dynamic module of Envoy: the same core as in the wasm filter, without a virtual machine.
//!
//! ```text
//! workers                                                        main thread
//!
//! hooks of requests ─▶ stream ─▶ core: Stream, Plan              hook of a configuration ─▶ process
//!                         │ spans, counts                            ▲           │
//!                         └──────────────▶ handover ─────────────────┼─▶ shared_tracer ─▶ core: Tracer
//!                                                                    │           │ export calls, metrics
//!                            thread of this module: ticker ──────────┘           └─▶ main_thread ─▶ Envoy
//! ```
//!
//! | file | concern |
//! |---|---|
//! | `hooks`, `guard` | what Envoy calls; nothing unwinds into it |
//! | `abi` | what Envoy is called for |
//! | `filter`, `live`, `attribute_ids`, `peer`, `marks` | a request, as the core asks for it |
//! | `stream` | one request |
//! | `handover` | from the workers to the main thread |
//! | `filter_config`, `scheduler`, `process` | Envoy's configurations, one for each listener |
//! | `shared_tracer`, `main_thread`, `calls`, `metrics` | one exporter for each distinct configuration |
//! | `ticker` | the thread that wakes the main thread |
//! | `node`, `yaml` | who this proxy is |
//!
//! `unsafe` code is where Envoy calls or is called; each use says why it is sound.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that is wrong must fail loudly"
    )
)]

mod abi;
mod attribute_ids;
mod bytes;
mod calls;
mod clock;
mod entropy;
#[cfg(test)]
mod fake_envoy;
mod fault;
mod filter;
mod filter_config;
mod guard;
mod handover;
pub mod hooks;
mod live;
mod logging;
mod main_thread;
mod marks;
mod metrics;
mod node;
mod peer;
mod process;
mod scheduler;
mod shared_tracer;
mod stream;
#[cfg(test)]
mod tests;
mod ticker;
mod yaml;
