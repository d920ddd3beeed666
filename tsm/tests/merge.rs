//! Repeats compactions of InfluxDB and compares the files byte by byte.

mod support;

use std::ops::ControlFlow;

use support::{files_of, generations, vector};
use tsmith_tsm::codecs::{Tsm1, Value};
use tsmith_tsm::{
    BlockEncoder, Bytes, Column, Decoders, Deletions, FieldType, Filled, Merge, MergeInput, MergeMode,
    POINTS_PER_BLOCK, Reader, STRING_BYTES_PER_BLOCK, TimeRange, Version, Writer,
};

fn merged(directory: &str, mode: MergeMode) -> Vec<u8> {
    let files = generations(&format!("tsm/{directory}"));
    let inputs = files.iter().map(|(reader, deletions)| MergeInput { reader, deletions }).collect();
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    let mut merge = Merge::new(inputs, mode, POINTS_PER_BLOCK, Tsm1::default(), Decoders::standard());
    let filled = merge.fill(&mut writer, &mut |_| ControlFlow::Continue(())).expect("merges");
    assert_eq!(filled, Filled::All);
    writer.finish().expect("finishes").0
}

#[test]
fn compactions_equal_those_of_influxdb() {
    for directory in ["overlap", "overlap-tombstoned"] {
        for (mode, name) in [(MergeMode::Full, "full"), (MergeMode::Fast, "fast")] {
            let written = files_of(&format!("tsm/{directory}-compacted-{name}"));
            let [written] = &written[..] else { panic!("one file, found {written:?}") };
            assert!(merged(directory, mode) == vector(written), "{directory}, {name}");
        }
    }
}

/// Story: a thousand strings of 400 kB were joined into one block, so reading or merging it needed gigabytes of
/// memory.
#[test]
fn wide_strings_are_joined_up_to_the_byte_limit() {
    let wide = |from: i64, count: i64| {
        let mut column = Column::new(FieldType::String);
        for time in from..from + count {
            column.push(time, Value::String(&vec![b'a' + (time % 26) as u8; 3 << 20])).expect("one type");
        }
        column
    };
    let file = |column: &Column| {
        let (mut block, mut writer) = (Vec::new(), Writer::new(Vec::new(), Version::Influx));
        Tsm1::default().encode(column.as_ref(), &mut block).expect("encodes");
        let range = TimeRange::new(column.times()[0], *column.times().last().expect("a point"));
        writer.write_block(b"log#!~#text", FieldType::String, range, &block).expect("writes");
        Reader::new(Bytes::from(writer.finish().expect("finishes").0)).expect("opens")
    };
    // First two blocks that are not full and do not overlap, then two that overlap.
    let files = [wide(0, 2), wide(2, 2), wide(4, 4), wide(6, 6), wide(11, 2)].map(|column| file(&column));
    let deletions = Deletions::new();
    let merge = |readers: &[Reader]| {
        let inputs = readers.iter().map(|reader| MergeInput { reader, deletions: &deletions }).collect();
        let mut writer = Writer::new(Vec::new(), Version::Influx);
        let mut merge =
            Merge::new(inputs, MergeMode::Full, POINTS_PER_BLOCK, Tsm1::default(), Decoders::standard());
        merge.fill(&mut writer, &mut |_| ControlFlow::Continue(())).expect("merges");
        writer.finish().expect("finishes").0
    };
    let merged = merge(&files);
    let reader = Reader::new(Bytes::from(merged.clone())).expect("opens");
    let key = reader.get(0).expect("a key");
    let (mut all, mut column, mut counts) =
        (Column::new(FieldType::String), Column::new(FieldType::String), Vec::new());
    for entry in key.entries() {
        reader.read_block(key, entry, &mut Tsm1::default(), 1000, &mut column).expect("reads");
        assert!(column.as_ref().string_bytes() < STRING_BYTES_PER_BLOCK + (3 << 20));
        counts.push(column.len());
        all.extend(column.as_ref()).expect("one type");
    }
    assert_eq!(counts, [6, 6, 1]);
    assert!(all == wide(0, 13));
    assert!(merge(&[reader]) == merged, "a second merge changes nothing");
}
