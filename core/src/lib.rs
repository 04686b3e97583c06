//! The pure core of sidespan: the decisions of a tracer in a proxy, without the proxy.
//!
//! The core never asks a clock, the environment or the proxy by itself. Time, randomness and attributes are arguments or come
//! through two small traits; header edits, encoded spans and calls to make are results. So the same code runs in a proxy, in
//! `sidespan explain`, and in tests that need no proxy, and a second shell around it stays thin.
//!
//! # The life of a request
//!
//! ```text
//!  Envoy                    a shell                    the core
//!
//!  request headers ───────▶ read once ───────────────▶ Stream::start
//!                                                        propagation::extract   which trace is it?
//!                                                        sampling::decide       is it kept by the rate, or by its caller?
//!  changed headers ◀─────── apply the edits ◀──────────  propagation::edits     what is the next hop told?
//!        ⋮
//!  response headers ──────▶ read once ───────────────▶ Stream::response_headers
//!                                                        late_keep              was an error kept below, or is this one?
//!  keep signal ◀─────────── apply the edits ◀──────────    to the caller
//!  mark ◀─────────────────▶ StreamHost ◀──────────────▶    to the other listener of this pod
//!        ⋮
//!  end of the stream ─────▶ log ─────────────────────▶ Stream::finish
//!                                                        sampling::revise       is it kept after all, with which threshold?
//!  attributes ◀───────────▶ Attributes, if kept ◀─────▶  span::build            what happened
//!                             Finished
//!                                │ the same thread, or another one
//!                                ▼
//!                           record ──────────────────▶ Tracer::record
//!                                                        Pipeline               otlp: bytes of the span
//!                                                        Exporter::push         the queue
//!        ⋮
//!  timer ─────────────────▶ tick ────────────────────▶ Tracer::tick
//!  call to the collector ◀─ TracerHost ◀──────────────── Exporter::poll         what leaves now?
//!  metrics ◀─────────────── TracerHost ◀──────────────── Stats
//!  reply of the collector ▶ replied ─────────────────▶ Tracer::replied
//!                                                        Exporter::reply        delivered, to be sent again, or lost: counted
//! ```
//!
//! A successful request that is not sampled ends at `revise`: only what the decision needs is read for it, and nothing
//! outlives it.
//!
//! # Two shells
//!
//! | trait | what a shell implements | called by |
//! |---|---|---|
//! | [`span::Attributes`] | attributes and header maps of a request | a stream |
//! | [`stream::StreamHost`] | the above, the clock, marks | a stream, on the thread of its worker |
//! | [`id::Entropy`] | random bytes | the beginning of a stream |
//! | [`tracer::TracerHost`] | timer, export calls, compression, metrics | [`tracer::Tracer`], on the thread that owns it |
//!
//! The shell that Envoy's VM loads is the crate `sidespan`. There one thread does everything. Where workers run in parallel, they
//! share a [`stream::Plan`] (`Send + Sync`), each counts into [`export::Stats`] of its own, and they hand [`stream::Finished`]
//! spans (`Send`) to the one thread that owns the tracer.
//!
//! # The rooms
//!
//! Each knows only those before it; [`http`] and [`config`] are read by all. `tests/architecture.rs` checks that.
//!
//! | room | concern |
//! |---|---|
//! | [`config`] | what an operator can configure; every problem with its path and a hint |
//! | [`http`] | what the wire shares: header names and values, percent-encoding, numbers, authorities, dates |
//! | [`random`] | numbers that need not be unpredictable |
//! | [`id`] | trace and span ids, never zero; where random bytes come from |
//! | [`context`] | the span context: ids, flags, the four states of a decision |
//! | [`propagation`] | headers in, header edits out; one file for each format |
//! | [`sampling`] | the two decisions, thresholds, rules, the late keep, the cap |
//! | [`span`] | what one request becomes: name, kind, status, attributes, identity |
//! | [`otlp`] | encodings of spans, and the meaning of a receiver's reply |
//! | [`export`] | what leaves and when; every span is accounted for |
//! | [`stream`] | the life of one request over the rooms above |
//! | [`pipeline`] | kept spans, on their way to the exporter |
//! | [`tracer`] | a configuration in force: timer, export calls, metrics, shutdown |
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | R | the randomness of a trace, 56 bits: `rv` in `tracestate`, else the end of the trace id. All hops of a trace have the same R |
//! | threshold (T, `th`) | 56 bits: a span is kept iff R ≥ T, so with the probability (2^56 − T) / 2^56. Lower means more spans |
//! | head | the decision at the request headers: the caller's, or by the rate of a policy. It is propagated and never changed afterwards |
//! | late keep | the decision to keep a span that the head did not sample, or to give it a lower threshold, by what is known later |
//! | stratum | a group of requests with a threshold of its own: error, slow, marked, cancelled, debug; all others are plain. It is the reason on the span, and does not depend on R |
//! | policy | what applies to a request: head rate, errors, slow and cancelled requests, caps, from the first rule that matches, else the defaults |
//! | whole path | all spans from the root to an error, also those of callers that answered with success |
//! | signal | `server-timing: trace;…;th=…` in a response: tells the caller's proxy that a span below was kept, with which threshold, and which cap applies |
//! | mark | the same inside of a pod: the outbound listener leaves it in the proxy, the inbound listener of the same trace finds it |
//! | cap | `maxPerSecond` of a policy: the bound on late keeps, for errors, slow and cancelled requests each |
//! | class | what one cap counts: errors (and what is marked for them), slow requests, cancelled ones |
//! | budget | what is left of a cap. While it is overdrawn, its threshold is above zero |
//! | path cap | the largest threshold that a cap on the path applies, by class; told to callees in `tracestate`, to callers in signals |
//!
//! # Nothing may panic
//!
//! A panic in the module ends the VM, and Envoy answers the requests of a whole worker with 503. So lints deny `unwrap`,
//! `expect`, `panic!`, indexing and unchecked arithmetic here, and every buffer has a bound.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(unreachable_pub)]
#![warn(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links, rustdoc::bare_urls)]

pub mod config;
pub mod context;
pub mod export;
pub mod http;
pub mod id;
pub mod otlp;
pub mod pipeline;
pub mod propagation;
pub mod random;
pub mod sampling;
pub mod span;
pub mod stream;
pub mod tracer;
