use std::collections::BTreeMap;

use bytes::Bytes;
use tsmith_codecs::{Tsm1, Values};

use super::*;
use crate::format::Version;

type Points = BTreeMap<Vec<u8>, Vec<(i64, i64)>>;

/// The value of a key at a time. No two keys have the same value.
fn value(key: &[u8], time: i64) -> i64 {
    (i64::from(crc32fast::hash(key)) << 20) + time
}

fn encoded(key: &[u8], times: &[i64]) -> Vec<u8> {
    let values = times.iter().map(|&time| value(key, time)).collect();
    let column = Column::from_parts(times.to_vec(), Values::Integer(values)).expect("equal lengths");
    let mut block = Vec::new();
    Tsm1::default().encode(column.as_ref(), &mut block).expect("encodes");
    block
}

/// Three keys with three blocks each. All blocks have the same length, so a corrupt offset can point to another key's
/// block.
fn file(version: Version) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), version);
    for (n, key) in [&b"a#!~#v"[..], b"b#!~#v", b"c#!~#v"].into_iter().enumerate() {
        for block in 0..3 {
            let at = n as i64 * 1000 + block * 100;
            let times = [at, at + 10, at + 25];
            let bytes = encoded(key, &times);
            writer.write_block(key, FieldType::Integer, TimeRange::new(at, at + 25), &bytes).expect("writes");
        }
    }
    writer.finish().expect("finishes").0
}

/// All points of a file, which must be intact.
fn points(bytes: Vec<u8>) -> Points {
    let reader = Reader::new(Bytes::from(bytes)).expect("opens");
    let (mut decoder, mut column) = (Decoders::standard(), Column::new(FieldType::Float));
    let mut points = Points::new();
    for key in reader.keys() {
        let all = points.entry(key.key().to_vec()).or_default();
        for entry in key.entries() {
            reader.read_block(key, entry, &mut decoder, BLOCK_VALUES_MAX, &mut column).expect("it is intact");
            let Values::Integer(values) = column.values() else { panic!("{:?}", column.field_type()) };
            all.extend(column.times().iter().copied().zip(values.iter().copied()));
        }
    }
    points
}

/// The salvage, and the file that it writes; `None` if that file would be empty.
fn salvaged(bytes: &[u8]) -> Option<(Salvage, Option<Vec<u8>>)> {
    let (reader, salvage) = Salvage::open(Bytes::copy_from_slice(bytes), &Decoders::standard()).ok()?;
    if salvage.kept_blocks == 0 {
        return Some((salvage, None));
    }
    let mut writer = Writer::new(Vec::new(), reader.version());
    salvage.write(&reader, &Decoders::standard(), &mut writer).expect("writes");
    Some((salvage, Some(writer.finish().expect("finishes").0)))
}

#[test]
fn an_intact_file_is_copied_unchanged() {
    for version in [Version::Influx, Version::Tagged] {
        let bytes = file(version);
        let (salvage, written) = salvaged(&bytes).expect("opens");
        assert!(salvage.is_whole());
        assert_eq!((salvage.kept_keys, salvage.kept_blocks, salvage.kept_values), (3, 9, 27));
        assert_eq!(written.expect("a file"), bytes);
    }
}

/// Law: if one bit of a block is corrupt, only that block is lost.
#[test]
fn only_the_corrupt_block_is_dropped() {
    let good = file(Version::Influx);
    let all = points(good.clone());
    let index_at = Reader::new(Bytes::from(good.clone())).expect("opens").index_offset() as usize;
    for bit in 5 * 8..index_at * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (salvage, written) = salvaged(&bytes).expect("the index is valid");
        assert_eq!(
            (salvage.kept_blocks, salvage.dropped_blocks(), salvage.corrupt.len()),
            (8, 1, 1),
            "bit {bit}"
        );
        let corruption = &salvage.corrupt[0];
        let lost = corruption.dropped[0].entry;
        assert!((lost.offset..lost.offset + u64::from(lost.size)).contains(&(bit as u64 / 8)), "bit {bit}");
        let mut left = all.clone();
        left.get_mut(&corruption.key)
            .expect("its key")
            .retain(|(time, _)| !(lost.range.min..=lost.range.max).contains(time));
        assert_eq!(points(written.expect("a file")), left, "bit {bit}");
    }
}

/// Times and type are in the block, which has a checksum. In InfluxDB's files the index has no checksum, so an offset
/// may point to the block of another key. Its points must not be attributed to this key.
#[test]
fn a_corrupt_index_creates_no_points() {
    let good = file(Version::Influx);
    let all = points(good.clone());
    let index_at = Reader::new(Bytes::from(good.clone())).expect("opens").index_offset() as usize;
    let (mut repaired, mut opened) = (0, 0);
    for bit in index_at * 8..(good.len() - 8) * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Some((salvage, written)) = salvaged(&bytes) else { continue };
        opened += 1;
        repaired += salvage.corrupt.iter().map(|key| key.repaired.len()).sum::<usize>();
        let found = points(written.expect("a file"));
        for (key, points) in found {
            // A corrupt key looks like another key.
            let Some(known) = all.get(&key) else { continue };
            assert!(points.iter().all(|point| known.contains(point)), "bit {bit}: {points:?}");
            assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "bit {bit}");
        }
    }
    assert!(repaired > 50 && opened > 100, "{repaired} of {opened}");
}

/// Points an entry to the block of another key, which has the same size.
#[test]
fn the_block_of_another_key_is_not_taken() {
    let good = file(Version::Influx);
    let reader = Reader::new(Bytes::from(good.clone())).expect("opens");
    let entry = |key: usize, at: usize| reader.get(key).expect("a key").entry(at).expect("a block");
    let (from, to) = (entry(0, 1), entry(1, 1));
    assert_eq!(from.size, to.size, "otherwise the checksum detects it");
    // The entry of the first key gets the offset of the second key's block. The second key keeps its own entry.
    let mut bytes = good.clone();
    let at = good.windows(8).rposition(|window| window == from.offset.to_be_bytes()).expect("in the index");
    bytes[at..at + 8].copy_from_slice(&to.offset.to_be_bytes());
    let (salvage, written) = salvaged(&bytes).expect("opens");
    let orphan_bytes = salvage.index.as_ref().map(|loss| loss.orphan_bytes);
    assert_eq!((salvage.kept_blocks, orphan_bytes), (8, Some(u64::from(from.size))));
    let mut left = points(good);
    left.get_mut(&b"a#!~#v"[..]).expect("the first").retain(|(time, _)| !(100..=125).contains(time));
    assert_eq!(points(written.expect("a file")), left);
}

/// The format allows blocks that overlap, but the writer refuses them.
#[test]
fn blocks_that_overlap_are_merged() {
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    let key = b"a#!~#v";
    for (times, range) in
        [(vec![1, 5, 9], (1, 9)), (vec![10, 20, 35], (10, 35)), (vec![40, 41, 42], (40, 42))]
    {
        let range = TimeRange::new(range.0, range.1);
        writer.write_block(key, FieldType::Integer, range, &encoded(key, &times)).expect("writes");
    }
    let mut bytes = writer.finish().expect("finishes").0;
    let whole = points(bytes.clone());
    // The second block begins before the first one ends, both in the index and in the block, which is encoded again.
    let reader = Reader::new(Bytes::from(bytes.clone())).expect("opens");
    let entry = reader.get(0).and_then(|key| key.entry(1)).expect("a block");
    let overlapping = encoded(key, &[5, 20, 36]);
    let place = entry.offset as usize;
    assert_eq!(overlapping.len() + CRC, entry.size as usize, "it fits in its place");
    bytes[place..place + CRC].copy_from_slice(&crc32fast::hash(&overlapping).to_be_bytes());
    bytes[place + CRC..place + CRC + overlapping.len()].copy_from_slice(&overlapping);
    let (salvage, written) = salvaged(&bytes).expect("opens");
    assert_eq!((salvage.dropped_blocks(), salvage.corrupt[0].repaired.len()), (0, 1));
    let times: Vec<i64> = points(written.expect("a file"))[&key[..]].iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [1, 5, 9, 20, 36, 40, 41, 42]);
    assert_eq!(whole.len(), 1);
}

const CRC: usize = 4;

#[test]
fn a_file_without_intact_blocks_keeps_nothing() {
    let mut bytes = file(Version::Influx);
    let reader = Reader::new(Bytes::from(bytes.clone())).expect("opens");
    for entry in reader.keys().flat_map(KeyEntry::entries) {
        bytes[entry.offset as usize] ^= 1;
    }
    let (salvage, written) = salvaged(&bytes).expect("opens");
    assert_eq!((salvage.kept_keys, salvage.kept_values, salvage.dropped_blocks()), (0, 0, 9));
    assert!(written.is_none());
}

/// Story: a salvage rewrote a block whose times did not ascend with InfluxDB's encoder instead of the encoder of the
/// file.
#[test]
fn rewritten_blocks_keep_the_encoder_of_the_file() {
    fn check<E: BlockEncoder + Default>() {
        let column =
            Column::from_parts(vec![30, 10, 20], Values::Integer(vec![3, 1, 2])).expect("equal lengths");
        let mut block = Vec::new();
        E::default().encode(column.as_ref(), &mut block).expect("encodes");
        let mut writer = Writer::new(Vec::new(), Version::of(&E::default()));
        let range = TimeRange::new(10, 30);
        writer.write_block(b"a#!~#v", FieldType::Integer, range, &block).expect("writes");
        let (salvage, written) = salvaged(&writer.finish().expect("finishes").0).expect("opens");
        assert_eq!((salvage.kept_values, salvage.corrupt[0].repaired.len()), (3, 1));
        let written = written.expect("a file");
        let reader = Reader::new(Bytes::from(written.clone())).expect("opens");
        let key = reader.get(0).expect("a key");
        let first = reader.block(key, key.entry(0).expect("a block")).expect("it is intact")[0];
        let tags = E::default().tags();
        assert!(tags.contains(&first), "{first:#x} of {tags:x?}");
        assert_eq!(points(written)[&b"a#!~#v"[..]], [(10, 1), (20, 2), (30, 3)]);
    }
    check::<Tsm1>();
    check::<tsmith_codecs::Raw>();
    check::<tsmith_codecs::Snappy>();
    check::<tsmith_codecs::Zstd>();
}

/// Story: a file of an encoder that this build does not have was called corrupt although every checksum was right,
/// and a repair quarantined it.
#[test]
fn an_unknown_encoder_is_not_corruption() {
    const UNKNOWN: u8 = 0x7e;
    let mut bytes = file(Version::Tagged);
    let entries: Vec<_> = {
        let reader = Reader::new(Bytes::from(bytes.clone())).expect("opens");
        reader.keys().flat_map(KeyEntry::entries).collect()
    };
    for entry in entries {
        let (crc, end) = (entry.offset as usize, entry.end() as usize);
        bytes[crc + CRC] = UNKNOWN;
        let sum = crc32fast::hash(&bytes[crc + CRC..end]);
        bytes[crc..crc + CRC].copy_from_slice(&sum.to_be_bytes());
    }
    // The same with a lost footer.
    for bytes in [bytes.clone(), bytes[..bytes.len() - 4].to_vec()] {
        let (_, salvage) = Salvage::open(Bytes::from(bytes), &Decoders::standard()).expect("opens");
        let unknown = salvage.unknown.expect("unknown");
        assert!(matches!(unknown.kind(), ErrorKind::UnknownEncoder { tag: UNKNOWN }), "{unknown}");
    }
    let reader = Reader::new(Bytes::from(bytes)).expect("opens");
    let key = reader.get(0).expect("a key");
    let error = reader
        .known_block(key, key.entry(0).expect("a block"), &Decoders::standard())
        .expect_err("no encoder can read it");
    assert!(matches!(error.kind(), ErrorKind::UnknownEncoder { tag: UNKNOWN }), "{error}");
}

/// Law: version `T` has a checksum over the index. So no corrupt byte of header, index or footer creates a point or a
/// key.
#[test]
fn a_corrupt_byte_of_a_checked_index_changes_no_key() {
    let good = file(Version::Tagged);
    let all = points(good.clone());
    let index_at = Reader::new(Bytes::from(good.clone())).expect("opens").index_offset() as usize;
    let mut kept = 0;
    for at in (0..5).chain(index_at..good.len()) {
        for flip in [0x01, 0x55, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let Some((salvage, written)) = salvaged(&bytes) else { continue };
            kept += salvage.kept_blocks;
            for (key, points) in points(written.expect("a file")) {
                let known = all.get(&key).unwrap_or_else(|| panic!("byte {at} ^ {flip:#x}: {key:?}"));
                assert!(points.iter().all(|point| known.contains(point)), "byte {at} ^ {flip:#x}");
            }
        }
    }
    assert!(kept > 1000, "{kept}");
    for cut in good.len() - 12..good.len() {
        let (_, written) = salvaged(&good[..cut]).expect("the index is there");
        assert_eq!(points(written.expect("a file")), all, "cut at {cut}");
    }
}
