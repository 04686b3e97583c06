//! Headers in, header edits out.

use crate::fixtures::pairs::{decode_pairs, encode_pairs};
use crate::fixtures::{Context, PARENT, SIZES, TRACE, request};
use criterion::{BenchmarkId, Criterion, Throughput};
use sidespan_core::config::Propagation;
use sidespan_core::context::{Flags, Sampled, SpanContext};
use sidespan_core::http::headers::Header;
use sidespan_core::id::SpanId;
use sidespan_core::propagation::{Incoming, Outgoing, TraceHeaders, TraceState, edits, extract};
use std::hint::black_box;

pub fn bench(criterion: &mut Criterion) {
    decode(criterion);
    extraction(criterion);
    edit(criterion);
}

/// Each format in each size, under a name.
fn cases() -> impl Iterator<Item = (BenchmarkId, Context, Vec<Header<'static>>)> {
    let sizes = SIZES.into_iter().flat_map(|size| Context::FORMATS.map(|context| (size, context)));
    sizes.map(|(size, context)| {
        (BenchmarkId::new(context.name(), format!("{size} headers")), context, request(size, context))
    })
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (id, _, headers) in cases() {
        let block = encode_pairs(&headers);
        assert_eq!(decode_pairs(&block), headers);
        group.throughput(Throughput::Elements(headers.len() as u64));
        group.bench_function(id, |bencher| bencher.iter(|| decode_pairs(black_box(&block)).len()));
    }
}

fn extraction(criterion: &mut Criterion) {
    let config = Propagation::default();
    let mut group = criterion.benchmark_group("extract");
    for (id, context, headers) in cases() {
        check_extracted(context, &extract(&TraceHeaders::new(&headers), &config));
        group.bench_function(id, |bencher| bencher.iter(|| extract(&TraceHeaders::new(black_box(&headers)), &config)));
    }
}

fn check_extracted(context: Context, incoming: &Incoming) {
    let expected = (context != Context::None).then(|| {
        let state = if context == Context::W3c { "ot=th:8,congo=t61rcWkgMzE" } else { "" };
        format!("{TRACE} {PARENT} {:?} {state}", Sampled::Accept)
    });
    let found = incoming.extracted.as_ref().map(|found| {
        let span_id = found.span_id.expect("named by all of these formats");
        format!("{} {span_id} {:?} {}", found.trace_id, found.sampled, found.trace_state)
    });
    assert_eq!(found, expected, "{context:?}");
}

fn edit(criterion: &mut Criterion) {
    let config = Propagation::default();
    let mut group = criterion.benchmark_group("edit");
    for (id, context, headers) in cases() {
        let incoming = extract(&TraceHeaders::new(&headers), &config);
        let trace_state = incoming.extracted.as_ref().map_or(TraceState::empty(), |found| found.trace_state.clone());
        let outgoing = Outgoing { context: ours(), sampled: Sampled::Accept, trace_state: &trace_state };
        check_edited(context, &edits(&TraceHeaders::new(&headers), &incoming, &outgoing, &config).len());
        group.bench_function(id, |bencher| {
            bencher.iter(|| edits(&TraceHeaders::new(black_box(&headers)), &incoming, black_box(&outgoing), &config));
        });
    }
}

/// W3C gets a new parent and keeps its state; B3 is rewritten, and W3C is added.
fn check_edited(context: Context, edits: &usize) {
    let expected = match context {
        Context::None | Context::Unsampled | Context::W3c => 1,
        Context::B3Single => 2,
        // Span id, and the parent's goes.
        Context::B3Multi => 3,
    };
    assert_eq!(*edits, expected, "{context:?}");
}

fn ours() -> SpanContext {
    SpanContext {
        trace_id: sidespan_core::id::TraceId::from_hex(TRACE.as_bytes()).expect("valid"),
        span_id: SpanId::from_u64(0x5a5a).expect("not zero"),
        flags: Flags::new(true, true),
    }
}
