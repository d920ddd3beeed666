//! Measures the cost of a value from admission to publication, with few keys and with many.
//!
//! Lower bounds for comparison: [`Empty`], which stores nothing, and two plain vectors of times and values.

#![expect(missing_docs, reason = "criterion's macro generates a public function")]

#[path = "write/batches.rs"]
mod batches;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tsmith_cache::{Batch, Cache, Empty, OneMap, Position, Ring, Storer, ValuesRef};

const VALUES: usize = 500_000;
const PER_BATCH: usize = 5000;

fn write_all<S: Storer>(cache: &Cache<S>, batches: &[Batch<'_>]) {
    for (at, batch) in batches.iter().enumerate() {
        let admitted = cache.admit(batch).expect("no limit and one type");
        let published = admitted.publish(Position(at as u64 + 1));
        black_box(published.position());
    }
}

fn push_all(batches: &[Batch<'_>]) -> (Vec<i64>, Vec<f64>) {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for (_, column) in batches.iter().flat_map(Batch::columns) {
        times.extend_from_slice(column.times());
        if let ValuesRef::Float(floats) = column.values() {
            values.extend_from_slice(floats);
        }
    }
    (times, values)
}

fn write(c: &mut Criterion) {
    for keys in [100, 10_000, 100_000] {
        let batches = batches::build(keys, VALUES, PER_BATCH);
        let mut group = c.benchmark_group(format!("write/{keys} keys"));
        group.sample_size(20).throughput(Throughput::Elements(VALUES as u64));
        group.bench_function("ring", |b| {
            b.iter_batched_ref(
                Cache::<Ring>::default,
                |cache| write_all(cache, &batches),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("hashmap", |b| {
            b.iter_batched_ref(
                Cache::<OneMap>::default,
                |cache| write_all(cache, &batches),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("empty", |b| {
            b.iter_batched_ref(
                Cache::<Empty>::default,
                |cache| write_all(cache, &batches),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("plain vectors", |b| b.iter(|| push_all(&batches)));
        group.finish();
    }
}

criterion_group!(benches, write);
criterion_main!(benches);
