//! Segments of InfluxDB 1.6.7, read and rewritten byte for byte, and corrupt variants of them.
//!
//! The vectors come from the directory `TSMITH_VECTORS_TSM1`, or else from the copy beside this file. Names, offsets and
//! counts come from that directory.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tsmith_codecs::{Column, FieldType, Value};
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::OsFs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::influx::{Frames, file_name, parse_name};
use tsmith_wal::testing::open_keeping;
use tsmith_wal::{
    Error, ErrorKind, FileLog, Log, LogOptions, Position, Record, Recovery, RecoveryMode, ReplayMode,
    SegmentRecord, replay_only, replay_segment,
};

use support::disk_with;

const DIR: &str = "/shard";

fn vectors() -> PathBuf {
    std::env::var_os("TSMITH_VECTORS_TSM1")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1"), PathBuf::from)
}

fn wal(name: &str) -> Vec<u8> {
    let path = vectors().join("wal").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the files in a directory of segments, sorted.
fn names(dir: &str) -> Vec<String> {
    let path = vectors().join("wal").join(dir);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
    let mut names: Vec<_> = entries.map(|entry| name(entry).expect("UTF-8")).collect();
    names.sort();
    assert!(!names.is_empty(), "{dir} has segments");
    names
}

/// The segments of a directory, on a simulated disk.
fn shard_of(dir: &str) -> SimFs {
    let segments: Vec<_> =
        names(dir).into_iter().map(|name| (name.clone(), wal(&format!("{dir}/{name}")))).collect();
    shard(&segments)
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

/// A column of the vectors, `[[time, value], ..]`, as a column of ours.
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

/// Compares a segment with the frames that the original's reader found. Returns the length of the valid part.
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
        let again = Frames::default().record(record).expect("encodes").to_vec();
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
fn frames_are_read_and_written_like_the_original() {
    for name in names("normal") {
        let lines = expected(&format!("normal-{name}"));
        assert_eq!(compare(&format!("normal/{name}"), &lines), lines[0]["size"].as_u64().expect("a size"));
    }
}

#[test]
fn corrupt_segments_are_read_like_the_original() {
    for name in names("torn") {
        let lines = expected(&format!("torn-{name}"));
        assert_eq!(compare(&format!("torn/{name}"), &lines), valid_bytes(&lines), "{name}");
    }
}

/// The length that the original's reader accepts.
fn valid_bytes(lines: &[Json]) -> u64 {
    lines.last().and_then(|line| line["valid_bytes"].as_u64()).expect("a length")
}

/// The content of a cache after loading: columns by key.
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
fn shard(segments: &[(String, Vec<u8>)]) -> SimFs {
    disk_with(segments.iter().map(|(name, bytes)| (Path::new(DIR).join(name), bytes)))
}

fn load(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(Loaded, Recovery)> {
    let mut loaded = Loaded::default();
    let options = LogOptions { recovery: mode, ..LogOptions::default() };
    let apply = |_, record: Record<'_>| loaded.apply(record);
    let (log, recovery) = FileLog::open(sim.clone(), Path::new(DIR), options, apply)?;
    log.close()?;
    Ok((loaded.finish(), recovery))
}

/// The values that InfluxDB keeps of the log, the length to which it cuts each segment, and the number of gaps.
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
fn intact_segments_load_like_the_original() {
    let sim = shard_of("normal");
    let (loaded, recovery) = load(&sim, RecoveryMode::Strict).expect("opens");
    assert!(recovery.gaps.is_empty());
    compare_loaded(&loaded, &expected("normal-loaded"), |name| len_of(&sim, name));
}

/// The result of a strict open. Each offset is the length of the valid part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Strict {
    Intact,
    Torn(u64),
    Corrupt(u64),
    /// The segment is valid, but the caller refuses a record.
    Refused(u64),
}

impl Strict {
    /// The expected result for a segment. InfluxDB's segments have no marks, so a bad frame is corruption if another follows.
    fn expected(bytes: &[u8], lines: &[Json]) -> Self {
        let has_no_field = |key: &Json| key["key"].as_str().is_some_and(|key| !key.contains("#!~#"));
        let refused =
            |line: &&Json| line["keys"].as_array().is_some_and(|keys| keys.iter().any(has_no_field));
        if let Some(line) = lines.iter().find(refused) {
            return Self::Refused(line["offset"].as_u64().expect("an offset"));
        }
        let valid = valid_bytes(lines);
        let rest = &bytes[valid as usize..];
        if rest.iter().all(|&byte| byte == 0) {
            return Self::Intact;
        }
        let header: Option<[u8; 4]> = rest.get(1..5).and_then(|len| len.try_into().ok());
        let next = header.and_then(|len| rest.get(5 + u32::from_be_bytes(len) as usize..));
        if next.is_some_and(|next| next.len() > 5) { Self::Corrupt(valid) } else { Self::Torn(valid) }
    }
}

/// The corrupt variants of a segment: the file name of each, the segment's own name, and the bytes.
fn torn() -> impl Iterator<Item = (String, String, Vec<u8>)> {
    names("torn").into_iter().map(|name| {
        let segment = name[name.rfind('_').expect("a number")..].to_owned();
        let bytes = wal(&format!("torn/{name}"));
        (name, segment, bytes)
    })
}

#[test]
fn strict_cuts_torn_tails_and_refuses_corruption() {
    for (name, segment, bytes) in torn() {
        let sim = shard(&[(segment.clone(), bytes.clone())]);
        let before = sim.snapshot();
        let found = match load(&sim, RecoveryMode::Strict) {
            Ok((_, recovery)) => match &recovery.gaps[..] {
                [] => Strict::Intact,
                [torn] => {
                    assert_eq!(len_of(&sim, &segment), torn.offset, "{name}");
                    Strict::Torn(torn.offset)
                }
                more => panic!("{name}: more than one gap: {more:?}"),
            },
            Err(error) => {
                let path = Path::new(DIR).join(&segment);
                assert_eq!(error.path(), Some(&*path));
                assert_eq!(sim.snapshot().get(&path), before.get(&path), "nothing was changed");
                let offset = error.offset().expect("an offset");
                let corrupt = matches!(error.kind(), ErrorKind::CorruptSegment { .. });
                if corrupt { Strict::Corrupt(offset) } else { Strict::Refused(offset) }
            }
        };
        assert_eq!(found, Strict::expected(&bytes, &expected(&format!("torn-{name}"))), "{name}");
    }
}

#[test]
fn replay_keeps_what_influxdb_keeps() {
    for (name, segment, bytes) in torn() {
        let sim = shard(&[(segment.clone(), bytes)]);
        let lines = expected(&format!("torn-{name}-loaded"));
        match as_influxdb(&sim) {
            Ok((loaded, ends, _)) => {
                compare_loaded(&loaded, &lines, |_| ends.get(&segment).copied().unwrap_or(0));
            }
            // The original refuses the second `k` because of its type. We refuse the first, which has no field.
            Err(error) => {
                assert!(lines.iter().any(|line| line.get("load_error").is_some()), "{name}: {error}");
            }
        }
    }
}

#[test]
fn a_torn_segment_before_a_good_one_is_corrupt() {
    let sim = shard_of("torn-then-good");
    let lines = expected("torn-then-good-loaded");
    let cut = |line: &&Json| line["size_after"].as_u64() < line["size_before"].as_u64();
    let torn = lines.iter().find(cut).expect("a segment that the original cuts");
    let path = Path::new(DIR).join(torn["segment"].as_str().expect("a name"));
    let error = load(&sim, RecoveryMode::Strict).expect_err("corrupt");
    assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
    assert_eq!((error.path(), error.offset()), (Some(&*path), torn["size_after"].as_u64()));
    let (loaded, ends, gaps) = as_influxdb(&sim).expect("reads");
    assert_eq!(gaps, 1);
    compare_loaded(&loaded, &lines, |name| ends[name]);
}

/// Story: the original cut a torn tail after it had opened the segment for appending at the old end. The next
/// acknowledged write followed a run of zeros, and the original's next start silently dropped it.
#[test]
fn a_hole_before_a_write_is_corruption() {
    let sim = shard_of("hole-after-recovery");
    let original = &expected("hole-after-recovery")[0];
    let error = load(&sim, RecoveryMode::Strict).expect_err("a write follows the hole");
    assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
    assert_eq!(error.offset(), original["real_loader_truncates_to"].as_u64());
    let (loaded, _, gaps) = as_influxdb(&sim).expect("reads");
    assert_eq!(gaps, 1);
    let keys: Vec<_> = loaded.0.into_keys().map(|key| String::from_utf8(key).expect("UTF-8")).collect();
    assert_eq!(Json::from(keys), original["real_loader_keys"]);
}

/// A directory that InfluxDB wrote and our log continues holds the records of both.
#[test]
fn a_log_of_influxdb_continues_in_a_new_segment() {
    let (names, sim) = (names("normal"), shard_of("normal"));
    let open = || open_keeping::<FileLog<SimFs>>(sim.clone(), Path::new(DIR), LogOptions::default());
    let (log, theirs, _) = open().expect("opens");
    let payload = theirs[0].2.clone();
    let at = log.append(Record::write(&payload)).expect("appends");
    let _ = log.sync(at).expect("syncs");
    let last = names.last().expect("a segment");
    let number = u64::from(parse_name(last.as_ref()).expect("a segment's name"));
    let is_empty = wal(&format!("normal/{last}")).is_empty();
    assert_eq!(at.0 >> 32, number + u64::from(!is_empty), "an empty last segment is used");
    log.close().expect("closes");
    for name in &names[..names.len() - usize::from(is_empty)] {
        assert_eq!(len_of(&sim, name), wal(&format!("normal/{name}")).len() as u64);
    }
    let (_, both, _) = open().expect("opens");
    assert_eq!(both.len(), theirs.len() + 1);
    assert_eq!(both.last().map(|last| &last.2), Some(&payload));
}
