//! Spans to bytes of the wire: one as it ends, and a batch from spans to the framed request.

use crate::fixtures::{Case, Context, SIZES, Sidecar};
use criterion::{BenchmarkId, Criterion, Throughput};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use sidespan_core::config::Direction;
use sidespan_core::otlp::{Encoder, Encoding, Envelope, SCHEMA_URL, SCOPE_VERSION, gzip};
use sidespan_core::span::{Attribute, Span};
use std::hint::black_box;
use std::io::Write;

const BATCH: usize = 512;
const TRACE_STATE: &[u8] = b"ot=th:8,congo=t61rcWkgMzE";
const ENCODINGS: [(Encoding, &str); 3] =
    [(Encoding::Protobuf, "OTLP protobuf"), (Encoding::Json, "OTLP JSON"), (Encoding::Zipkin, "Zipkin JSON")];

pub fn bench(criterion: &mut Criterion) {
    let (span, resource) = span();
    let mut group = criterion.benchmark_group("encode");
    for (encoding, name) in ENCODINGS {
        let encoder = Encoder::new(encoding, &resource);
        let envelope = Envelope::new(encoding, &resource, SCOPE_VERSION, SCHEMA_URL);
        for (size, label) in [(1, "one span"), (BATCH, "batch of 512")] {
            check(encoding, size, &batch(&encoder, &envelope, &span, size));
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::new(name, label), |bencher| {
                bencher.iter(|| batch(&encoder, &envelope, black_box(&span), size));
            });
        }
    }
    group.finish();
    compressed(criterion, &span, &resource);
}

/// What the module adds to Envoy's zlib.
fn compressed(criterion: &mut Criterion, span: &Span, resource: &[Attribute]) {
    let encoder = Encoder::new(Encoding::Protobuf, resource);
    let plain = batch(&encoder, &Envelope::new(Encoding::Protobuf, resource, SCOPE_VERSION, SCHEMA_URL), span, BATCH);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&plain).expect("into memory");
    let zlib = zlib.finish().expect("into memory");
    assert!(gzip::from_zlib(&zlib, &plain).is_some_and(|gzip| gzip.starts_with(&[0x1f, 0x8b])));
    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("zlib to gzip/batch of 512", |bencher| {
        bencher.iter(|| gzip::from_zlib(black_box(&zlib), black_box(&plain)));
    });
}

/// The span of a request with many headers, and the resource of its sidecar.
fn span() -> (Span, Vec<Attribute>) {
    let case = Case { direction: Direction::Inbound, size: SIZES[1], context: Context::W3c };
    let mut sidecar = Sidecar::new(case);
    let (mut stream, _) = sidecar.start();
    sidecar.answer(&mut stream);
    let span = sidecar.finish(stream).expect("sampled").span;
    assert!((15..40).contains(&span.attributes.len()), "{} attributes", span.attributes.len());
    (span, sidecar.plan.identity().resource.clone())
}

/// As the recorder and the exporter do it: a body for each span, sealed into the batch, framed at the end.
fn batch(encoder: &Encoder, envelope: &Envelope, span: &Span, size: usize) -> Vec<u8> {
    let mut spans = Vec::new();
    for _ in 0..size {
        let mut body = Vec::with_capacity(1024);
        encoder.encode(span, &mut body);
        encoder.seal(&body, TRACE_STATE, &mut spans);
    }
    let mut request = Vec::new();
    envelope.frame(&[&spans], &mut request);
    request
}

fn check(encoding: Encoding, size: usize, request: &[u8]) {
    let json = || serde_json::from_slice::<serde_json::Value>(request).expect("JSON");
    let otlp = match encoding {
        Encoding::Protobuf => Some(ExportTraceServiceRequest::decode(request).expect("a request")),
        Encoding::Json => Some(serde_json::from_value(json()).expect("a request")),
        Encoding::Zipkin => None,
    };
    let spans = otlp.map(|request| request.resource_spans[0].scope_spans[0].spans.len());
    assert_eq!(spans.or_else(|| json().as_array().map(Vec::len)), Some(size), "{encoding:?}");
}
