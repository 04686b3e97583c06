//! The pure core of sidespan: what a tracer in a proxy decides, without the proxy.
//!
//! The core never asks a clock, the environment or the host: time,
//! randomness and attributes are arguments; header edits, encoded spans and calls to make are results. So the same code runs in
//! the proxy, in `sidespan explain`, and in tests that need no proxy.
//!
//! # The life of a request
//!
//! ```text
//!  Envoy                     the shell                   core
//!
//!  request headers ────────▶ stream: one read ─────────▶ propagation::extract    which trace is it?
//!                                                        sampling::decide        is it kept by the rate, or by its caller?
//!  changed headers ◀──────── stream: apply ◀──────────── propagation::edits      what is the next hop told?
//!        ⋮
//!  response headers ───────▶ stream ───────────────────▶ sampling::keep          was an error kept below, or is this one?
//!  keep signal ◀──────────── stream: apply ◀────────────   towards the caller
//!  mark in shared data ◀───▶ shared ◀──────────────────▶   towards the other listener of this pod
//!        ⋮
//!  end of stream (on_log) ─▶ stream ───────────────────▶ sampling::revise        is it kept after all, and with which threshold?
//!  attributes ◀────────────▶ attributes, if kept ──────▶ SpanBuilder::build      what happened
//!                                                        recorder                the cap, then otlp: bytes of the span
//!                                                        export                  the queue
//!        ⋮
//!  timer (on_tick) ────────▶ root ─────────────────────▶ Exporter::poll          what leaves now?
//!  call to the collector ◀── root: dispatch ◀───────────   one request
//!  its answer ─────────────▶ root ─────────────────────▶ Exporter::reply         delivered, to be sent again, or lost: counted
//! ```
//!
//! An unsampled success ends at `revise`: nothing is read for it but what the decision needs, and nothing outlives it.
//!
//! # The rooms
//!
//! Each knows only those before it; [`http`] and [`config`] are read by all. `tests/architecture.rs` holds them to that.
//!
//! | room | concern |
//! |---|---|
//! | [`config`] | what an operator can say; every problem with its path and a hint |
//! | [`http`] | what the wire shares: header names and values, percent-encoding, numbers, authorities, dates |
//! | [`id`] | trace and span ids, never zero; where random bytes come from |
//! | [`context`] | the span context: ids, flags, the four states of a decision |
//! | [`propagation`] | headers in, header edits out; one file for each format |
//! | [`sampling`] | the two decisions, thresholds, rules, the late keep, the cap |
//! | [`span`] | what one request becomes: name, kind, status, attributes, identity |
//! | [`otlp`] | bytes of the wire, and what an answer means |
//! | [`export`] | what leaves and when; every span accounted for |
//! | [`filter`] | the life of one stream over the rooms above |
//! | [`recorder`] | what becomes of a span that is kept: through the cap to the exporter |
//!
//! The shell that Envoy loads is the crate `sidespan`.
//!
//! # Nothing may trap
//!
//! A panic in the module answers the requests of a whole worker with 503. So lints deny `unwrap`, `expect`, `panic!`, indexing and
//! unchecked arithmetic here, every buffer has a bound, and the SDK, which panics, is not used.

#![forbid(unsafe_code)]
#![warn(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links, rustdoc::bare_urls)]

pub mod config;
pub mod context;
pub mod export;
pub mod filter;
pub mod http;
pub mod id;
pub mod otlp;
pub mod propagation;
pub mod recorder;
pub mod sampling;
pub mod span;
