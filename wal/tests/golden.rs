//! Segments that InfluxDB 1.6.7 wrote, read and written again byte for byte; damaged ones, and what becomes of them.
//!
//! The vectors are those of the directory `TSMITH_VECTORS_TSM1`, or the copy beside this file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tsmith_codecs::{Column, FieldType, Value};
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::segment::{FrameEncoder, InfluxEncoder, file_name};
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::open_keeping;
use tsmith_wal::{
    Error, ErrorKind, FileLog, Log, LogOptions, Position, Record, Recovery, RecoveryMode, ReplayMode,
    SegmentRecord, replay_only, replay_segment,
};

const DIR: &str = "/shard";

fn vectors() -> PathBuf {
    std::env::var_os("TSMITH_VECTORS_TSM1")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1"), PathBuf::from)
}

fn wal(name: &str) -> Vec<u8> {
    let path = vectors().join("wal").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expected(name: &str) -> Vec<Json> {
    let path = vectors().join("expected").join(format!("wal-{name}.jsonl"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn unhex(text: &Json) -> Vec<u8> {
    let digits = text.as_str().expect("hex").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// A column of the vectors: `[[time, value], ..]` with the type that the value has in ours.
fn column(points: &Json, field_type: FieldType) -> Column {
    let mut column = Column::new(field_type);
    for point in points.as_array().expect("points") {
        let (time, value) = (point[0].as_i64().expect("a time"), &point[1]);
        let bytes = if field_type == FieldType::String { unhex(value) } else { Vec::new() };
        let value = match field_type {
            FieldType::Float => Value::Float(f64::from_bits(
                u64::from_str_radix(value.as_str().expect("hex"), 16).expect("hex"),
            )),
            FieldType::Integer => Value::Integer(value.as_i64().expect("an integer")),
            FieldType::Unsigned => Value::Unsigned(value.as_u64().expect("an unsigned integer")),
            FieldType::Boolean => Value::Boolean(value.as_bool().expect("a boolean")),
            FieldType::String => Value::String(&bytes),
        };
        column.push(time, value).expect("one type");
    }
    column
}

fn wal_type(byte: &Json) -> FieldType {
    match byte.as_u64() {
        Some(1) => FieldType::Float,
        Some(2) => FieldType::Integer,
        Some(3) => FieldType::Boolean,
        Some(4) => FieldType::String,
        Some(5) => FieldType::Unsigned,
        other => panic!("type {other:?}"),
    }
}

/// Reads a segment beside what the original's reader says of it; gives the length of the intact part.
fn compare(name: &str, frames: &[Json]) -> u64 {
    let bytes = wal(name);
    let mut frames = frames.iter().filter(|line| line.get("payload").is_some());
    let mut valid = 0;
    let path = vectors().join("wal").join(name);
    let replayed = replay_segment(&OsFs, &path, ReplayMode::InfluxDb, |found| {
        let SegmentRecord { record, offset, end, .. } = found;
        let Some(frame) = frames.next() else { panic!("{name}: a frame that the original does not have") };
        assert_eq!(offset, frame["offset"]);
        assert_eq!(found.stored_bytes, frame["compressed_len"]);
        assert_eq!(u64::from(record.kind.tag()), frame["type"]);
        assert_eq!(record.payload, unhex(&frame["payload"]));
        compare_entry(record, frame);
        let again = InfluxEncoder::default().encode(record).expect("encodes").to_vec();
        assert_eq!(again, bytes[offset as usize..end as usize], "{name}: snappy at {offset}");
        valid = end;
        Ok(())
    });
    replayed.expect("reads");
    assert_eq!(frames.next(), None, "{name}: no frame where the original has one");
    valid
}

fn compare_entry(record: Record<'_>, frame: &Json) {
    let no_keys = Vec::new();
    let keys = frame["keys"].as_array().unwrap_or(&no_keys);
    if keys.iter().any(|key| key["key"] == "k") {
        let error = entry::decode(record.kind, record.payload).expect_err("`k` has no field");
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }));
        return;
    }
    let names = |keys: &[tsmith_codecs::FieldKey<'_>]| -> Vec<Json> {
        keys.iter().map(|key| Json::from(String::from_utf8(key.to_composite()).expect("UTF-8"))).collect()
    };
    let mut again = Vec::new();
    match entry::decode(record.kind, record.payload).expect("decodes") {
        Entry::Write(batch) => {
            assert_eq!(batch.column_count(), keys.len());
            for ((key, data), expected) in batch.columns().zip(keys) {
                assert_eq!(names(&[key]), [expected["key"].clone()]);
                assert_eq!(data, column(&expected["values"], wal_type(&expected["wal_type"])).as_ref());
            }
            entry::encode_write(&batch, &mut again).expect("encodes");
            assert_eq!(again, record.payload);
        }
        Entry::Delete(deleted) => {
            assert_eq!(names(&deleted), *keys);
            entry::encode_delete(&deleted, &mut again).expect("encodes");
            assert_eq!(again, record.payload);
        }
        Entry::DeleteRange { range, keys: deleted } => {
            assert_eq!(names(&deleted), *keys);
            assert_eq!(frame["min"].as_i64(), Some(range.min));
            assert_eq!(frame["max"].as_i64(), Some(range.max));
            entry::encode_delete_range(range, &deleted, &mut again).expect("encodes");
            assert_eq!(again, record.payload);
        }
    }
}

#[test]
fn every_frame_is_read_as_the_original_reads_it_and_written_as_it_wrote_it() {
    for number in 1..=3 {
        let name = format!("normal/_{number:05}.wal");
        let lines = expected(&format!("normal-_{number:05}.wal"));
        assert_eq!(compare(&name, &lines), lines[0]["size"].as_u64().expect("a size"));
    }
}

#[test]
fn damaged_segments_are_read_as_far_as_the_original_reads_them() {
    for (name, ..) in TORN {
        let lines = expected(&format!("torn-{name}_00002.wal"));
        let valid = lines.last().and_then(|line| line["valid_bytes"].as_u64()).expect("a length");
        assert_eq!(compare(&format!("torn/{name}_00002.wal"), &lines), valid, "{name}");
    }
}

/// What a cache holds after loading: columns by key.
#[derive(Debug, Default, PartialEq)]
struct Loaded(BTreeMap<Vec<u8>, Column>);

impl Loaded {
    fn apply(&mut self, record: Record<'_>) -> tsmith_wal::Result<()> {
        match entry::decode(record.kind, record.payload)? {
            Entry::Write(batch) => {
                for (key, data) in batch.columns() {
                    let column =
                        self.0.entry(key.to_composite()).or_insert_with(|| Column::new(data.field_type()));
                    column.extend(data).map_err(Error::refused)?;
                }
            }
            Entry::Delete(keys) => keys.iter().for_each(|key| drop(self.0.remove(&key.to_composite()))),
            Entry::DeleteRange { range, keys } => {
                for key in keys {
                    if let Some(column) = self.0.get_mut(&key.to_composite()) {
                        column.exclude(range);
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Self {
        self.0.retain(|_, column| !column.is_empty());
        self.0.values_mut().for_each(Column::sort_dedup);
        self
    }
}

/// A directory with these segments, on a simulated disk.
fn shard(segments: &[(&str, Vec<u8>)]) -> SimFs {
    let sim = SimFs::default();
    sim.create_dir_all(Path::new(DIR)).expect("creates");
    for (name, bytes) in segments {
        let file = sim.create_new(&Path::new(DIR).join(name)).expect("creates");
        file.write_all_at(bytes, 0).expect("writes");
    }
    sim
}

fn load(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(Loaded, Recovery)> {
    let mut loaded = Loaded::default();
    let options = LogOptions::default().recovery(mode);
    let apply = |_, record: Record<'_>| loaded.apply(record);
    let (log, recovery) = FileLog::open(sim.clone(), Path::new(DIR), options, apply)?;
    log.close()?;
    Ok((loaded.finish(), recovery))
}

/// What InfluxDB would keep of the log, how long it would leave each segment, and the gaps.
fn as_influxdb(sim: &SimFs) -> tsmith_wal::Result<(Loaded, BTreeMap<String, u64>, usize)> {
    let (mut loaded, mut ends) = (Loaded::default(), BTreeMap::new());
    let apply = |at: Position, record: Record<'_>| {
        let _ = ends.insert(file_name((at.0 >> 32) as u32), at.0 & 0xffff_ffff);
        loaded.apply(record)
    };
    let recovery = replay_only(sim, Path::new(DIR), ReplayMode::InfluxDb, apply)?;
    Ok((loaded.finish(), ends, recovery.gaps.len()))
}

fn len_of(sim: &SimFs, name: &str) -> u64 {
    sim.snapshot().get(&Path::new(DIR).join(name)).map_or(0, |bytes| bytes.len() as u64)
}

/// Compares with the result of the original's cache loader: keys, values and the lengths of the segments.
fn compare_loaded(loaded: &Loaded, lines: &[Json], len_of: impl Fn(&str) -> u64) {
    let mut keys = 0;
    for line in lines {
        if let Some(name) = line["segment"].as_str() {
            assert_eq!(len_of(name), line["size_after"].as_u64().expect("a size"), "{name}");
        } else if let Some(key) = line["key"].as_str() {
            let column = &loaded.0[key.as_bytes()];
            assert_eq!(*column, self::column(&line["values"], column.field_type()), "{key}");
            keys += 1;
        } else {
            assert_eq!(line["keys"].as_u64(), Some(loaded.0.len() as u64));
        }
    }
    assert_eq!(keys, loaded.0.len());
}

#[test]
fn intact_segments_load_as_the_original_loads_them() {
    let names = ["_00001.wal", "_00002.wal", "_00003.wal"];
    let sim = shard(&names.map(|name| (name, wal(&format!("normal/{name}")))));
    let (loaded, recovery) = load(&sim, RecoveryMode::Strict).expect("opens");
    assert!(recovery.gaps.is_empty());
    compare_loaded(&loaded, &expected("normal-loaded"), |name| len_of(&sim, name));
}

/// What `Strict` does: gives the length of the intact part, and whether that is an ordinary end, a torn tail or damage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Strict {
    Whole,
    Torn(u64),
    Damaged(u64),
    /// The log is in order, and its reader cannot take a record.
    Refused(u64),
}

/// Segments of InfluxDB have no marks. So a bad frame is damage when a valid one follows.
const TORN: [(&str, Strict); 14] = [
    ("bad-snappy-length-mid", Strict::Damaged(865)),
    ("bad-value-type", Strict::Torn(1059)),
    ("count-too-big", Strict::Torn(1059)),
    ("count-zero", Strict::Torn(1059)),
    ("cut-after-header", Strict::Torn(981)),
    ("cut-in-header", Strict::Torn(981)),
    ("cut-in-payload", Strict::Torn(981)),
    ("empty", Strict::Whole),
    ("empty-write", Strict::Whole),
    ("garbage-tail", Strict::Torn(1059)),
    ("short-delete-range", Strict::Torn(1059)),
    ("type-conflict", Strict::Refused(1059)),
    ("unknown-type-mid", Strict::Damaged(865)),
    ("zero-tail", Strict::Whole),
];

#[test]
fn strict_cuts_torn_tails_and_refuses_damage() {
    for (name, expected) in TORN {
        let sim = shard(&[("_00002.wal", wal(&format!("torn/{name}_00002.wal")))]);
        let before = sim.snapshot();
        let found = match load(&sim, RecoveryMode::Strict) {
            Ok((_, recovery)) => match &recovery.gaps[..] {
                [] => Strict::Whole,
                [torn] => {
                    assert_eq!(len_of(&sim, "_00002.wal"), torn.offset, "{name}");
                    Strict::Torn(torn.offset)
                }
                more => panic!("{name}: torn more than once: {more:?}"),
            },
            Err(error) => {
                let name = Path::new(DIR).join("_00002.wal");
                assert_eq!(error.path(), Some(&*name));
                assert_eq!(sim.snapshot().get(&name), before.get(&name), "nothing was changed");
                let offset = error.offset().expect("an offset");
                let damaged = matches!(error.kind(), ErrorKind::CorruptSegment { .. });
                if damaged { Strict::Damaged(offset) } else { Strict::Refused(offset) }
            }
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_influxdb_would_keep_is_replayed() {
    for (name, _) in TORN {
        let sim = shard(&[("_00002.wal", wal(&format!("torn/{name}_00002.wal")))]);
        let lines = expected(&format!("torn-{name}_00002.wal-loaded"));
        match as_influxdb(&sim) {
            Ok((loaded, ends, _)) => {
                compare_loaded(&loaded, &lines, |_| ends.get("_00002.wal").copied().unwrap_or(0));
            }
            // The original refuses at the second `k`, for its type; we at the first, which has no field.
            Err(error) => {
                assert!(lines.iter().any(|line| line.get("load_error").is_some()), "{name}: {error}");
            }
        }
    }
}

#[test]
fn a_torn_segment_before_a_good_one_is_corrupt() {
    let names = ["_00001.wal", "_00002.wal"];
    let sim = shard(&names.map(|name| (name, wal(&format!("torn-then-good/{name}")))));
    let error = load(&sim, RecoveryMode::Strict).expect_err("damaged");
    assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
    assert_eq!((error.path(), error.offset()), (Some(Path::new("/shard/_00001.wal")), Some(2596)));
    let (loaded, ends, gaps) = as_influxdb(&sim).expect("reads");
    assert_eq!(gaps, 1);
    compare_loaded(&loaded, &expected("torn-then-good-loaded"), |name| ends[name]);
}

/// Story: the original cut a torn tail after it had opened the segment for appending at the old end; the next
/// acknowledged write stands behind zeros, and the original's next start drops it without a word.
#[test]
fn a_hole_before_an_acknowledged_write_is_not_taken_for_a_torn_tail() {
    let sim = shard(&[("_00001.wal", wal("hole-after-recovery/_00001.wal"))]);
    let error = load(&sim, RecoveryMode::Strict).expect_err("a write stands behind the hole");
    assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
    assert_eq!(error.offset(), Some(40));
    let (loaded, _, gaps) = as_influxdb(&sim).expect("reads");
    assert_eq!(gaps, 1);
    assert_eq!(loaded.0.into_keys().collect::<Vec<_>>(), [b"m,k=a#!~#v"]);
}

/// Ours after theirs: a directory that InfluxDB wrote, continued by us, holds both.
#[test]
fn a_log_of_the_original_is_continued_in_a_new_segment() {
    let names = ["_00001.wal", "_00002.wal", "_00003.wal"];
    let sim = shard(&names.map(|name| (name, wal(&format!("normal/{name}")))));
    let open = || open_keeping::<FileLog<SimFs>>(sim.clone(), Path::new(DIR), LogOptions::default());
    let (log, theirs, _) = open().expect("opens");
    let payload = theirs[0].2.clone();
    let at = log.append(Record::write(&payload)).expect("appends");
    let _ = log.sync(at).expect("syncs");
    assert_eq!(at.0 >> 32, 3, "the empty segment is used");
    log.close().expect("closes");
    for name in &names[..2] {
        assert_eq!(len_of(&sim, name), wal(&format!("normal/{name}")).len() as u64);
    }
    let (_, both, _) = open().expect("opens");
    assert_eq!(both.len(), theirs.len() + 1);
    assert_eq!(both.last().map(|last| &last.2), Some(&payload));
}
