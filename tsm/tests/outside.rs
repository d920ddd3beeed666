//! Files of an encoder from another crate. A table with the encoder writes, reads, merges and salvages them. A table
//! without it does not call them corrupt.

use std::ops::ControlFlow;

use tsmith_codecs::testing::Scrambled;
use tsmith_codecs::{BLOCK_VALUES_MAX, BlockEncoder, Column, Decoders, Encoders, FieldType, Values};
use tsmith_tsm::{
    Bytes, Deletions, ErrorKind, Filled, Merge, MergeInput, MergeMode, Reader, Salvage, TimeRange, Version,
    Writer,
};

const KEY: &[u8] = b"cpu,host=a#!~#usage";
const POINTS_PER_BLOCK: usize = 4;

fn with_outside() -> Decoders {
    Encoders::standard().with::<Scrambled>("scrambled", "raw blocks backwards").decoders()
}

/// A file with one key and one block per list of times. The values are the times.
fn file(blocks: &[&[i64]]) -> Vec<u8> {
    let mut encoder = Scrambled::default();
    let mut writer = Writer::new(Vec::new(), Version::of(&encoder));
    for times in blocks {
        let column =
            Column::from_parts(times.to_vec(), Values::Integer(times.to_vec())).expect("equal lengths");
        let (mut block, range) = (Vec::new(), TimeRange::new(times[0], times[times.len() - 1]));
        encoder.encode(column.as_ref(), &mut block).expect("encodes");
        writer.write_block(KEY, FieldType::Integer, range, &block).expect("writes");
    }
    writer.finish().expect("finishes").0
}

fn open(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes)).expect("opens")
}

/// The times of each block.
fn times(bytes: &[u8], decoders: &mut Decoders) -> tsmith_tsm::Result<Vec<Vec<i64>>> {
    let reader = open(bytes);
    let key = reader.find(KEY).expect("is there");
    let mut column = Column::new(FieldType::Integer);
    let read = |entry| {
        reader.read_block(key, entry, decoders, BLOCK_VALUES_MAX, &mut column)?;
        Ok(column.times().to_vec())
    };
    key.entries().map(read).collect()
}

fn merge(files: &[Vec<u8>], decoders: Decoders) -> Result<Vec<u8>, tsmith_tsm::MergeError> {
    let readers: Vec<Reader> = files.iter().map(|bytes| open(bytes)).collect();
    let deletions = Deletions::new();
    let inputs = readers.iter().map(|reader| MergeInput { reader, deletions: &deletions }).collect();
    let mut writer = Writer::new(Vec::new(), Version::Tagged);
    let mut merge = Merge::new(inputs, MergeMode::Full, POINTS_PER_BLOCK, Scrambled::default(), decoders);
    let filled = merge.fill(&mut writer, &mut |_| ControlFlow::Continue(()))?;
    assert_eq!(filled, Filled::All);
    Ok(writer.finish().expect("finishes").0)
}

fn is_unknown(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnknownEncoder { tag: 0xc5 })
}

#[test]
fn a_table_with_the_encoder_reads_the_file() {
    let bytes = file(&[&[1, 2], &[5]]);
    assert_eq!(times(&bytes, &mut with_outside()).expect("reads"), [vec![1, 2], vec![5]]);
    let error = times(&bytes, &mut Decoders::standard()).expect_err("lacks it");
    assert!(is_unknown(error.kind()), "{error:?}");
}

#[test]
fn its_files_are_merged() {
    let files = [file(&[&[1, 4]]), file(&[&[2, 3], &[7, 8]])];
    let merged = merge(&files, with_outside()).expect("merges");
    assert_eq!(times(&merged, &mut with_outside()).expect("reads"), [vec![1, 2, 3, 4], vec![7, 8]]);
    let failed = merge(&files, Decoders::standard()).expect_err("lacks it");
    assert!(is_unknown(failed.error.kind()), "{failed}");
}

#[test]
fn intact_blocks_of_the_file_are_salvaged() {
    // Times that do not ascend are sorted, so the block is encoded again.
    let bytes = {
        let mut bytes = file(&[&[1, 2], &[5, 9, 7, 10], &[12]]);
        let first = open(&bytes).find(KEY).and_then(|key| key.entry(0)).expect("a block").offset as usize;
        bytes[first + 4] ^= 0xff;
        bytes
    };
    let (reader, salvage) = Salvage::open(Bytes::copy_from_slice(&bytes), &with_outside()).expect("opens");
    assert!(salvage.unknown.is_none());
    assert_eq!((salvage.kept_values, salvage.dropped_blocks()), (5, 1));
    let mut writer = Writer::new(Vec::new(), reader.version());
    salvage.write(&reader, &with_outside(), &mut writer).expect("writes");
    let kept = writer.finish().expect("finishes").0;
    assert_eq!(times(&kept, &mut with_outside()).expect("reads"), [vec![5, 7, 9, 10], vec![12]]);
    // Without the encoder, no block counts as corrupt.
    let (_, salvage) = Salvage::open(Bytes::from(kept), &Decoders::standard()).expect("opens");
    let unknown = salvage.unknown.expect("unknown");
    assert!(is_unknown(unknown.kind()), "{unknown:?}");
}
