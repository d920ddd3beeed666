//! Keys and columns round-trip through a file, and corruption is never returned as data.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Keyed, Plain, column, read, write};
use tsmith_tsm::codecs::{Raw, Tsm1, Value, Values, Zstd};
use tsmith_tsm::{
    BlockEncoder, Bytes, Column, Decoders, ErrorKind, FieldType, IndexEntry, Reader, TimeRange, Version,
};

fn keys() -> Vec<Keyed> {
    let floats = column(FieldType::Float, &[(-5, Value::Float(-0.0)), (7, Value::Float(f64::NAN))]);
    let later = column(FieldType::Float, &[(8, Value::Float(1.5))]);
    let strings =
        column(FieldType::String, &[(i64::MIN, Value::String(b"")), (i64::MAX, Value::String(b"max"))]);
    let booleans = column(FieldType::Boolean, &[(0, Value::Boolean(true)), (1, Value::Boolean(false))]);
    vec![
        (b"a#!~#f".to_vec(), vec![floats, later]),
        (b"a#!~#s".to_vec(), vec![strings]),
        (b"b,t=x#!~#b".to_vec(), vec![booleans]),
    ]
}

/// The same without the NaN, which InfluxDB cannot store.
fn influx_keys() -> Vec<Keyed> {
    let mut keys = keys();
    keys[0].1[0] = column(FieldType::Float, &[(-5, Value::Float(-0.0)), (7, Value::Float(f64::INFINITY))]);
    keys
}

/// Marks the bytes of keys in a file. InfluxDB's index has no checksum, so a corrupt key that is still in order looks
/// like a key.
fn key_bytes(file: &[u8]) -> Vec<bool> {
    let mut is_key = vec![false; file.len()];
    let reader = Reader::new(Bytes::copy_from_slice(file)).expect("opens");
    let mut at = reader.index_offset() as usize;
    for key in reader.keys() {
        is_key[at + 2..at + 2 + key.key().len()].fill(true);
        at += 2 + key.key().len() + 3 + 28 * key.block_count();
    }
    is_key
}

fn no_prefix_opens<E: BlockEncoder + Default>(version: Version, keys: &[Keyed]) {
    let file = write::<E>(version, keys);
    assert_eq!(read::<E>(&file).expect("the complete file reads"), keys);
    for len in 0..file.len() {
        assert!(read::<E>(&file[..len]).is_err(), "{len} of {} bytes", file.len());
    }
}

fn every_flip_is_detected<E: BlockEncoder + Default>(version: Version, keys: &[Keyed]) {
    let columns = |keys: &[Keyed]| keys.iter().map(|key| key.1.clone()).collect::<Vec<_>>();
    let mut file = write::<E>(version, keys);
    let unprotected = key_bytes(&file);
    for at in 0..file.len() {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            match read::<E>(&file) {
                Err(_) => {}
                Ok(found) => {
                    assert!(
                        version == Version::Influx && unprotected[at],
                        "bit {bit} of byte {at} in {version:?}"
                    );
                    assert_eq!(columns(&found), columns(keys));
                }
            }
            file[at] ^= 1 << bit;
        }
    }
}

#[test]
fn no_prefix_of_a_file_opens() {
    no_prefix_opens::<Plain>(Version::Influx, &keys());
    no_prefix_opens::<Plain>(Version::Tagged, &keys());
    no_prefix_opens::<Tsm1>(Version::Influx, &influx_keys());
    no_prefix_opens::<Zstd>(Version::of(&Zstd::default()), &keys());
}

#[test]
fn every_flipped_bit_is_detected() {
    every_flip_is_detected::<Plain>(Version::Influx, &keys());
    every_flip_is_detected::<Plain>(Version::Tagged, &keys());
    every_flip_is_detected::<Tsm1>(Version::Influx, &influx_keys());
    every_flip_is_detected::<Zstd>(Version::of(&Zstd::default()), &keys());
}

/// An index without a checksum may say anything, so it is compared with the block.
#[test]
fn a_block_must_agree_with_its_entry() {
    let reader = Reader::new(Bytes::from(write::<Tsm1>(Version::Influx, &influx_keys()))).expect("opens");
    let (floats, strings) = (reader.get(0).expect("a key"), reader.get(1).expect("a key"));
    let first = floats.entry(0).expect("a block");
    let wider = IndexEntry { range: TimeRange::new(first.range.min, first.range.max + 1), ..first };
    let read = |key, entry| {
        let mut out = Column::new(FieldType::Boolean);
        let done = reader.read_block(key, entry, &mut Tsm1::default(), 1000, &mut out);
        assert_eq!(done.is_err(), out.is_empty());
        done.map_err(|error| error.kind().clone())
    };
    assert!(read(floats, first).is_ok());
    assert!(matches!(read(floats, wider), Err(ErrorKind::BlockTimes { .. })));
    assert!(matches!(read(strings, first), Err(ErrorKind::BlockType { .. })));
    assert!(matches!(
        reader.block(strings, first).expect_err("another type").kind(),
        ErrorKind::BlockType { index: FieldType::String, .. }
    ));
    let into_index = (reader.index_offset() - first.offset) as u32 + 1;
    for (offset, size) in [
        (0, first.size),
        (first.offset, into_index),
        (first.offset, u32::MAX),
        (u64::MAX, 9),
        (first.offset, 3),
    ] {
        let outside = IndexEntry { offset, size, ..first };
        assert!(matches!(read(floats, outside), Err(ErrorKind::Corrupt { .. })), "{outside:?}");
    }
    let mut out = Column::new(FieldType::Boolean);
    let limited = reader.read_block(floats, first, &mut Decoders::standard(), 1, &mut out);
    assert!(matches!(limited.expect_err("two values").kind(), ErrorKind::Block(_)));
    reader.read_block(floats, first, &mut Decoders::standard(), 2, &mut out).expect("reads");
    assert_eq!(out, influx_keys()[0].1[0]);
}

/// The first byte of a tagged block does not tell its type, so the decoded column is compared.
#[test]
fn a_tagged_block_must_have_the_type_of_its_key() {
    let reader = Reader::new(Bytes::from(write::<Raw>(Version::Tagged, &keys()))).expect("opens");
    let (floats, strings) = (reader.get(0).expect("a key"), reader.get(1).expect("a key"));
    let first = floats.entry(0).expect("a block");
    let mut out = Column::new(FieldType::Float);
    let error = reader.read_block(strings, first, &mut Raw, 1000, &mut out).expect_err("another type");
    assert!(matches!(error.kind(), ErrorKind::BlockType { index: FieldType::String, .. }), "{error}");
    assert!(out.is_empty());
}

/// Readers select points of a block by binary search. If its times did not ascend, points would be lost.
#[test]
fn a_block_whose_times_do_not_ascend_is_refused() {
    for times in [[1, 3, 2, 4], [1, 2, 2, 4]] {
        let column = Column::from_parts(times.to_vec(), Values::Integer(vec![0; 4])).expect("equal lengths");
        let error = read::<Raw>(&write::<Raw>(Version::Tagged, &[(b"k".to_vec(), vec![column])]));
        assert!(matches!(error.expect_err("unsorted").kind(), ErrorKind::BlockUnsorted));
    }
}

#[test]
fn the_footer_must_point_between_header_and_footer() {
    let file = write::<Plain>(Version::Influx, &keys());
    let footer = file.len() - 8;
    for index_offset in [0, 4, 5, footer as u64, footer as u64 + 1, u64::MAX] {
        let mut file = file.clone();
        file[footer..].copy_from_slice(&index_offset.to_be_bytes());
        let error = Reader::new(Bytes::from(file)).expect_err("outside");
        assert!(
            matches!(error.kind(), ErrorKind::IndexOffset { found, .. } if *found == index_offset),
            "{error}"
        );
        assert_eq!(error.offset(), Some(footer as u64));
    }
}

/// Law: intact blocks of a corrupt file read unchanged.
#[test]
fn intact_blocks_of_a_corrupt_file_read() {
    let mut file = write::<Plain>(Version::Influx, &keys());
    file[5 + 4 + 1] ^= 1; // the first block
    let reader = Reader::new(Bytes::from(file)).expect("the index is valid");
    for (key, columns) in keys() {
        let entry = reader.find(&key).expect("the key is there");
        for (i, (block, column)) in entry.entries().zip(&columns).enumerate() {
            let mut out = Column::new(FieldType::Integer);
            let done = reader.read_block(entry, block, &mut Plain, 10, &mut out);
            let corrupt = key == keys()[0].0 && i == 0;
            assert_eq!(done.is_err(), corrupt);
            assert!(if corrupt { out.is_empty() } else { out == *column });
        }
    }
}

fn any_column() -> impl Strategy<Value = Column> {
    let times = prop::collection::btree_set(any::<i64>(), 1..20);
    let seeds = prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..9)), 20);
    (times, seeds, 0_usize..5).prop_map(|(times, seeds, field_type)| {
        let field_type = FieldType::ALL[field_type];
        let points: Vec<_> = times
            .into_iter()
            .zip(&seeds)
            .map(|(time, (bits, bytes))| {
                let value = match field_type {
                    FieldType::Float => Value::Float(f64::from_bits(*bits)),
                    FieldType::Integer => Value::Integer(*bits as i64),
                    FieldType::Unsigned => Value::Unsigned(*bits),
                    FieldType::Boolean => Value::Boolean(bits & 1 == 1),
                    FieldType::String => Value::String(bytes),
                };
                (time, value)
            })
            .collect();
        column(field_type, &points)
    })
}

fn any_keys() -> impl Strategy<Value = BTreeMap<Vec<u8>, (Column, usize)>> {
    let key = prop::collection::vec(any::<u8>(), 1..6);
    prop::collection::btree_map(key, (any_column(), 1_usize..20), 1..12)
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        keys in any_keys(),
        tagged in any::<bool>(),
        absent in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let version = if tagged { Version::Tagged } else { Version::Influx };
        let model: Vec<Keyed> = keys
            .iter()
            .map(|(key, (column, cut))| {
                let cuts = (0..column.len()).step_by(*cut);
                let blocks = cuts.map(|at| column.as_ref().slice(at..column.len().min(at + cut)).to_column());
                (key.clone(), blocks.collect())
            })
            .collect();
        let file = write::<Plain>(version, &model);
        prop_assert_eq!(&read::<Plain>(&file).expect("reads"), &model);

        let reader = Reader::new(Bytes::from(file)).expect("opens");
        prop_assert_eq!(reader.version(), version);
        prop_assert_eq!(reader.len(), model.len());
        for (position, (key, (column, _))) in keys.iter().enumerate() {
            let found = reader.find(key).expect("the key is there");
            prop_assert_eq!((found.position(), found.field_type()), (position, column.field_type()));
            let times = column.times();
            prop_assert_eq!(found.range(), TimeRange::new(times[0], times[times.len() - 1]));
        }
        let place = keys.keys().position(|key| *key >= absent).unwrap_or(keys.len());
        let wanted = if keys.contains_key(&absent) { Ok(place) } else { Err(place) };
        prop_assert_eq!(reader.search(&absent), wanted);
    }

    #[test]
    fn no_bytes_panic(
        keys in any_keys(),
        at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let model: Vec<Keyed> = keys.into_iter().map(|(key, (column, _))| (key, vec![column])).collect();
        let mut file = write::<Plain>(Version::Influx, &model);
        let at = at.index(file.len());
        for (byte, junk) in file[at..].iter_mut().zip(junk) {
            *byte = junk;
        }
        let _ = read::<Plain>(&file);
        let _ = read::<Plain>(&file[..cut.index(file.len())]);
    }
}
