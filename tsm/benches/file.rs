//! Measures what the file layer costs beyond moving its bytes.
//!
//! Each group has a lower bound for comparison. Opening a file is compared with one pass over its index, and finding
//! a key with a binary search of slices in memory. Writing blocks is compared with copying them, and reading a block
//! with copying and with decoding it.

#![expect(missing_docs, reason = "criterion's macro generates a public function")]

use std::hint::black_box;
use std::io;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tsmith_tsm::codecs::{Tsm1, Values};
use tsmith_tsm::{BlockDecoder, BlockEncoder, Bytes, Column, FieldType, Reader, TimeRange, Version, Writer};

const KEYS: usize = 100_000;
/// About the size of 1000 floats of a sensor.
const BLOCK_BYTES: usize = 3_000;

fn key(i: usize) -> Vec<u8> {
    format!("cpu,host=server_{i:06},region=eu-west-1,rack=7#!~#usage_user").into_bytes()
}

/// A float block of InfluxDB, as far as this layer reads it.
fn block(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| if i == 0 { 0 } else { (i * 31 % 251) as u8 }).collect()
}

fn file(keys: usize, block: &[u8]) -> Bytes {
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    for i in 0..keys {
        writer.write_block(&key(i), FieldType::Float, TimeRange::new(0, 999), block).expect("writes");
    }
    Bytes::from(writer.finish().expect("finishes").0)
}

fn open(c: &mut Criterion) {
    let file = file(KEYS, &block(20));
    let reader = Reader::new(file.clone()).expect("opens");
    let index = file.slice(reader.index_offset() as usize..);
    let mut group = c.benchmark_group("open a file of 100,000 keys");
    group.throughput(Throughput::Elements(KEYS as u64)).sample_size(20);
    group.bench_function("open", |b| b.iter(|| Reader::new(black_box(file.clone())).expect("opens")));
    let mut copy = vec![0; index.len()];
    group
        .bench_function("floor: memcpy of the index", |b| b.iter(|| copy.copy_from_slice(black_box(&index))));
    group.bench_function("floor: crc of the index", |b| b.iter(|| crc32fast::hash(black_box(&index))));
    group.finish();
}

fn find(c: &mut Criterion) {
    let reader = Reader::new(file(KEYS, &block(20))).expect("opens");
    // Coprime to the number of keys, so that every key comes, each far from the previous one.
    let wanted: Vec<Vec<u8>> = (0..KEYS).map(|i| key(i * 7_919 % KEYS)).collect();
    let slices: Vec<&[u8]> = reader.keys().map(tsmith_tsm::KeyEntry::key).collect();
    let mut group = c.benchmark_group("find one of 100,000 keys");
    group.throughput(Throughput::Elements(1));
    let mut keys = wanted.iter().cycle();
    group.bench_function("find", |b| {
        b.iter(|| reader.find(black_box(keys.next().expect("endless"))).expect("is there").position());
    });
    group.bench_function("floor: binary search of slices", |b| {
        b.iter(|| slices.binary_search(&black_box(&keys.next().expect("endless")[..])).expect("is there"));
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let block = block(BLOCK_BYTES);
    let keys: Vec<Vec<u8>> = (0..1_000).map(key).collect();
    let bytes = keys.len() * block.len();
    let mut group = c.benchmark_group("write 1,000 blocks of 1,000 values");
    group.throughput(Throughput::Bytes(bytes as u64));
    let room = || Vec::with_capacity(bytes * 2);
    group.bench_function("to memory", |b| {
        b.iter_batched(
            room,
            |room| {
                let mut writer = Writer::new(room, Version::Influx);
                for key in &keys {
                    writer
                        .write_block(key, FieldType::Float, TimeRange::new(0, 999), &block)
                        .expect("writes");
                }
                writer.finish().expect("finishes")
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("to nowhere", |b| {
        b.iter(|| {
            let mut writer = Writer::new(io::sink(), Version::Influx);
            for key in &keys {
                writer.write_block(key, FieldType::Float, TimeRange::new(0, 999), &block).expect("writes");
            }
            writer.finish().expect("finishes").1
        });
    });
    group.bench_function("floor: memcpy", |b| {
        b.iter_batched(
            room,
            |mut room: Vec<u8>| {
                for _ in &keys {
                    room.extend_from_slice(black_box(&block));
                }
                room
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("floor: crc", |b| {
        b.iter(|| keys.iter().map(|_| crc32fast::hash(black_box(&block))).fold(0, |a, b| a ^ b));
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    let times: Vec<i64> = (0..1_000).map(|i| i * 1_000_000_000 + i % 7).collect();
    let values = Values::Float((0..1_000).map(|i| f64::from(i * 31 % 251) / 4.0).collect());
    let column = Column::from_parts(times, values).expect("equal lengths");
    let mut block = Vec::new();
    let mut encoder = Tsm1::default();
    encoder.encode(column.as_ref(), &mut block).expect("encodes");
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    let range = TimeRange::new(column.times()[0], column.times()[999]);
    writer.write_block(b"k", FieldType::Float, range, &block).expect("writes");
    let reader = Reader::new(Bytes::from(writer.finish().expect("finishes").0)).expect("opens");
    let key = reader.get(0).expect("a key");
    let entry = key.entry(0).expect("a block");

    let mut group = c.benchmark_group("read a block of 1,000 values");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("block, checksum verified", |b| {
        b.iter(|| reader.block(black_box(key), black_box(entry)).expect("reads").len());
    });
    let mut copy = vec![0; block.len()];
    group
        .bench_function("floor: memcpy of the block", |b| b.iter(|| copy.copy_from_slice(black_box(&block))));
    let mut out = Column::new(FieldType::Float);
    group.bench_function("block, decoded and compared with the index", |b| {
        b.iter(|| {
            let done = reader.read_block(black_box(key), black_box(entry), &mut encoder, 1_000, &mut out);
            done.expect("reads");
        });
    });
    group.bench_function("floor: decoded", |b| {
        b.iter(|| encoder.decode(black_box(&block), 1_000, &mut out).expect("decodes"));
    });
    group.finish();
}

criterion_group!(benches, open, find, write, read);
criterion_main!(benches);
