//! Measures how many values per second the `tsm1` encoder encodes and decodes, by the shape of the column.
//!
//! Two lower bounds are measured for comparison. The `raw` encoder copies times and values, so it costs what a block
//! costs without encoding. `memcpy` copies the bytes that `raw` writes. The shapes are those of the Go programs. Each
//! run cycles through all blocks of a shape.

#![expect(missing_docs, reason = "the macros of criterion generate functions without docs")]

mod shapes;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tsmith_codecs::{BLOCK_VALUES_MAX, BlockEncoder, Column, FieldType, Raw, Tsm1};

use shapes::{BLOCK, BLOCKS, shapes};

fn measure<E: BlockEncoder + Default>(name: &str, c: &mut Criterion) {
    for (shape, columns) in shapes() {
        let mut encoder = E::default();
        let mut blocks = vec![Vec::new(); BLOCKS];
        for (column, block) in columns.iter().zip(&mut blocks) {
            encoder.encode(column.as_ref(), block).expect("no NaN");
        }
        let mut turn = (0..BLOCKS).cycle();

        let mut group = c.benchmark_group("encode");
        group.throughput(Throughput::Elements(BLOCK as u64));
        let mut out = Vec::new();
        group.bench_with_input(BenchmarkId::new(name, shape), &columns, |b, columns| {
            b.iter(|| {
                let column = &columns[turn.next().unwrap_or(0)];
                out.clear();
                encoder.encode(black_box(column.as_ref()), &mut out).expect("no NaN");
                out.len()
            });
        });
        group.finish();

        let mut group = c.benchmark_group("decode");
        group.throughput(Throughput::Elements(BLOCK as u64));
        let mut back = Column::new(FieldType::Float);
        group.bench_with_input(BenchmarkId::new(name, shape), &blocks, |b, blocks| {
            b.iter(|| {
                let block = &blocks[turn.next().unwrap_or(0)];
                encoder.decode(black_box(block), BLOCK_VALUES_MAX, &mut back).expect("decodes");
                back.len()
            });
        });
        group.finish();
    }
}

fn memcpy(c: &mut Criterion) {
    let mut group = c.benchmark_group("memcpy");
    group.throughput(Throughput::Elements(BLOCK as u64));
    for (shape, columns) in shapes() {
        let mut block = Vec::new();
        Raw.encode(columns[0].as_ref(), &mut block).expect("takes everything");
        let mut out = vec![0; block.len()];
        group.bench_function(shape, |b| b.iter(|| out.copy_from_slice(black_box(&block))));
    }
    group.finish();
}

fn tsm1_against_raw(c: &mut Criterion) {
    memcpy(c);
    measure::<Raw>("raw", c);
    measure::<Tsm1>("tsm1", c);
}

fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = brief(); targets = tsm1_against_raw }
criterion_main!(benches);
