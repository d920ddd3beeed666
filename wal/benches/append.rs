//! Measures the time of a confirmed record, and how much of it the disk takes.
//!
//! Lower bounds for comparison: `null` has no log. `fdatasync` writes as many bytes to allocated space and syncs once.
//! `copy` only copies the payload.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tsmith_codecs::{Batch, BatchBuilder, Value};
use tsmith_wal::entry::encode_write;
use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::testing::influx::Frames;
use tsmith_wal::{Durability, FileLog, Log, LogOptions, MmapLog, NullLog, Record};

const FIELDS: usize = 10;

/// Points of up to a hundred hosts with ten fields each.
fn batch(points: usize) -> Batch<'static> {
    let mut builder = BatchBuilder::new();
    for point in 0..points {
        let key =
            format!("cpu,arch=x64,datacenter=eu-west-1a,hostname=host_{},region=eu-west-1", point % 100);
        builder.begin(key.into_bytes().into());
        for field in 0..FIELDS {
            let value = Value::Float((point * 7 + field * 3) as f64 / 100.0);
            builder.field(format!("usage_{field}").into_bytes().into(), value).expect("one type");
        }
        builder.commit(1_600_000_000_000_000_000 + point as i64 * 1_000_000_000);
    }
    builder.finish()
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for points in [1, 100, 5000] {
        let batch = batch(points);
        let mut payload = Vec::new();
        encode_write(&batch, &mut payload).expect("encodes");
        group.throughput(Throughput::Bytes(payload.len() as u64));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("entry", points), |b| {
            b.iter(|| {
                out.clear();
                encode_write(black_box(&batch), &mut out).expect("encodes");
            });
        });
        group.bench_function(BenchmarkId::new("copy", points), |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&payload));
            });
        });
        let mut frames = Frames::default();
        group.bench_function(BenchmarkId::new("snappy", points), |b| {
            b.iter(|| frames.record(Record::write(black_box(&payload))).expect("encodes").len());
        });
        // Replaces `entry` and `snappy` together: compresses the batch without building its payload.
        group.bench_function(BenchmarkId::new("snappy from the batch", points), |b| {
            b.iter(|| frames.write(black_box(&batch)).expect("encodes").len());
        });
    }
    group.finish();
}

fn log<L: Log<Fs = OsFs>>(c: &mut Criterion, name: &str, durability: Durability) {
    let mut group = c.benchmark_group("append");
    for (points, writers) in [(1, 1), (1, 16), (5000, 1)] {
        let batch = batch(points);
        let mut payload = Vec::new();
        encode_write(&batch, &mut payload).expect("encodes");
        group.throughput(Throughput::Elements((points * FIELDS) as u64));
        group.bench_function(BenchmarkId::new(name, format!("{points} points, {writers} writers")), |b| {
            b.iter_custom(|iterations| {
                let scratch = tempfile::tempdir().expect("a directory");
                let options = LogOptions { durability, ..LogOptions::default() };
                let (log, _) = L::open(OsFs, scratch.path(), options, |_, _| Ok(())).expect("opens");
                let each = iterations / writers + 1;
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..writers {
                        scope.spawn(|| {
                            for n in 0..each {
                                let at = log.append(Record::write(&payload)).expect("appends");
                                let _ = black_box(log.sync(at).expect("syncs"));
                                if n % 256 == 255 {
                                    log.truncate_front(at).expect("truncates");
                                }
                            }
                        });
                    }
                });
                start.elapsed().mul_f64(iterations as f64 / (each * writers) as f64)
            });
        });
    }
    group.finish();
}

fn floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for len in [800usize, 700_000] {
        group.bench_function(BenchmarkId::new("fdatasync", len), |b| {
            let scratch = tempfile::tempdir().expect("a directory");
            let file = OsFs.create_new(&scratch.path().join("file")).expect("creates");
            file.allocate(0..10 << 20).expect("allocates");
            file.sync_all().expect("syncs");
            let (bytes, mut at) = (vec![7; len], 0);
            b.iter(|| {
                file.write_all_at(&bytes, at).expect("writes");
                file.sync_data().expect("syncs");
                at = (at + len as u64) % (9 << 20);
            });
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    encode(c);
    floor(c);
    log::<NullLog>(c, "null", Durability::Group);
    log::<FileLog>(c, "file", Durability::Group);
    log::<MmapLog>(c, "mmap", Durability::Group);
    log::<FileLog>(c, "file, no sync", Durability::None);
    log::<MmapLog>(c, "mmap, no sync", Durability::None);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(10);
    targets = all
}
criterion_main!(benches);
