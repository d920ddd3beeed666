//! Compares merges with a map of the expected points, and with a direct implementation of the specification.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tsmith_codecs::{Raw, Tsm1, Value, Values};

use super::*;
use crate::tombstone::for_each_live;

const SIZE: usize = 4;

/// A block of integers by time.
type Points = BTreeMap<i64, i64>;

/// A file with one key: blocks in order of their first times, and deleted ranges.
#[derive(Clone, Debug)]
struct Model {
    blocks: Vec<Points>,
    deleted: Vec<TimeRange>,
}

fn column(points: &Points) -> Column {
    let (times, values) = points.iter().map(|(time, value)| (*time, *value)).unzip();
    Column::from_parts(times, Values::Integer(values)).expect("equal lengths")
}

fn range_of(points: &Points) -> TimeRange {
    let first = *points.keys().next().expect("a point");
    TimeRange::new(first, *points.keys().next_back().expect("a point"))
}

fn file<E: BlockEncoder + Default>(version: Version, keys: &[(&[u8], &Model)]) -> Reader {
    let (mut bytes, mut index) = (vec![0x16, 0xd1, 0x16, 0xd1, version.byte()], Vec::new());
    // Built by hand, because the writer refuses blocks that overlap.
    for (key, model) in keys {
        index.extend((key.len() as u16).to_be_bytes());
        index.extend_from_slice(key);
        index.push(1);
        index.extend((model.blocks.len() as u16).to_be_bytes());
        for points in &model.blocks {
            let mut block = Vec::new();
            E::default().encode(column(points).as_ref(), &mut block).expect("encodes");
            let range = range_of(points);
            index.extend(range.min.to_be_bytes());
            index.extend(range.max.to_be_bytes());
            index.extend((bytes.len() as u64).to_be_bytes());
            index.extend((block.len() as u32 + 4).to_be_bytes());
            bytes.extend(crc32fast::hash(&block).to_be_bytes());
            bytes.extend(block);
        }
    }
    let offset = bytes.len() as u64;
    if version == Version::Tagged {
        let crc = crate::format::index_crc(&index, offset);
        index.extend(crc.to_be_bytes());
    }
    bytes.extend(index);
    bytes.extend(offset.to_be_bytes());
    Reader::new(bytes.into()).expect("opens")
}

fn deletions(key: &[u8], model: &Model) -> Deletions {
    let mut deletions = Deletions::new();
    model.deleted.iter().for_each(|&range| deletions.add(key, range));
    deletions
}

fn go_on(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Merges files of one key into one file and returns its blocks.
fn merge(models: &[Model], mode: MergeMode) -> Vec<Points> {
    let readers: Vec<_> = models.iter().map(|model| file::<Raw>(Version::Tagged, &[(b"k", model)])).collect();
    let deletions: Vec<_> = models.iter().map(|model| deletions(b"k", model)).collect();
    let inputs = readers.iter().zip(&deletions);
    let inputs = inputs.map(|(reader, deletions)| MergeInput { reader, deletions }).collect();
    let mut writer = Writer::new(Vec::new(), Version::Tagged);
    let filled = Merge::new(inputs, mode, SIZE, Raw, Decoders::standard())
        .fill(&mut writer, &mut go_on)
        .expect("merges");
    assert_eq!(filled, Filled::All);
    match writer.finish() {
        Ok((bytes, _)) => blocks(&Reader::new(bytes.into()).expect("opens"), b"k"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::NoValues));
            Vec::new()
        }
    }
}

fn blocks(reader: &Reader, key: &[u8]) -> Vec<Points> {
    let Some(key) = reader.find(key) else { return Vec::new() };
    let read = |entry| {
        let mut column = Column::new(FieldType::Integer);
        reader.read_block(key, entry, &mut Decoders::standard(), 1000, &mut column).expect("reads");
        points(&column)
    };
    key.entries().map(read).collect()
}

fn points(column: &Column) -> Points {
    let Values::Integer(values) = column.values() else { panic!("integers") };
    column.times().iter().copied().zip(values.iter().copied()).collect()
}

/// The expected points, in any blocks.
fn expected(models: &[Model]) -> Points {
    let mut all = Points::new();
    for model in models {
        let live = |time: i64| !model.deleted.iter().any(|range| range.contains(time));
        all.extend(model.blocks.iter().flatten().filter(|(time, _)| live(**time)));
    }
    all
}

/// Merges one key exactly as the specification of InfluxDB's merge says, without regard to speed.
mod specification {
    use super::*;

    struct Block {
        points: Points,
        file: usize,
        read: Option<TimeRange>,
    }

    impl Block {
        fn range(&self) -> TimeRange {
            range_of(&self.points)
        }
        fn is_read(&self) -> bool {
            self.read.is_some_and(|read| read.covers(self.range()))
        }
        fn is_partly_read(&self) -> bool {
            self.read.is_some_and(|read| read != self.range())
        }
    }

    pub(super) fn merge(models: &[Model], fast: bool) -> Vec<Points> {
        let mut blocks = Vec::new();
        for (file, model) in models.iter().enumerate() {
            let all = range_of(&model.blocks.iter().flatten().map(|(t, v)| (*t, *v)).collect());
            if deletions(b"k", model).covers(b"k", all) {
                continue;
            }
            blocks.extend(model.blocks.iter().map(|points| Block {
                points: points.clone(),
                file,
                read: None,
            }));
        }
        // Ranges that do not overlap the key are not its tombstones.
        let tombstones = |file: usize| {
            let model = &models[file];
            let all = range_of(&model.blocks.iter().flatten().map(|(t, v)| (*t, *v)).collect());
            model.deleted.iter().filter(move |range| range.min <= range.max && range.overlaps(all))
        };
        let (mut pending, mut out) = (Points::new(), Vec::new());
        while !blocks.is_empty() || !pending.is_empty() {
            order::sort(&mut blocks, Block::range);
            let dedup = !pending.is_empty()
                || blocks.iter().any(|b| b.is_partly_read() || tombstones(b.file).next().is_some())
                || blocks.windows(2).any(|pair| pair[1].range().overlaps(pair[0].range()));
            if dedup {
                while pending.len() < SIZE && !blocks.is_empty() {
                    while blocks.first().is_some_and(Block::is_read) {
                        blocks.remove(0);
                    }
                    let Some(first) = blocks.first() else { break };
                    let mut window = first.range();
                    for block in blocks.iter().filter(|b| !b.is_read()) {
                        let range = block.range();
                        if range.overlaps(window) {
                            window.min = window.min.min(range.min);
                            if range.max > window.min && range.max < window.max {
                                window.max = range.max;
                            }
                        }
                    }
                    for block in blocks.iter_mut().filter(|b| !b.is_read() && b.range().overlaps(window)) {
                        let mut part = block.points.clone();
                        part.retain(|&t, _| {
                            block.read.is_none_or(|read| !read.contains(t)) && window.contains(t)
                        });
                        if !part.is_empty() {
                            let span = range_of(&part);
                            block.read = Some(block.read.map_or(span, |read| {
                                TimeRange::new(read.min.min(span.min), read.max.max(span.max))
                            }));
                        }
                        part.retain(|&t, _| !tombstones(block.file).any(|range| range.contains(t)));
                        pending.extend(part);
                    }
                }
            } else {
                let mut i = 0;
                while i < blocks.len() && (fast || blocks[i].is_read() || blocks[i].points.len() >= SIZE) {
                    i += 1;
                }
                if i + 1 == blocks.len() {
                    i += 1;
                }
                out.extend(blocks.drain(..i).filter(|b| !b.is_read()).map(|b| b.points));
                while pending.len() < SIZE && !blocks.is_empty() {
                    let block = blocks.remove(0);
                    if !block.is_read() {
                        pending.extend(block.points);
                    }
                }
            }
            let cut: Points = pending.iter().take(SIZE).map(|(t, v)| (*t, *v)).collect();
            pending.retain(|t, _| !cut.contains_key(t));
            if !cut.is_empty() {
                out.push(cut);
            }
        }
        out
    }
}

fn any_block(span: i64) -> impl Strategy<Value = Points> {
    (0..span, prop::collection::btree_set(0_i64..12, 1..8), any::<i64>())
        .prop_map(|(from, times, seed)| times.into_iter().map(|t| (from + t, seed.wrapping_add(t))).collect())
}

/// Files of one key with their blocks in order. If `apart`, blocks do not overlap, as from a writer.
fn any_files(apart: bool) -> impl Strategy<Value = Vec<Model>> {
    let deleted =
        prop::collection::vec((0_i64..130, 0_i64..30).prop_map(|(t, n)| TimeRange::new(t, t + n)), 0..3);
    let deleted = prop_oneof![3 => Just(Vec::new()), 1 => deleted];
    let one =
        (prop::collection::vec(any_block(120), 1..9), deleted).prop_map(move |(mut blocks, deleted)| {
            blocks.sort_by_key(|points| range_of(points).min);
            if apart {
                let mut end = i64::MIN;
                blocks.retain(|points| {
                    let range = range_of(points);
                    let fits = range.min > end;
                    if fits {
                        end = range.max;
                    }
                    fits
                });
            }
            Model { blocks, deleted }
        });
    prop::collection::vec(one, 1..6)
}

fn ascend(blocks: &[Points]) -> bool {
    blocks.windows(2).all(|pair| range_of(&pair[0]).max < range_of(&pair[1]).min)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The output has the newest value of each time that is not deleted, in the blocks of the specification. The
    /// blocks of the specification do not count if they do not ascend or are wrong: if InfluxDB sorts more than
    /// twenty blocks, it can put an older block behind a newer one that overlaps it. The older value then wins.
    #[test]
    fn merged_files_match_the_specification(models in any_files(true)) {
        for mode in [MergeMode::Full, MergeMode::Fast] {
            let merged = merge(&models, mode);
            let all: Points = merged.iter().flatten().map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(&all, &expected(&models));
            prop_assert!(ascend(&merged));
            let specified = specification::merge(&models, mode == MergeMode::Fast);
            let values: Points = specified.iter().flatten().map(|(t, v)| (*t, *v)).collect();
            if ascend(&specified) && values == all {
                prop_assert_eq!(merged, specified, "{:?}", mode);
            }
        }
    }

    /// The same for files whose own blocks overlap, which InfluxDB may have written.
    #[test]
    fn files_with_overlapping_blocks_merge(models in any_files(false)) {
        for mode in [MergeMode::Full, MergeMode::Fast] {
            let merged = merge(&models, mode);
            let all: Points = merged.iter().flatten().map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(&all, &expected(&models));
            prop_assert!(ascend(&merged));
        }
    }

    #[test]
    fn live_stretches_are_what_is_not_deleted(
        deleted in prop::collection::vec((0_i64..60, 0_i64..9), 0..6),
        min in 0_i64..60,
        len in 0_i64..40,
    ) {
        let mut all = Deletions::new();
        for &(t, n) in &deleted {
            all.add(b"k", TimeRange::new(t, t + n));
        }
        let mut live = Vec::new();
        for_each_live(all.ranges(b"k"), TimeRange::new(min, min + len), |r| live.extend(r.min..=r.max));
        let is_deleted = |t: &i64| deleted.iter().any(|&(from, n)| (from..=from + n).contains(t));
        prop_assert_eq!(live, (min..=min + len).filter(|t| !is_deleted(t)).collect::<Vec<_>>());
    }
}

fn model(blocks: &[&[i64]]) -> Model {
    let blocks = blocks.iter().map(|times| times.iter().map(|&t| (t, t * 10)).collect()).collect();
    Model { blocks, deleted: Vec::new() }
}

/// Merges files of several keys into as many files as needed, each with this many blocks.
fn merge_keys(readers: &[Reader], blocks_a_file: usize) -> Vec<Reader> {
    let none = Deletions::new();
    let inputs = readers.iter().map(|reader| MergeInput { reader, deletions: &none }).collect();
    let mut merge = Merge::new(inputs, MergeMode::Full, SIZE, Tsm1::default(), Decoders::standard());
    let mut files = Vec::new();
    loop {
        let (mut writer, mut left) = (Writer::new(Vec::new(), Version::Influx), blocks_a_file);
        let filled = merge.fill(&mut writer, &mut |bytes| {
            left -= usize::from(bytes > 0);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match writer.finish() {
            Ok((bytes, _)) => files.push(Reader::new(bytes.into()).expect("opens")),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NoValues)),
        }
        if filled.expect("merges") == Filled::All {
            return files;
        }
    }
}

/// Story: each window was searched among all blocks that a wide block overlaps. A merge of this size took a minute,
/// and one with 60,000 blocks did not finish.
#[test]
fn a_block_that_overlaps_all_others_merges() {
    const BLOCKS: i64 = 20_000;
    let wide =
        Model { blocks: vec![(0..=100).map(|n| (n * BLOCKS / 100, -1)).collect()], deleted: Vec::new() };
    let blocks = (0..BLOCKS).map(|time| Points::from([(time, time)])).collect();
    let models = [wide, Model { blocks, deleted: vec![TimeRange::new(7, 9)] }];
    for mode in [MergeMode::Full, MergeMode::Fast] {
        let merged = merge(&models, mode);
        assert!(merged.iter().rev().skip(1).all(|block| block.len() == SIZE));
        assert_eq!(merged.into_iter().flatten().collect::<Points>(), expected(&models));
    }
}

/// A merge continues in the next file after the last one is full, even within a key.
#[test]
fn a_merge_continues_in_the_next_file() {
    let (a, b) = (model(&[&[1, 2, 3, 4], &[5, 6]]), model(&[&[3, 7, 8, 9, 10, 11]]));
    let readers = [
        file::<Tsm1>(Version::Influx, &[(b"a", &a), (b"c", &a)]),
        file::<Tsm1>(Version::Influx, &[(b"a", &b), (b"b", &b)]),
    ];
    let whole = merge_keys(&readers, usize::MAX);
    assert_eq!(whole.len(), 1);
    let all = |files: &[Reader], key| files.iter().flat_map(|file| blocks(file, key)).collect::<Vec<_>>();
    for blocks_a_file in 1..8 {
        let files = merge_keys(&readers, blocks_a_file);
        for key in [b"a", b"b", b"c"] {
            assert_eq!(all(&files, key), all(&whole, key), "{blocks_a_file}");
        }
    }
    assert_eq!(all(&whole, b"c").len(), 2, "the second block is alone and is copied");
    assert_eq!(all(&whole, b"a").iter().map(Points::len).collect::<Vec<_>>(), [4, 4, 3]);
}

/// Three files have any of four keys. Each key comes once, in order, with the points of all files that have it. Files
/// are compared only with their neighbours in the queue, and only when they are inserted.
#[test]
fn every_key_has_the_points_of_all_files() {
    let names: [&[u8]; 4] = [b"a", b"b", b"ba", b"c"];
    let models = [0, 1, 2].map(|age| Model {
        blocks: vec![Points::from([(age, age)]), Points::from([(100, age)])],
        deleted: Vec::new(),
    });
    let has = |mask: usize, age: usize, name: usize| mask >> (age * names.len() + name) & 1 == 1;
    for mask in 0..1 << (3 * names.len()) {
        let mut readers = Vec::new();
        for (age, model) in models.iter().enumerate() {
            let keys: Vec<_> = (0..4).filter(|&n| has(mask, age, n)).map(|n| (names[n], model)).collect();
            if !keys.is_empty() {
                readers.push(file::<Tsm1>(Version::Influx, &keys));
            }
        }
        let merged = merge_keys(&readers, usize::MAX);
        let found: Vec<_> = merged
            .iter()
            .flat_map(Reader::keys)
            .map(|key| (key.key(), blocks(&merged[0], key.key())))
            .collect();
        let expected: Vec<_> = (0..4)
            .filter_map(|n| {
                let ages = (0..3).filter(|&age| has(mask, age, n));
                let points: Points =
                    ages.flat_map(|age| models[age].blocks.iter().flatten().map(|(t, v)| (*t, *v))).collect();
                (!points.is_empty()).then_some((names[n], vec![points]))
            })
            .collect();
        assert_eq!(found, expected, "{mask:012b}");
    }
}

/// Blocks of encoders that InfluxDB does not know are encoded again for a file that InfluxDB reads.
#[test]
fn files_for_influxdb_have_only_its_blocks() {
    let a = model(&[&[1, 2, 3, 4], &[5, 6]]);
    let files = merge_keys(&[file::<Raw>(Version::Tagged, &[(b"a", &a)])], usize::MAX);
    assert_eq!((files[0].version(), blocks(&files[0], b"a")), (Version::Influx, a.blocks));
}

/// A corrupt block is neither copied nor left out.
#[test]
fn a_corrupt_block_ends_the_merge() {
    let sound = file::<Tsm1>(Version::Influx, &[(b"a", &model(&[&[1, 2]]))]);
    let none = Deletions::new();
    for (times, mode) in
        [(&[1_i64, 2, 3, 4][..], MergeMode::Full), (&[7, 8], MergeMode::Fast), (&[2], MergeMode::Fast)]
    {
        let mut points = Points::new();
        points.extend(times.iter().map(|&t| (t, t)));
        let mut bytes = Vec::new();
        Tsm1::default().encode(column(&points).as_ref(), &mut bytes).expect("encodes");
        let mut writer = Writer::new(Vec::new(), Version::Influx);
        writer.write_block(b"b", FieldType::Integer, range_of(&points), &bytes).expect("writes");
        let mut bytes = writer.finish().expect("finishes").0;
        bytes[12] ^= 1;
        let corrupt = Reader::new(bytes.into()).expect("the index is valid");
        let inputs = [&sound, &corrupt].map(|reader| MergeInput { reader, deletions: &none });
        let mut writer = Writer::new(Vec::new(), Version::Influx);
        let error = Merge::new(inputs.to_vec(), mode, SIZE, Tsm1::default(), Decoders::standard())
            .fill(&mut writer, &mut go_on);
        let error = error.expect_err("corrupt");
        assert_eq!(
            (error.input, error.error.offset(), error.error.key()),
            (Some(1), Some(5), Some(&b"b"[..]))
        );
        assert!(matches!(error.error.kind(), ErrorKind::Checksum { .. }), "{error}");
    }
}

#[test]
fn one_key_has_one_type() {
    let a = file::<Tsm1>(Version::Influx, &[(b"a", &model(&[&[1, 2]]))]);
    let mut floats = Column::new(FieldType::Float);
    floats.push(3, Value::Float(0.5)).expect("one type");
    let mut block = Vec::new();
    Tsm1::default().encode(floats.as_ref(), &mut block).expect("encodes");
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    writer.write_block(b"a", FieldType::Float, TimeRange::new(3, 3), &block).expect("writes");
    let b = Reader::new(writer.finish().expect("finishes").0.into()).expect("opens");
    let none = Deletions::new();
    let inputs = [&a, &b].map(|reader| MergeInput { reader, deletions: &none });
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    let error = Merge::new(inputs.to_vec(), MergeMode::Fast, SIZE, Tsm1::default(), Decoders::standard())
        .fill(&mut writer, &mut go_on);
    let error = error.expect_err("two types");
    assert!(matches!(error.error.kind(), ErrorKind::TypeChange { .. }), "{error}");
    assert_eq!(error.input, Some(1));
}
