//! Compares cursors with InfluxDB's cursor, and with a map of the newest values.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{expected, expected_column, generations, overlapping, write};
use tsmith_tsm::codecs::{Raw, Tsm1, Values};
use tsmith_tsm::{
    AsReader, BlockDecoder, Bytes, Column, Cursor, Deletions, Direction, FieldType, Reader, TimeRange,
    Version,
};

const DIRECTIONS: [Direction; 2] = [Direction::Ascending, Direction::Descending];

/// All remaining points of the cursor. Checks that batches are in order and not empty.
fn rest<F: AsReader, D: BlockDecoder>(cursor: &mut Cursor<F>, decoder: &mut D) -> Column {
    let (mut all, mut batch) = (Column::new(FieldType::Float), Column::new(FieldType::Boolean));
    while cursor.next(decoder, &mut batch).expect("reads") {
        assert!(!batch.is_empty());
        all.extend(batch.as_ref()).expect("one type");
    }
    assert!(batch.is_empty());
    all
}

/// InfluxDB's files with blocks that overlap, with and without tombstones: the points that InfluxDB's cursor
/// returned, and the same in reverse.
#[test]
fn merged_files_read_as_by_influxdb() {
    for directory in ["overlap", "overlap-tombstoned"] {
        let files = generations(&format!("tsm/{directory}"));
        let lines = expected(&format!("tsm-{directory}-merged"));
        assert!(files.len() > 1 && !lines.is_empty(), "{directory}");
        for line in &lines {
            let key = line["key"].as_str().expect("a key").as_bytes();
            assert_eq!(line["descending_is_reverse"].as_bool(), Some(true));
            let mut values = expected_column(line);
            for direction in DIRECTIONS {
                let mut cursor = Cursor::new(TimeRange::ALL, direction);
                for (reader, deletions) in &files {
                    cursor.add_file(reader, key, deletions.ranges(key)).expect("one type");
                }
                let read = rest(&mut cursor, &mut Tsm1::default());
                assert!(read == values || read.is_empty() && values.is_empty(), "{directory}: {line:.200}");
                values.reverse();
            }
        }
    }
}

type Points = BTreeMap<i64, i64>;

fn column(points: &Points) -> Column {
    let (times, values) = points.iter().map(|(time, value)| (*time, *value)).unzip();
    Column::from_parts(times, Values::Integer(values)).expect("equal lengths")
}

fn points(column: &Column) -> Vec<(i64, i64)> {
    let Values::Integer(values) = column.values() else { return Vec::new() };
    column.times().iter().copied().zip(values.iter().copied()).collect()
}

#[derive(Clone, Debug)]
struct Model {
    files: Vec<(Vec<Points>, Vec<TimeRange>)>,
    memory: Points,
}

impl Model {
    fn expected(&self, range: TimeRange, direction: Direction) -> Vec<(i64, i64)> {
        let mut all = Points::new();
        for (blocks, deleted) in &self.files {
            let live = |time: i64| !deleted.iter().any(|range| range.contains(time));
            all.extend(blocks.iter().flatten().filter(|(time, _)| live(**time)));
        }
        all.extend(&self.memory);
        let inside = all.into_iter().filter(|(time, _)| range.contains(*time));
        match direction {
            Direction::Ascending => inside.collect(),
            Direction::Descending => inside.rev().collect(),
        }
    }

    fn readers(&self) -> Vec<Reader> {
        let files = self.files.iter().map(|(blocks, _)| {
            let columns: Vec<_> = blocks.iter().map(column).collect();
            overlapping::<Tsm1>(b"k", &columns)
        });
        files.map(|file| Reader::new(Bytes::from(file)).expect("opens")).collect()
    }
}

fn any_block() -> impl Strategy<Value = Points> {
    (0_i64..120, prop::collection::btree_set(0_i64..20, 1..9), any::<i64>())
        .prop_map(|(from, times, seed)| times.into_iter().map(|t| (from + t, seed.wrapping_add(t))).collect())
}

fn any_model() -> impl Strategy<Value = Model> {
    let deleted =
        prop::collection::vec((0_i64..140, 0_i64..30).prop_map(|(t, n)| TimeRange::new(t, t + n)), 0..3);
    let file = (
        prop::collection::vec(any_block(), 1..9),
        prop_oneof![2 => Just(Vec::new()), 1 => deleted],
        any::<bool>(),
    );
    let file = file.prop_map(|(mut blocks, deleted, apart)| {
        blocks.sort_by_key(|points| *points.keys().next().expect("a point"));
        let mut end = i64::MIN;
        blocks.retain(|points| {
            let fits = !apart || *points.keys().next().expect("a point") > end;
            if fits {
                end = *points.keys().next_back().expect("a point");
            }
            fits
        });
        (blocks, deleted)
    });
    let memory = prop::collection::btree_map(0_i64..140, any::<i64>(), 0..40);
    (prop::collection::vec(file, 0..5), prop_oneof![Just(Points::new()), memory])
        .prop_map(|(files, memory)| Model { files, memory })
}

fn merged_deletions(deleted: &[TimeRange]) -> Deletions {
    let mut deletions = Deletions::new();
    for &range in deleted {
        deletions.add(b"k", range);
    }
    deletions
}

fn cursor<'r>(
    model: &Model,
    readers: &'r [Reader],
    range: TimeRange,
    direction: Direction,
) -> Cursor<&'r Reader> {
    let mut cursor = Cursor::new(range, direction);
    for (reader, (_, deleted)) in readers.iter().zip(&model.files) {
        cursor.add_file(reader, b"k", merged_deletions(deleted).ranges(b"k")).expect("one type");
    }
    cursor.add_points(&mut column(&model.memory)).expect("one type");
    cursor
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_cursor_returns_the_newest_points(
        model in any_model(),
        (from, len) in (-5_i64..150, 0_i64..160),
        all in any::<bool>(),
        seeks in prop::collection::vec(-5_i64..150, 0..3),
    ) {
        let readers = model.readers();
        let range = if all { TimeRange::ALL } else { TimeRange::new(from, from + len) };
        for direction in DIRECTIONS {
            let mut cursor = cursor(&model, &readers, range, direction);
            let expected = model.expected(range, direction);
            prop_assert_eq!(&points(&rest(&mut cursor, &mut Tsm1::default())), &expected);
            for &time in &seeks {
                cursor.seek(time);
                let mut first = Column::new(FieldType::Integer);
                let some = cursor.next(&mut Tsm1::default(), &mut first).expect("reads");
                let reached = |t: i64| match direction {
                    Direction::Ascending => t >= time,
                    Direction::Descending => t <= time,
                };
                let left: Vec<_> = expected.iter().copied().filter(|(t, _)| reached(*t)).collect();
                prop_assert_eq!(some, !left.is_empty());
                let mut read = points(&first);
                read.extend(points(&rest(&mut cursor, &mut Tsm1::default())));
                prop_assert_eq!(read, left);
            }
        }
    }

    /// Law: a corrupt block is reported once. All points outside corrupt blocks are returned, and no point that was
    /// never written.
    #[test]
    fn a_cursor_continues_after_corruption(model in any_model(), at in any::<prop::sample::Index>()) {
        prop_assume!(!model.files.is_empty());
        let number = at.index(model.files.len());
        let mut readers = model.readers();
        let bytes = overlapping::<Tsm1>(b"k", &model.files[number].0.iter().map(column).collect::<Vec<_>>());
        let mut corrupt = bytes;
        let place = readers[number].get(0).and_then(|key| key.entry(0)).expect("a block").offset as usize + 5;
        corrupt[place] ^= 4;
        readers[number] = Reader::new(Bytes::from(corrupt)).expect("the index is valid");
        for direction in DIRECTIONS {
            let mut cursor = cursor(&model, &readers, TimeRange::ALL, direction);
            let (mut read, mut batch, mut errors) = (Vec::new(), Column::new(FieldType::Integer), 0);
            loop {
                match cursor.next(&mut Tsm1::default(), &mut batch) {
                    Ok(true) => read.extend(points(&batch)),
                    Ok(false) => break,
                    Err(error) => {
                        errors += 1;
                        prop_assert_eq!((error.file, error.error.offset()), (number, Some(5)));
                        prop_assert!(batch.is_empty());
                    }
                }
            }
            let mut without = model.clone();
            let lost = without.files[number].0.remove(0);
            prop_assert!(errors <= 1);
            let lost_all_deleted = lost.keys().all(|t| model.files[number].1.iter().any(|range| range.contains(*t)));
            prop_assert!(errors == 1 || lost_all_deleted);
            prop_assert_eq!(read, without.expected(TimeRange::ALL, direction));
        }
    }
}

/// Blocks are decoded only when the cursor reaches them, so corruption further on is not detected yet.
#[test]
fn only_reached_blocks_are_decoded() {
    let blocks: Vec<Column> =
        (0..10).map(|i| column(&(i * 10..i * 10 + 10).map(|t| (t, t)).collect())).collect();
    let mut file = write::<Raw>(Version::of(&Raw), &[(b"k".to_vec(), blocks)]);
    let reader = Reader::new(Bytes::from(file.clone())).expect("opens");
    for entry in reader.get(0).expect("the key").entries().skip(1).take(8) {
        file[entry.offset as usize + 9] ^= 1;
    }
    let reader = Reader::new(Bytes::from(file)).expect("the index is valid");
    for (direction, first) in [(Direction::Ascending, 0), (Direction::Descending, 99)] {
        let mut cursor = Cursor::new(TimeRange::ALL, direction);
        cursor.add_file(&reader, b"k", &[]).expect("one type");
        let mut batch = Column::new(FieldType::Integer);
        assert!(cursor.next(&mut Raw, &mut batch).expect("the first block is intact"));
        assert_eq!((batch.len(), batch.times()[0]), (10, first));
        cursor.next(&mut Raw, &mut batch).expect_err("the second block is corrupt");
    }
}

/// Points of the cache come in batches, whatever their number.
#[test]
fn cached_points_come_in_batches() {
    let memory: Points = (0..2500).map(|t| (t, -t)).collect();
    for direction in DIRECTIONS {
        let mut cursor: Cursor<&Reader> = Cursor::new(TimeRange::ALL, direction);
        cursor.add_points(&mut column(&memory)).expect("the first");
        let mut batch = Column::new(FieldType::Integer);
        let mut lens = Vec::new();
        let mut all = Vec::new();
        while cursor.next(&mut Raw, &mut batch).expect("memory") {
            lens.push(batch.len());
            all.extend(points(&batch));
        }
        assert_eq!(lens, [1000, 1000, 500]);
        let model = Model { files: Vec::new(), memory: memory.clone() };
        assert_eq!(all, model.expected(TimeRange::ALL, direction));
    }
}

#[test]
fn a_key_of_two_types_is_refused() {
    let floats = support::column(FieldType::Float, &[(1, tsmith_tsm::codecs::Value::Float(0.5))]);
    let file =
        |column: Column| Reader::new(Bytes::from(overlapping::<Tsm1>(b"k", &[column]))).expect("opens");
    let (a, b) = (file(floats), file(column(&Points::from([(2, 2)]))));
    let mut cursor = Cursor::new(TimeRange::ALL, Direction::Ascending);
    cursor.add_file(&a, b"k", &[]).expect("the first");
    let error = cursor.add_file(&b, b"k", &[]).expect_err("another type");
    assert_eq!((error.offset(), error.key()), (Some(5), Some(&b"k"[..])));
    cursor.add_points(&mut column(&Points::from([(3, 3)]))).expect_err("another type");
    assert_eq!(rest(&mut cursor, &mut Tsm1::default()).times(), [1]);
}
