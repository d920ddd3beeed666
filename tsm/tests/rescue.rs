//! Rescue: a file with a corrupt header, footer or index gives right points or none.

mod support;

use std::collections::BTreeMap;
use std::ops::Range;

use support::{Keyed, column, vector, write};
use tsmith_codecs::{BlockEncoder, Column, Decoders, TimeRange, Values};
use tsmith_tsm::codecs::{Tsm1, Value};
use tsmith_tsm::format::HEADER_BYTES;
use tsmith_tsm::{Bytes, ErrorKind, FieldType, Reader, Salvage, Version, Writer, rescue};

/// The length of an index entry.
const ENTRY: usize = 28;
/// The length of the footer in InfluxDB's files.
const FOOTER: usize = 8;

/// A file of influxd 1.6.7 without its last 4 bytes, from a bug report.
const CUT: &[u8] = include_bytes!("files/influxd-cut.tsm");

/// For each key and first time of a block, the last time and the bytes of the block. Blocks are copied unchanged.
type Points = BTreeMap<(Vec<u8>, i64), (i64, Vec<u8>)>;

fn points_of(reader: &Reader) -> Points {
    let mut points = Points::new();
    for key in reader.keys() {
        for entry in key.entries() {
            let block = reader.block(key, entry).expect("intact").to_vec();
            points.insert((key.key().to_vec(), entry.range.min), (entry.range.max, block));
        }
    }
    points
}

/// The file that a repair writes from these bytes, or `None` if the repair refuses them.
fn repaired(bytes: &[u8]) -> Option<(Salvage, Points)> {
    let (reader, salvage) = Salvage::open(Bytes::copy_from_slice(bytes), &Decoders::standard()).ok()?;
    if salvage.kept_blocks == 0 {
        return Some((salvage, Points::new()));
    }
    let mut writer = Writer::new(Vec::new(), reader.version());
    salvage.write(&reader, &Decoders::standard(), &mut writer).expect("writes");
    let written = Reader::new(writer.finish().expect("finishes").0.into()).expect("opens");
    Some((salvage, points_of(&written)))
}

/// A key of the index and the places of its parts.
struct Place {
    key: Vec<u8>,
    all: Range<usize>,
    name: Range<usize>,
    entries: Vec<(usize, tsmith_tsm::IndexEntry)>,
}

fn places(bytes: &[u8]) -> Vec<Place> {
    let reader = Reader::new(Bytes::copy_from_slice(bytes)).expect("opens");
    let mut at = reader.index_offset() as usize;
    let place = |key: tsmith_tsm::KeyEntry<'_>| {
        let name = at + 2..at + 2 + key.key().len();
        let first = name.end + 3;
        let entries = key.entries().enumerate().map(|(n, entry)| (first + n * ENTRY, entry));
        let all = at..first + key.block_count() * ENTRY;
        at = all.end;
        Place { key: key.key().to_vec(), all, name, entries: entries.collect() }
    };
    reader.keys().map(place).collect()
}

/// Files that influxd wrote: many keys with one block each at the same times, and keys with several blocks.
fn files() -> Vec<Vec<u8>> {
    let mut keys = CUT.to_vec();
    let (reader, _) = rescue(keys.clone().into(), &Decoders::standard()).expect("the index is there");
    keys.truncate(keys.len() - FOOTER / 2);
    keys.extend_from_slice(&reader.index_offset().to_be_bytes());
    vec![keys, vector("tsm/extreme/000000001-000000001.tsm")]
}

/// The points of all keys except those that `is_lost` selects.
fn without(all: &Points, is_lost: impl Fn(&[u8], i64) -> bool) -> Points {
    let kept = all.iter().filter(|((key, time), _)| !is_lost(key, *time));
    kept.map(|(point, value)| (point.clone(), value.clone())).collect()
}

fn holds(found: &Points, expected: &Points) -> bool {
    expected.iter().all(|(point, value)| found.get(point) == Some(value))
}

/// Story: a file lost its last 4 bytes, and a repair gave up on the whole file although the index was intact.
#[test]
fn a_lost_footer_costs_nothing() {
    let (reader, loss) = rescue(CUT.into(), &Decoders::standard()).expect("the index is there");
    let loss = loss.expect("the footer is lost");
    assert!(loss.gaps.is_empty() && loss.orphan_bytes == 0, "{loss:?}");
    let (salvage, points) = repaired(CUT).expect("kept");
    assert_eq!(salvage.kept_keys, reader.len() as u64);
    assert_eq!(points, points_of(&reader));
    assert_eq!(points.len(), 10);
}

/// Law: if a file is cut inside its index, every block whose key and entry precede the cut is kept.
#[test]
fn a_cut_index_keeps_the_entries_before_the_cut() {
    for good in files() {
        let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
        let places = places(&good);
        for cut in places[0].all.start..good.len() {
            let lost = |key: &[u8], time: i64| {
                let place = places.iter().find(|place| place.key == key).expect("a key");
                let is_whole = |(at, entry): &(usize, tsmith_tsm::IndexEntry)| {
                    at + ENTRY <= cut && (entry.range.min..=entry.range.max).contains(&time)
                };
                !place.entries.iter().any(is_whole)
            };
            let expected = without(&all, lost);
            let found = repaired(&good[..cut]).map(|(_, points)| points).unwrap_or_default();
            assert!(found == expected, "cut at {cut}: {} of {} points", found.len(), expected.len());
        }
    }
}

/// Law: whatever byte of header, index or footer is corrupt, all kept points are right. If the byte is in the header,
/// the footer, or the type of a key, all points are kept. If it is in an entry, all but the block of that entry are
/// kept. If it is in the length or the block count of a key, all but the points of that key are kept. If it is in the
/// key itself, neighbouring keys may be lost too. If the changed key is still in order, the change cannot be detected, and
/// the points appear under the changed key.
#[test]
fn a_corrupt_byte_costs_only_its_entry_or_key() {
    for good in files() {
        let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
        let places = places(&good);
        let index = places[0].all.start..good.len() - FOOTER;
        for at in (0..HEADER_BYTES).chain(index.start..good.len()) {
            for flip in [0x01, 0x10, 0x55, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let what = format!("byte {at} ^ {flip:#x} of {}", good.len());
                let found = repaired(&bytes).map(|(_, points)| points).unwrap_or_default();
                let Some(n) = places.iter().position(|place| place.all.contains(&at)) else {
                    assert!(found == all, "{what}: {} of {} points", found.len(), all.len());
                    continue;
                };
                let place = &places[n];
                let entry = place.entries.iter().find(|(from, _)| (*from..from + ENTRY).contains(&at));
                if place.name.contains(&at) {
                    let beside = n.saturating_sub(1)..(n + 2).min(places.len());
                    let beside: Vec<&[u8]> = places[beside].iter().map(|place| &place.key[..]).collect();
                    assert!(holds(&found, &without(&all, |key, _| beside.contains(&key))), "{what}");
                    let mut changed = place.key.clone();
                    changed[at - place.name.start] ^= flip;
                    for ((key, time), value) in &found {
                        let is_new = *key == changed && !places.iter().any(|place| place.key == changed);
                        let of = if is_new { &place.key } else { key };
                        assert_eq!(all.get(&(of.clone(), *time)), Some(value), "{what}: {key:?}");
                    }
                    continue;
                }
                assert!(holds(&all, &found), "{what}: a wrong point");
                let is_type = at == place.name.end;
                let lost = |key: &[u8], time: i64| {
                    let in_entry =
                        entry.is_none_or(|(_, entry)| (entry.range.min..=entry.range.max).contains(&time));
                    !is_type && key == place.key && in_entry
                };
                assert!(holds(&found, &without(&all, lost)), "{what}: a right point is lost");
            }
        }
    }
}

/// A file with these keys, each with this many blocks of ten points.
fn file_of(keys: &[(&str, usize)]) -> Vec<u8> {
    let columns = |blocks: usize| {
        let points = |block: usize| (0..10).map(move |n| ((block * 10 + n) as i64, Value::Integer(n as i64)));
        (0..blocks).map(|block| column(FieldType::Integer, &points(block).collect::<Vec<_>>())).collect()
    };
    let keys: Vec<Keyed> = keys.iter().map(|&(key, blocks)| (key.into(), columns(blocks))).collect();
    write::<Tsm1>(Version::Influx, &keys)
}

/// Story: the offset and size of the first entry of a key were zeroed, and all ten blocks of the key were lost. The
/// same in another entry cost one block.
#[test]
fn corrupt_first_entries_cost_only_their_blocks() {
    let names = ["a,t=1#!~#v", "b,t=22#!~#v", "c#!~#v", "d#!~#v", "e#!~#value", "f#!~#v"];
    let good = file_of(&names.map(|name| (name, 10)));
    let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
    let places = places(&good);
    assert_eq!(all.len(), 60);
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let fills: [&mut dyn FnMut() -> u8; 4] = [&mut || 0, &mut || 0xff, &mut || 1, &mut random];
    for fill in fills {
        for place in &places {
            for (first, count) in [(0, 1), (0, 2), (0, 9), (1, 1), (9, 1)] {
                for whole in [false, true] {
                    let mut bytes = good.clone();
                    let corrupt = &place.entries[first..first + count];
                    for (at, _) in corrupt {
                        let from = if whole { *at } else { *at + 16 };
                        bytes[from..*at + ENTRY].fill_with(&mut *fill);
                    }
                    let lost = |key: &[u8], time: i64| {
                        key == place.key && corrupt.iter().any(|(_, entry)| entry.range.min == time)
                    };
                    let found = repaired(&bytes).map(|(_, points)| points).unwrap_or_default();
                    let what = format!("{count} from {first}: {} of {} points", found.len(), all.len());
                    assert!(found == without(&all, lost), "{what}");
                }
            }
        }
    }
}

/// Law: whatever length a key claims, no block is attributed to another key. Here the second key takes the place of
/// one entry. For one length the first key would take all entries of the second.
#[test]
fn a_corrupt_length_gives_no_block_to_another_key() {
    let block = places(&file_of(&[("a#!~#v", 1)]))[0].entries[0].1.size as usize;
    let second = format!("b{}#!~#v", "-".repeat(ENTRY - 5 - 6));
    assert_eq!(second.len() + 5, ENTRY);
    let good = file_of(&[("a#!~#v", 1), (&second, block - 1), ("c#!~#v", 2)]);
    let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
    let places = places(&good);
    for place in &places {
        for len in 0..=(good.len() - place.name.start) as u16 {
            let mut bytes = good.clone();
            bytes[place.all.start..place.name.start].copy_from_slice(&len.to_be_bytes());
            let found = repaired(&bytes).map(|(_, points)| points).unwrap_or_default();
            assert!(holds(&all, &found), "length {len} of {:?}: a wrong point", place.key);
            assert!(
                holds(&found, &without(&all, |key, _| key == place.key)),
                "length {len}: a right point is lost"
            );
        }
    }
}

/// Story: the first 4 KiB of a file were overwritten with zeros, and a repair gave up on the blocks after them.
#[test]
fn a_zeroed_beginning_costs_only_its_blocks() {
    for good in files() {
        let reader = Reader::new(good.clone().into()).expect("opens");
        let all = points_of(&reader);
        let places = places(&good);
        for zeroed in [HEADER_BYTES, 512, 4096] {
            let mut bytes = good.clone();
            let end = zeroed.min(bytes.len());
            bytes[..end].fill(0);
            let lost = |key: &[u8], time: i64| {
                let place = places.iter().find(|place| place.key == key).expect("a key");
                let is_whole = |(at, entry): &(usize, tsmith_tsm::IndexEntry)| {
                    entry.offset as usize >= end
                        && *at >= end
                        && place.all.start >= end
                        && (entry.range.min..=entry.range.max).contains(&time)
                };
                !place.entries.iter().any(is_whole)
            };
            let found = repaired(&bytes).map(|(_, points)| points).unwrap_or_default();
            assert!(found == without(&all, lost), "{zeroed} bytes of {}: {}", good.len(), found.len());
        }
    }
}

/// Story: a bit flip gave two index entries the same offset. The file opened, and one key had the values of another.
#[test]
fn a_file_with_two_entries_of_one_block_is_refused() {
    let good = files().swap_remove(0);
    let places = places(&good);
    let sizes = |(a, b): (usize, usize)| places[a].entries[0].1.size == places[b].entries[0].1.size;
    let pairs = (0..places.len()).flat_map(|a| (0..places.len()).map(move |b| (a, b)));
    let (a, b) = pairs.filter(|(a, b)| a != b).find(|&pair| sizes(pair)).expect("two blocks of one size");
    let mut bytes = good.clone();
    let at = places[a].entries[0].0 + 16;
    bytes[at..at + 8].copy_from_slice(&places[b].entries[0].1.offset.to_be_bytes());
    let error = Reader::new(bytes.clone().into()).expect_err("one block of two keys");
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    let all = points_of(&Reader::new(good.into()).expect("opens"));
    let (_, found) = repaired(&bytes).expect("kept");
    assert!(found == without(&all, |key, _| key == places[a].key));
}

/// Law: no input makes a rescue slow or panic. Here each position of the index looks like a key with many entries.
#[test]
fn hostile_bytes_take_bounded_work() {
    let mut bytes = files().swap_remove(0);
    let first = places(&bytes)[0].all.clone();
    let record = bytes[first].to_vec();
    bytes.truncate(bytes.len() - FOOTER);
    for _ in 0..2000 {
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5]);
    }
    let decoders = Decoders::standard();
    let _any = rescue(bytes.into(), &decoders);
    let _any = rescue(vec![0; 1 << 20].into(), &decoders);
    let _any = rescue([0_u8, 1].repeat(1 << 19).into(), &decoders);
}

/// A file with these keys, each with a block of 50 values.
fn file_of_50s(keys: &[String]) -> Vec<u8> {
    let times: Vec<i64> = (1..=50).collect();
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    for (n, key) in (0_u32..).zip(keys) {
        let values = (0..50).map(|i| f64::from(n * 50 + i) + 0.5).collect();
        let column = Column::from_parts(times.clone(), Values::Float(values)).expect("equal lengths");
        let mut block = Vec::new();
        Tsm1::default().encode(column.as_ref(), &mut block).expect("encodes");
        writer.write_block(key.as_bytes(), FieldType::Float, TimeRange::new(1, 50), &block).expect("writes");
    }
    writer.finish().expect("finishes").0
}

/// Story: a disk wrote a sector of the index to the place of a later one. A repair took the copy for the index and
/// dropped ten of twelve hosts, or six with other bytes in that place.
#[test]
fn a_copied_index_sector_is_not_the_index() {
    let keys: Vec<String> = (0..12).map(|n| format!("cpu,host=server{n:02}#!~#v")).collect();
    let good = file_of_50s(&keys);
    let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
    let places = places(&good);
    let index = places[0].all.start;
    let sectors = (0..good.len()).step_by(512).filter(|at| at + 512 > index);
    for (from, to) in sectors.clone().flat_map(|from| sectors.clone().map(move |to| (from, to))) {
        if from == to {
            continue;
        }
        let mut bytes = good.clone();
        let len = 512.min(good.len() - from.max(to));
        bytes.copy_within(from..from + len, to);
        // Only an overwritten block, or the block of an overwritten entry, is lost.
        let is_lost = |key: &[u8], _| {
            let place = places.iter().find(|place| place.key == key).expect("a key");
            let (_, entry) = place.entries[0];
            let block = entry.offset as usize..entry.offset as usize + entry.size as usize;
            [&place.all, &block].iter().any(|part| part.start < to + len && to < part.end)
        };
        let expected = without(&all, is_lost);
        let (_, points) = repaired(&bytes).expect("kept");
        assert!(holds(&all, &points), "{from} to {to}: a wrong point");
        assert!(holds(&points, &expected), "{from} to {to}: {} of {}", points.len(), expected.len());
    }
}

/// Story: one bit of a separator flipped, and every reader silently left out the key.
#[test]
fn a_key_without_a_field_is_reported_and_dropped() {
    let good = file_of_50s(&["m,h=a#!~#v".to_owned(), "m,h=b#!~#v".to_owned(), "m,h=c#!~#v".to_owned()]);
    let all = points_of(&Reader::new(good.clone().into()).expect("opens"));
    let place = &places(&good)[1];
    assert_eq!(Reader::new(good.clone().into()).expect("opens").keys_without_field().count(), 0);
    for bit in (0..4 * 8).map(|bit| 5 * 8 + bit) {
        let mut bytes = good.clone();
        bytes[place.name.start + bit / 8] ^= 1 << (bit % 8);
        let reader = Reader::new(bytes.clone().into()).expect("opens");
        let errors: Vec<_> = reader.keys_without_field().collect();
        assert_eq!(
            errors.iter().map(tsmith_tsm::Error::offset).collect::<Vec<_>>(),
            [Some(place.all.start as u64)]
        );
        let (salvage, points) = repaired(&bytes).expect("kept");
        assert_eq!((salvage.kept_keys, salvage.dropped_blocks()), (2, 1), "bit {bit}");
        assert_eq!(points, without(&all, |key, _| key == place.key), "bit {bit}");
    }
}
