//! Files that InfluxDB wrote, and corrupt files that it refuses. The vectors may be any directory of their form: the lists
//! in `expected/` say which files there are and what they hold.

mod support;

use serde_json::Value as Json;
use support::{expected, expected_column, hex, listed, vector, vectors_ending_in};
use tsmith_tsm::codecs::Tsm1;
use tsmith_tsm::{
    BlockEncoder, Bytes, Column, Error, ErrorKind, FieldType, IndexEntry, KeyEntry, Reader, TimeRange,
    Tombstone, Tombstones, Version, Writer, read_tombstones,
};

/// The files that InfluxDB opened and whose blocks it found intact, with their lists.
fn intact_files() -> Vec<(String, Vec<Json>)> {
    let mut files = listed(".tsm");
    files.retain(|(_, lines)| {
        let mut entries = lines[1..].iter().flat_map(|line| line["entries"].as_array().expect("entries"));
        lines[0]["open_error"].is_null() && entries.all(|entry| entry["crc_ok"] == true)
    });
    files
}

fn open(path: &str) -> Result<Reader, Error> {
    Reader::new(Bytes::from(vector(path)))
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("{name} of {json}"))
}

fn number(json: &Json, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name} of {json}"))
}

fn range(json: &Json, min: &str, max: &str) -> TimeRange {
    TimeRange::new(json[min].as_i64().expect("a time"), json[max].as_i64().expect("a time"))
}

fn field_type(name: &str) -> FieldType {
    FieldType::ALL.into_iter().find(|t| t.name() == name).expect("a type")
}

#[test]
fn file_facts_equal_those_of_influxdb() {
    for (path, lines) in intact_files() {
        let reader = open(&path).expect(&path);
        let facts = &lines[0];
        assert_eq!(reader.version(), Version::Influx);
        assert_eq!(reader.file_bytes(), number(facts, "size"), "{path}");
        assert_eq!(reader.index_offset(), number(facts, "index_offset"), "{path}");
        assert_eq!(reader.file_bytes() - reader.index_offset() - 8, number(facts, "index_size"), "{path}");
        assert_eq!(reader.len() as u64, number(facts, "keys"), "{path}");
        assert_eq!(reader.range(), range(facts, "min_time", "max_time"), "{path}");
        assert_eq!(reader.first_key(), text(facts, "min_key").as_bytes(), "{path}");
        assert_eq!(reader.last_key(), text(facts, "max_key").as_bytes(), "{path}");
        let blocks = |line: &Json| line["entries"].as_array().expect("entries").len() as u64;
        assert_eq!(reader.block_count(), lines[1..].iter().map(blocks).sum::<u64>(), "{path}");
    }
}

#[test]
fn index_entries_equal_those_of_influxdb() {
    for (path, lines) in intact_files() {
        let reader = open(&path).expect(&path);
        for (position, line) in lines[1..].iter().enumerate() {
            let key = reader.find(text(line, "key").as_bytes()).expect("the key is there");
            assert_eq!((key.position(), key.field_type()), (position, field_type(text(line, "type"))));
            let entries = line["entries"].as_array().expect("entries");
            assert_eq!(key.block_count(), entries.len());
            for (entry, wanted) in key.entries().zip(entries) {
                let (offset, size) = (number(wanted, "offset"), number(wanted, "size") as u32);
                assert_eq!(entry, IndexEntry { range: range(wanted, "min", "max"), offset, size });
                let block = reader.block(key, entry).expect("the checksum is right");
                assert_eq!(format!("{:08x}", crc32fast::hash(block)), text(wanted, "crc"));
            }
        }
    }
}

#[test]
fn each_file_is_rewritten_from_its_blocks() {
    let mut count = 0;
    for (path, bytes) in vectors_ending_in(".tsm") {
        if path.contains("damaged") {
            continue;
        }
        let reader = Reader::new(Bytes::from(bytes.clone())).expect(&path);
        let mut writer = Writer::new(Vec::new(), Version::Influx);
        for key in reader.keys() {
            for entry in key.entries() {
                let block = reader.block(key, entry).expect("reads");
                writer.write_block(key.key(), key.field_type(), entry.range, block).expect("writes");
            }
        }
        let (file, summary) = writer.finish().expect("finishes");
        assert!(file == bytes, "{path}");
        assert_eq!((summary.keys, summary.blocks), (reader.len() as u64, reader.block_count()));
        assert_eq!((summary.range, summary.index_offset), (reader.range(), reader.index_offset()));
        count += 1;
    }
    assert!(count >= intact_files().len());
}

/// All blocks of a key, decoded into one column.
fn column_of(reader: &Reader, key: KeyEntry<'_>) -> Column {
    let mut all = Column::new(key.field_type());
    let mut column = Column::new(key.field_type());
    for entry in key.entries() {
        reader.read_block(key, entry, &mut Tsm1::default(), 1000, &mut column).expect("reads");
        all.extend(column.as_ref()).expect("one type");
    }
    all
}

#[test]
fn values_equal_those_of_influxdb() {
    for (path, lines) in intact_files() {
        let reader = open(&path).expect(&path);
        for line in &lines[1..] {
            let key = reader.find(text(line, "key").as_bytes()).expect("the key is there");
            assert_eq!(column_of(&reader, key), expected_column(line), "{path}: {}", text(line, "key"));
        }
    }
}

/// Decodes all of a file, encodes it again in blocks of the same times, and writes it.
#[test]
fn each_file_is_rewritten_from_its_values() {
    let mut encoder = Tsm1::default();
    for (path, bytes) in vectors_ending_in(".tsm") {
        if path.contains("damaged") {
            continue;
        }
        let reader = Reader::new(Bytes::from(bytes.clone())).expect(&path);
        let mut writer = Writer::new(Vec::new(), Version::of(&Tsm1::default()));
        let mut block = Vec::new();
        for key in reader.keys() {
            let column = column_of(&reader, key);
            for entry in key.entries() {
                block.clear();
                encoder.encode(column.as_ref().within(entry.range), &mut block).expect("encodes");
                writer.write_block(key.key(), key.field_type(), entry.range, &block).expect("writes");
            }
        }
        assert!(writer.finish().expect("finishes").0 == bytes, "{path}");
    }
}

/// A corrupt file, and the error of opening it with its offset.
fn refusal(name: &str) -> (Vec<u8>, ErrorKind, u64) {
    let path = format!("tsm/damaged/{name}.tsm");
    let error = open(&path).expect_err(&path);
    let offset = error.offset().expect("an offset");
    (vector(&path), error.kind().clone(), offset)
}

/// The footer of a corrupt file points outside it: the offset found, and the greatest possible one.
fn bad_footer(name: &str) -> (u64, u64) {
    let (bytes, kind, offset) = refusal(name);
    let footer_at = bytes.len() as u64 - 8;
    assert_eq!(offset, footer_at, "{name}");
    let ErrorKind::IndexOffset { found, min: 6, max } = kind else { panic!("{name}: {kind}") };
    assert_eq!(max, footer_at - 1, "{name}");
    (found, max)
}

#[test]
fn corrupt_badmagic() {
    let (bytes, kind, offset) = refusal("badmagic");
    assert!(matches!(kind, ErrorKind::Magic { found } if found == bytes[..4]));
    assert_eq!(offset, 0);
}

#[test]
fn corrupt_badversion() {
    let (bytes, kind, offset) = refusal("badversion");
    assert!(matches!(kind, ErrorKind::Version { found } if found == bytes[4]), "{kind}");
    assert_eq!(offset, 4);
}

#[test]
fn corrupt_cut_footer() {
    // The last eight bytes of the file are not the offset, but end in a part of it.
    bad_footer("cut-footer");
}

#[test]
fn corrupt_cut_index() {
    bad_footer("cut-index");
}

#[test]
fn corrupt_index_offset_past_end() {
    let (found, max) = bad_footer("index-offset-past-end");
    assert!(found > max);
}

#[test]
fn corrupt_empty() {
    let (_, kind, offset) = refusal("empty");
    assert!(matches!(kind, ErrorKind::TooShort { bytes: 0, expected: "a header" }), "{kind}");
    assert_eq!(offset, 0);
}

#[test]
fn corrupt_header_only() {
    let (bytes, kind, offset) = refusal("header-only");
    let ErrorKind::TooShort { bytes: found, expected: "a block, an index and a footer" } = kind else {
        panic!("{kind}")
    };
    assert_eq!((found, offset), (bytes.len() as u64, bytes.len() as u64));
}

#[test]
fn corrupt_seven_bytes() {
    let (bytes, kind, offset) = refusal("seven-bytes");
    let ErrorKind::TooShort { bytes: found, .. } = kind else { panic!("{kind}") };
    assert_eq!((found, offset), (bytes.len() as u64, bytes.len() as u64));
}

/// InfluxDB does not check block checksums when it reads. From this file it returns times that were never written.
#[test]
fn corrupt_badcrc_opens_but_does_not_read() {
    let bytes = vector("tsm/damaged/badcrc.tsm");
    let reader = Reader::new(Bytes::from(bytes.clone())).expect("the index is valid");
    let key = reader.get(0).expect("one key");
    let entry = key.entry(0).expect("one block");
    let error = reader.block(key, entry).expect_err("the block is corrupt");
    let in_file = u32::from_be_bytes(*bytes[entry.offset as usize..].first_chunk().expect("a checksum"));
    assert!(matches!(*error.kind(), ErrorKind::Checksum { stored, .. } if stored == in_file), "{error}");
    assert_eq!((error.offset(), error.key()), (Some(entry.offset), Some(key.key())));
}

fn tombstones(lines: &[Json]) -> Vec<Tombstone> {
    let records = lines[1..].iter().filter(|line| line["key_hex"].is_string());
    records
        .map(|line| Tombstone { key: hex(text(line, "key_hex")), range: range(line, "min", "max") })
        .collect()
}

#[test]
fn tombstones_equal_those_of_influxdb() {
    for (path, lines) in listed(".tombstone") {
        if [V2, TORN].contains(&&*path) {
            continue;
        }
        let bytes = vector(&path);
        // Files of version 1 have no header.
        let version = text(&lines[0], "header").strip_prefix("000015").map_or(1, |digits| hex(digits)[0]);
        assert_eq!(Tombstones::new(&bytes).expect(&path).version(), version, "{path}");
        let read = read_tombstones(&bytes).expect(&path);
        assert_eq!(read, tombstones(&lines), "{path}");
    }
}

/// A file of version 2.
const V2: &str = "tombstone/v2.tombstone";
/// A file that ends inside a gzip member.
const TORN: &str = "tombstone/v4-torn.tombstone";

/// InfluxDB's reader of version 2 uses one buffer for key and times. So the times overwrite the first bytes of the
/// key, the tombstone matches no key, and deleted points come back.
#[test]
fn tombstones_of_version_2_keep_their_keys() {
    let bytes = vector(V2);
    let read = read_tombstones(&bytes).expect("reads");
    let overwritten = tombstones(&expected("tombstone-v2"));
    assert_eq!(read.len(), overwritten.len());
    let mut rest = &bytes[4..];
    for (tombstone, overwritten) in read.iter().zip(&overwritten) {
        let (len, after) = rest.split_first_chunk().expect("a length");
        let (key, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        assert_eq!(tombstone.key, key);
        assert_eq!(tombstone.range, overwritten.range);
        rest = &after[16..];
    }
    assert!(rest.is_empty());
}

/// InfluxDB treats the end of a truncated member as the end of the file. A salvage finds the same records as
/// InfluxDB. All other callers get an error, because the number of lost tombstones is unknown.
#[test]
fn truncated_tombstones_end_with_an_error() {
    let bytes = vector(TORN);
    let error = read_tombstones(&bytes).expect_err("it is truncated");
    assert!(matches!(error.kind(), ErrorKind::Gzip(_)), "{error}");
    let members = Tombstones::new(&bytes).expect("the header is intact");
    let (read, errors): (Vec<_>, Vec<_>) = members.partition(Result::is_ok);
    let read: Vec<_> = read.into_iter().filter_map(Result::ok).collect();
    assert_eq!(read, tombstones(&expected("tombstone-v4-torn")));
    assert_eq!(errors.len(), 1);
}
