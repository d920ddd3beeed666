//! Law: for any interleaving of writers, snapshots, deletes and compactions, also with a full disk, every
//! acknowledged batch can be replayed and the directory opens.

#[path = "support/engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tsmith_engine::{
    Advice, Column, Compact, Dirs, DynEngine, FieldKey, FieldType, FieldTyping, LineOptions, Options,
    Selection, TimeRange, Timestamp, Turns, WriteOrder,
};
use tsmith_wal::testing::{Fault, SimFs};

type Shard = DynEngine<SimFs>;

/// Number of interleavings per log.
const SEEDS: u64 = 6;
const WRITERS: u64 = 3;
const BATCHES: u64 = 40;
/// The types of `1.5`, `7i` and `"x"`.
const TYPES: [FieldType; 3] = [FieldType::Float, FieldType::Integer, FieldType::String];

/// How an engine is opened and what happens to it.
#[derive(Clone, Copy, Debug)]
struct Case {
    typing: FieldTyping,
    order: WriteOrder,
    full_disk: bool,
    power_cut: bool,
}

fn open(fs: &SimFs, log: &str, case: Case) -> tsmith_engine::Result<Shard> {
    let mut options = Options { background: false, encode_threads: 1, ..Options::default() };
    options.typing = Some(case.typing);
    options.order = case.order;
    engine::open_parts(fs.clone(), &format!("ring/{log}/tsm1"), Dirs::under(Path::new("/shard")), options)
}

/// A pseudo-random generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Acknowledged points of series that are never deleted, by key and time.
type Acknowledged = BTreeMap<(String, String), BTreeMap<i64, FieldType>>;

/// Writes lines of random types: to a series of its own that is never deleted, and to series that others
/// write and delete.
fn write(shard: &Shard, fs: &SimFs, case: Case, writer: u64, seed: u64) -> Acknowledged {
    let mut dice = Dice(seed * 1000 + writer + 1);
    let mut acknowledged = Acknowledged::new();
    for batch in 0..BATCHES {
        let (mut text, mut lines) = (String::new(), Vec::new());
        for line in 0..3 {
            let series = match dice.below(3) {
                0 => format!("stays,t={writer}"),
                _ => format!("m,t={}", dice.below(2)),
            };
            let (field, kind) = (["f", "g"][dice.below(2) as usize], dice.below(3) as usize);
            let time = (batch * 3 + line).cast_signed();
            let value = ["1.5", "7i", "\"x\""][kind];
            writeln!(text, "{series} {field}={value} {time}").expect("writing to a string succeeds");
            lines.push((series, field.to_owned(), time, TYPES[kind]));
        }
        if case.full_disk && dice.below(6) == 0 {
            fs.fail_at(fs.operations() + dice.below(4), Fault::Full);
        }
        match shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))) {
            Ok(report) => {
                for (at, (series, field, time, field_type)) in lines.into_iter().enumerate() {
                    if series.starts_with("stays") && report.rejected.iter().all(|line| line.line != at + 1) {
                        acknowledged.entry((series, field)).or_default().insert(time, field_type);
                    }
                }
            }
            Err(error) if error.advice() == Advice::RetryLater => {}
            Err(error) => assert!(case.full_disk, "{error}"),
        }
    }
    acknowledged
}

/// Deletes from the shared series: a complete key, or its earlier and then its later points.
fn delete(shard: &Shard, seed: u64, round: u64) {
    let mut dice = Dice(seed * 77 + round + 1);
    let series = format!("m,t={}", dice.below(2));
    let key = FieldKey::new(series.as_bytes(), [b"f", b"g"][dice.below(2) as usize]);
    let middle = dice.below(3 * BATCHES).cast_signed();
    let ranges = if dice.below(2) == 0 {
        vec![TimeRange::ALL]
    } else {
        vec![TimeRange::new(0, middle), TimeRange::new(middle + 2, 1000), TimeRange::new(0, 1000)]
    };
    for range in ranges {
        let _full = shard.delete(Selection::Key(key), range);
    }
}

fn check(fs: &SimFs, log: &str, case: Case, acknowledged: &Acknowledged, what: &str) {
    let shard = open(fs, log, case).unwrap_or_else(|error| panic!("{what}: {error}"));
    for ((series, field), points) in acknowledged {
        let column = read(&shard, series, field);
        for (time, field_type) in points {
            assert_eq!(column.field_type(), *field_type, "{what}: {series} {field}");
            assert!(column.times().contains(time), "{what}: {series} {field} has no point at {time}");
        }
    }
    for key in shard.keys() {
        let key = FieldKey::parse(&key).expect("a key");
        shard.read(key, TimeRange::ALL).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    shard.snapshot().unwrap_or_else(|error| panic!("{what}: {error}"));
    shard.compact(Compact::Full).unwrap_or_else(|error| panic!("{what}: {error}"));
    shard.close().expect("closes");
    open(fs, log, case).unwrap_or_else(|error| panic!("{what}, compacted: {error}"));
}

fn read(shard: &Shard, series: &str, field: &str) -> Column {
    shard.read(FieldKey::new(series.as_bytes(), field.as_bytes()), TimeRange::ALL).expect("readable")
}

fn law(log: &str, seeds: u64) {
    for seed in 0..seeds {
        let case = Case {
            typing: if seed % 2 == 0 { FieldTyping::Series } else { FieldTyping::Measurement },
            order: if seed % 3 == 0 { WriteOrder::PublishThenSync } else { WriteOrder::SyncThenPublish },
            full_disk: seed % 4 > 1,
            power_cut: seed % 5 < 2,
        };
        let fs = SimFs::default();
        let shard = open(&fs, log, case).expect("opens");
        let writing = AtomicUsize::new(WRITERS as usize);
        let acknowledged = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (shard, fs, writing) = (&shard, &fs, &writing);
                    scope.spawn(move || {
                        let acknowledged = write(shard, fs, case, writer, seed);
                        writing.fetch_sub(1, Ordering::AcqRel);
                        acknowledged
                    })
                })
                .collect();
            scope.spawn(|| {
                while writing.load(Ordering::Acquire) > 0 {
                    let _full = shard.snapshot();
                    let _full = shard.compact(Compact::Full);
                }
            });
            scope.spawn(|| {
                let mut round = 0;
                while writing.load(Ordering::Acquire) > 0 {
                    delete(&shard, seed, round);
                    round += 1;
                }
            });
            writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect::<Acknowledged>()
        });
        fs.heal();
        drop(shard);
        let left = if case.power_cut { fs.crash(seed) } else { fs.kill() };
        check(&left, log, case, &acknowledged, &format!("seed {seed}, {case:?}"));
    }
}

/// Story: the type of a field was checked outside the cache's gate. If a snapshot ran between check and
/// admission, the log held values that contradicted a file, and the directory did not open.
#[test]
fn acknowledged_writes_replay_from_the_file_log() {
    law("file", SEEDS);
}

#[test]
fn acknowledged_writes_replay_from_the_native_log() {
    law("native", SEEDS);
}

#[test]
fn acknowledged_writes_replay_from_the_etcd_log() {
    law("etcd", SEEDS);
}

#[test]
fn acknowledged_writes_replay_from_the_mmap_log() {
    law("mmap", SEEDS);
}

/// Story: in a file whose field changes its type, each run rejected other lines, because the writers raced.
#[test]
fn the_first_text_decides_the_type() {
    let texts: Vec<String> =
        (0..24).map(|at| format!("m,t={} v={} {at}", at % 3, ["1.5", "7i", "\"x\""][at / 3 % 3])).collect();
    for typing in [FieldTyping::Series, FieldTyping::Measurement] {
        let case = Case { typing, order: WriteOrder::default(), full_disk: false, power_cut: false };
        let in_order = |turned: bool| {
            let shard = open(&SimFs::default(), "file", case).expect("opens");
            let (mut turns, options) = (Turns::default(), LineOptions::new(Timestamp(0)));
            let jobs: Vec<_> = texts.iter().map(|text| (text, turns.take())).collect();
            let mut points = vec![0; texts.len()];
            if !turned {
                for (points, (text, turn)) in points.iter_mut().zip(jobs) {
                    let report = shard.write_lines_in_turn(text.as_bytes(), &options, turn);
                    *points = report.expect("enough space").points;
                }
                return points;
            }
            thread::scope(|scope| {
                // Start the last ones first.
                for (points, (text, turn)) in points.iter_mut().zip(jobs).rev() {
                    let (shard, options) = (&shard, &options);
                    scope.spawn(move || {
                        let report = shard.write_lines_in_turn(text.as_bytes(), options, turn);
                        *points = report.expect("enough space").points;
                    });
                }
            });
            points
        };
        let expected = in_order(false);
        assert_eq!(expected[..4], [1, 1, 1, 0]);
        for _ in 0..5 {
            assert_eq!(in_order(true), expected, "{typing:?}");
        }
    }
}
