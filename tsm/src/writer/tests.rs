//! What a writer refuses, how full a file gets, and what a failed write does.

use super::*;
use crate::error::Remedy;

const FLOAT: &[u8] = &[0, 1, 2];

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange::new(min, max)
}

fn writer() -> Writer<Vec<u8>> {
    Writer::new(Vec::new(), Version::Influx)
}

fn kind<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind().clone()
}

#[test]
fn a_file_without_blocks_stays_empty() {
    let mut out = Vec::new();
    assert!(matches!(kind(Writer::new(&mut out, Version::Influx).finish()), ErrorKind::NoValues));
    assert!(out.is_empty());
}

#[test]
fn refused_blocks_leave_no_trace() {
    let mut w = writer();
    let refused = |w: &mut Writer<Vec<u8>>, key: &[u8], t, r, block: &[u8]| {
        let before = (w.out.len(), w.index.len(), w.blocks);
        let kind = kind(w.write_block(key, t, r, block));
        assert_eq!((w.out.len(), w.index.len(), w.blocks), before);
        kind
    };
    let ok = range(5, 9);
    assert!(matches!(refused(&mut w, b"", FieldType::Float, ok, FLOAT), ErrorKind::KeyLength { bytes: 0 }));
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    assert!(matches!(refused(&mut w, &long, FieldType::Float, ok, FLOAT), ErrorKind::KeyLength { .. }));
    assert!(matches!(refused(&mut w, b"k", FieldType::Float, ok, b""), ErrorKind::BlockLength { bytes: 0 }));
    assert!(matches!(
        refused(&mut w, b"k", FieldType::Float, range(2, 1), FLOAT),
        ErrorKind::Inverted { .. }
    ));
    let zstd_block = [0x12, 0, 1];
    assert!(matches!(
        refused(&mut w, b"k", FieldType::Float, ok, &zstd_block),
        ErrorKind::NotInflux { expected: 0, found: 0x12, .. }
    ));

    w.write_block(b"k", FieldType::Float, ok, FLOAT).expect("writes");
    assert!(matches!(refused(&mut w, b"j", FieldType::Float, ok, FLOAT), ErrorKind::KeyOrder { .. }));
    let integer = [1, 0];
    assert!(matches!(
        refused(&mut w, b"k", FieldType::Integer, range(10, 11), &integer),
        ErrorKind::TypeChange { expected: FieldType::Float, found: FieldType::Integer }
    ));
    assert!(matches!(
        refused(&mut w, b"k", FieldType::Float, range(9, 11), FLOAT),
        ErrorKind::BlockOrder { min: 9, previous_max: 9 }
    ));
    w.write_block(b"k", FieldType::Float, range(10, 10), FLOAT).expect("writes after refusals");
    w.write_block(b"ka", FieldType::Integer, range(1, 1), &integer).expect("writes");
    let (_, summary) = w.finish().expect("finishes");
    assert_eq!((summary.keys, summary.blocks, summary.range), (2, 3, range(1, 10)));
}

/// Accepts bytes up to a limit and then fails.
struct Pad(Vec<u8>, usize);

impl Scratch for Pad {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > self.1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_back(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        bytes.copy_from_slice(&self.0[from..from + bytes.len()]);
        Ok(())
    }
}

fn write_many<W: io::Write>(mut w: Writer<W>) -> Result<(W, Summary)> {
    for i in 0..300_u32 {
        let key = format!("key {i:05}");
        for time in 0..i64::from(i % 7 + 1) {
            w.write_block(key.as_bytes(), FieldType::Float, range(time, time), FLOAT)?;
        }
    }
    w.finish()
}

#[test]
fn a_scratch_file_does_not_change_the_index() {
    for version in [Version::Influx, Version::Tagged] {
        let (file, summary) = write_many(Writer::new(Vec::new(), version)).expect("writes");
        for memory_bytes in [0, 1, 1000, 1 << 20] {
            let w = Writer::new(Vec::new(), version);
            let w = w.spill_index_to(Box::new(Pad(Vec::new(), usize::MAX)), memory_bytes);
            assert!(write_many(w).expect("writes") == (file.clone(), summary), "{memory_bytes}");
        }
        let on_disk: Box<dyn Scratch> = Box::new(tempfile::tempfile().expect("a file"));
        let w = Writer::new(Vec::new(), version).spill_index_to(on_disk, 500);
        assert!(write_many(w).expect("writes") == (file, summary));
    }
}

#[test]
fn a_full_scratch_file_fails_the_file() {
    let w = writer().spill_index_to(Box::new(Pad(Vec::new(), 2000)), 500);
    let error = write_many(w).expect_err("no room");
    assert_eq!(error.remedy(), Remedy::Rewrite, "{error}");
}

#[test]
fn the_longest_key_fits() {
    let mut w = writer();
    let key = vec![b'k'; KEY_BYTES_MAX];
    w.write_block(&key, FieldType::Float, range(1, 1), FLOAT).expect("writes");
    let (file, _) = w.finish().expect("finishes");
    let reader = crate::Reader::new(file.into()).expect("opens");
    assert!(reader.find(&key).is_some());
}

/// InfluxDB checks the limit of 65,535 blocks per key after it has written the block, and then starts the next file.
/// The count in the index has 16 bits, so one more block would make it 0.
#[test]
fn a_key_has_65535_blocks_and_no_more() {
    let mut w = writer();
    for time in 0..65_535 {
        assert!(!w.is_full());
        w.write_block(b"k", FieldType::Float, range(time, time), &[0]).expect("writes");
    }
    assert!(w.is_full());
    let before = w.out.len();
    let error = w.write_block(b"k", FieldType::Float, range(65_535, 65_535), &[0]).expect_err("full");
    assert!(matches!(error.kind(), ErrorKind::MaxBlocks));
    assert_eq!((error.remedy(), error.key()), (Remedy::NextFile, Some(&b"k"[..])));
    assert!(matches!(kind(w.write_block(b"l", FieldType::Float, range(0, 0), &[0])), ErrorKind::MaxBlocks));
    assert_eq!(w.out.len(), before);
    let (file, _) = w.finish().expect("a full file finishes");
    let reader = crate::Reader::new(file.into()).expect("opens");
    assert_eq!(reader.get(0).expect("the key").block_count(), 65_535);
}

#[test]
fn the_last_block_may_exceed_the_size_limit() {
    let mut w = Writer::new(io::sink(), Version::Influx);
    // The header, 2 + 1 + 2 bytes for the key, and 4 + length + 28 for each block make exactly 2 GiB, which is not
    // above the limit.
    let block = vec![0; (1 << 26) - 32];
    for time in 0..31 {
        w.write_block(b"k", FieldType::Float, range(time, time), &block).expect("writes");
    }
    w.write_block(b"k", FieldType::Float, range(31, 31), &block[..block.len() - 5 - 5]).expect("writes");
    assert_eq!((w.estimated_bytes(), w.is_full()), (FILE_BYTES_MAX, false));
    w.write_block(b"l", FieldType::Float, range(1, 1), &[0]).expect("writes");
    assert!(w.is_full());
    let error = w.write_block(b"m", FieldType::Float, range(1, 1), &[0]).expect_err("full");
    assert!(matches!(error.kind(), ErrorKind::FileFull { bytes } if *bytes == FILE_BYTES_MAX + 5 + 5 + 28));
    assert_eq!(error.remedy(), Remedy::NextFile);
    let (_, summary) = w.finish().expect("a full file finishes");
    assert_eq!((summary.blocks, summary.keys), (33, 2));
}

/// Accepts this many bytes and then reports a full disk.
#[derive(Debug)]
struct SmallDisk(usize);

impl io::Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.min(bytes.len());
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_failed_write_all_writes_fail() {
    let whole = {
        let mut w = writer();
        w.write_block(b"k", FieldType::Float, range(1, 1), FLOAT).expect("writes");
        w.write_block(b"l", FieldType::Float, range(1, 1), FLOAT).expect("writes");
        w.finish().expect("finishes").0.len()
    };
    for room in 0..whole {
        let mut w = Writer::new(SmallDisk(room), Version::Influx);
        let first = w.write_block(b"k", FieldType::Float, range(1, 1), FLOAT);
        let second = w.write_block(b"l", FieldType::Float, range(1, 1), FLOAT);
        assert!(first.is_ok() || matches!(kind(second), ErrorKind::Poisoned));
        let error = w.finish().expect_err("the disk is too small");
        assert_eq!(error.remedy(), Remedy::Rewrite, "{room}: {error}");
    }
}
