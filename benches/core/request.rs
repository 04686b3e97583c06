//! Whole requests through one sidecar in memory, and each callback of the cheapest one.

use crate::fixtures::{Case, Context, SIZES, Sidecar};
use criterion::{BenchmarkId, Criterion};
use sidespan_core::config::Direction;

const DIRECTIONS: [(Direction, &str); 2] = [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")];

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (context, kept, name) in [
        (Context::None, false, "unsampled success, root"),
        (Context::Unsampled, false, "unsampled success, child"),
        (Context::W3c, true, "kept"),
    ] {
        for (direction, side) in DIRECTIONS {
            for size in SIZES {
                let mut sidecar = Sidecar::new(Case { direction, size, context });
                assert_eq!(sidecar.serve(), kept, "{name}, {side}");
                let id = BenchmarkId::new(format!("{name}, {side}"), format!("{size} headers"));
                group.bench_function(id, |bencher| bencher.iter(|| sidecar.serve()));
            }
        }
    }
    group.finish();
    callbacks(criterion);
}

/// Where an unsampled success goes; what is missing to the whole is its end.
fn callbacks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("callback");
    for (direction, side) in DIRECTIONS {
        for size in SIZES {
            let mut sidecar = Sidecar::new(Case { direction, size, context: Context::Unsampled });
            let (mut stream, edits) = sidecar.start();
            assert_eq!(edits.len(), 1, "a new parent id");
            assert_eq!(sidecar.answer(&mut stream), []);
            let id = |callback: &str| BenchmarkId::new(format!("{callback}, {side}"), format!("{size} headers"));
            group.bench_function(id("request headers"), |bencher| bencher.iter(|| sidecar.start()));
            group.bench_function(id("response headers"), |bencher| bencher.iter(|| sidecar.answer(&mut stream)));
        }
    }
}
