//! Segments of the native log: their bytes, cuts and bit flips at every byte, compression, and recycled files.

mod support;

use std::path::{Path, PathBuf};

use tsmith_codecs::{BatchBuilder, Value};
use tsmith_wal::entry::Entry;
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::native::{HEAD_BYTES, RECORD_BYTES};
use tsmith_wal::testing::{Replayed, noise, open_keeping};
use tsmith_wal::{
    Compression, ErrorKind, Log, LogOptions, NativeLog, Position, Record, RecordKind, Recovery, RecoveryMode,
    Replay,
};

use support::disk_with;

const DIR: &str = "/wal";

fn options(mode: RecoveryMode) -> LogOptions {
    LogOptions { segment_bytes: 4096, recovery: mode, ..LogOptions::default() }
}

fn open(sim: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(NativeLog<SimFs>, Vec<Replayed>, Recovery)> {
    open_keeping(sim.clone(), Path::new(DIR), options(mode))
}

fn put(log: &NativeLog<SimFs>, payload: &[u8]) -> Position {
    let at = log.append(Record::write(payload)).expect("appends");
    let _ = log.sync(at).expect("syncs");
    at
}

fn segment(number: u32) -> PathBuf {
    Path::new(DIR).join(format!("{number:08}.tlog"))
}

/// A sealed segment with three groups of several records.
fn closed() -> Vec<u8> {
    let sim = SimFs::default();
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    for number in 0..3u64 {
        for len in 0..=number {
            let _ = log.append(Record::write(&noise(number * 10 + len, 30))).expect("appends");
        }
        let at = log.append(Record::delete_range(b"abc")).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    log.close().expect("closes");
    sim.read(&segment(1)).expect("reads")
}

fn with(bytes: &[u8]) -> SimFs {
    disk_with([(segment(1), bytes)])
}

/// Story: all workers at once decompressed and decoded their parts of a segment. A segment of 12 KB took a gigabyte of memory.
/// A part that decodes to more than a limit is now read when its turn comes, and the order must stay the same.
#[test]
fn highly_compressed_records_are_replayed_in_order() {
    struct Seen(Vec<(Position, usize)>);
    impl Replay for Seen {
        fn entry(&mut self, at: Position, entry: &Entry<'_>) -> tsmith_wal::Result<()> {
            let Entry::Write(batch) = entry else { panic!("expected a write") };
            self.0.push((at, batch.value_count()));
            Ok(())
        }
    }
    let sim = SimFs::default();
    let options = LogOptions { compression: Compression::Zstd, ..LogOptions::default() };
    let (log, ..) = open_keeping::<NativeLog<SimFs>>(sim.clone(), Path::new(DIR), options).expect("opens");
    let mut written = Vec::new();
    for number in 0..60_usize {
        // Long texts, many values, and some that do not compress: enough for several threads.
        let (points, text) = match number % 6 {
            0 => (30_000, vec![b'x'; 100]),
            1 => (300_000, Vec::new()),
            _ => (1, noise(number as u64, 9_000)),
        };
        let mut batch = BatchBuilder::new();
        for time in 0..points {
            batch.begin((&b"m"[..]).into());
            let value = if text.is_empty() { Value::Integer(7) } else { Value::String(&text) };
            let _ = batch.field((&b"f"[..]).into(), value).expect("one type");
            batch.commit(time);
        }
        written.push((log.append_write(&batch.finish()).expect("appends"), points as usize));
    }
    log.close().expect("closes");
    assert!(sim.read(&segment(1)).expect("reads").len() > 300_000, "one segment, read by several threads");
    let mut seen = Seen(Vec::new());
    let opened = NativeLog::open_replaying(sim, Path::new(DIR), options, &mut seen);
    opened.expect("opens").0.close().expect("closes");
    assert_eq!(seen.0, written);
}

/// A segment has the bytes that the picture in the documentation of `native` shows.
#[test]
fn a_segment_matches_the_picture_of_its_format() {
    let bytes = closed();
    assert_eq!(bytes[..8], *b"TSmithN2");
    assert_eq!(bytes[16..20], 1u32.to_le_bytes());
    assert_eq!(bytes[20..36], [0; 16], "begins with the log's first record, and nothing is truncated");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let (mut at, mut group) = (HEAD_BYTES, HEAD_BYTES);
    for (sequence, (kind, first_of_group)) in [
        (1, true),
        (3, false),
        (1, true),
        (1, false),
        (3, false),
        (1, true),
        (1, false),
        (1, false),
        (3, false),
    ]
    .into_iter()
    .enumerate()
    {
        if first_of_group {
            group = at;
        }
        assert_eq!(word(at), if kind == 1 { 30 } else { 3 }, "length");
        assert_eq!((word(at + 8), word(at + 12)), (group, sequence), "durable and sequence");
        assert_eq!(bytes[at + 16], kind);
        at += RECORD_BYTES + word(at);
    }
    assert_eq!((word(at), word(at + 8), word(at + 12), bytes[at + 16]), (0, at, 9, 4), "the end");
    assert_eq!(at + RECORD_BYTES, bytes.len());
}

#[test]
fn a_cut_segment_gives_the_records_before_the_cut() {
    let intact = closed();
    let (_, all, _) = open(&with(&intact), RecoveryMode::Strict).expect("opens");
    assert_eq!(all.len(), 9);
    for len in 0..intact.len() {
        let sim = with(&intact[..len]);
        let (log, seen, _) = open(&sim, RecoveryMode::Strict).expect("a torn tail");
        assert_eq!(seen, all[..seen.len()], "cut at {len}");
        let next = all.get(seen.len()).map_or(u64::MAX, |(end, ..)| end.0 & 0xffff_ffff);
        assert!(next > len as u64, "cut at {len}: no intact record is cut");
        drop(log);
        let (_, again, second) = open(&sim, RecoveryMode::Strict).expect("opens");
        assert!(again == seen && second.gaps.is_empty());
    }
}

#[test]
fn a_bit_flip_gives_no_other_record() {
    let intact = closed();
    let (_, all, _) = open(&with(&intact), RecoveryMode::Strict).expect("opens");
    for (at, bit) in (0..intact.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << bit;
        match open(&with(&bytes), RecoveryMode::Strict) {
            // A valid record follows every group, so only the record at the end can look torn.
            Ok((_, seen, recovery)) => {
                assert!(seen == all && at >= intact.len() - RECORD_BYTES, "byte {at} bit {bit}");
                assert_eq!(recovery.gaps.len(), 1);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "{error}");
                assert!(error.offset().is_some_and(|offset| offset <= at as u64), "{error}");
            }
        }
        let (_, seen, _) = open(&with(&bytes), RecoveryMode::Salvage).expect("opens");
        assert!(seen.iter().all(|record| all.contains(record)), "byte {at} bit {bit}");
        assert!(at < HEAD_BYTES || seen.len() + 1 >= all.len(), "byte {at} bit {bit}");
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    let intact = closed();
    for seed in 0..200u64 {
        let mut bytes = noise(seed, (seed * 13 % 900) as usize);
        if seed % 2 == 0 {
            bytes.splice(0..bytes.len().min(HEAD_BYTES), intact[..HEAD_BYTES].iter().copied());
        }
        for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
            if let Ok((_, seen, _)) = open(&with(&bytes), mode) {
                assert!(seen.is_empty());
            }
        }
    }
}

/// A recycled file still has intact records of its earlier use behind the new ones, exactly where the next records would
/// be. No mode may replay them.
#[test]
fn records_of_an_earlier_use_are_not_replayed() {
    let sim = SimFs::default();
    let (log, ..) = open(&sim, RecoveryMode::Strict).expect("opens");
    for number in 0..9 {
        put(&log, &noise(number, 300));
    }
    let cut = log.cut().expect("cuts");
    log.truncate_front(cut).expect("truncates");
    let recycled = Path::new(DIR).join("00000000000000000009-00000001.free");
    let old = sim.read(&recycled).expect("the file is kept");
    for number in 10..13 {
        put(&log, &noise(number, 300));
    }
    assert!(sim.read(&recycled).is_err(), "the file is reused");
    let image = sim.kill();
    let bytes = image.read(&segment(2)).expect("reads");
    assert!(
        bytes.windows(300).any(|window| window == noise(7, 300)),
        "the old records are still in the file"
    );
    assert!(bytes.len() >= old.len());
    for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
        let (log, seen, _) = open(&image.kill(), mode).expect("opens");
        let payloads: Vec<Vec<u8>> = seen.into_iter().map(|(_, _, payload)| payload).collect();
        assert_eq!(payloads, [10, 11, 12].map(|number| noise(number, 300)), "{mode:?}");
        put(&log, b"next");
        log.close().expect("closes");
    }
    // The same after a corrupt record, where salvage searches for valid ones.
    let mut bytes = bytes;
    bytes[HEAD_BYTES + 2 * (RECORD_BYTES + 300) + 40] ^= 1;
    let (_, seen, _) = open(&disk_with([(segment(2), bytes)]), RecoveryMode::Salvage).expect("opens");
    assert_eq!(seen.len(), 2);
}

#[test]
fn compressed_records_come_back() {
    let len_of = |compression| {
        let sim = SimFs::default();
        let options = LogOptions { compression, ..options(RecoveryMode::Strict) };
        let (log, ..) =
            open_keeping::<NativeLog<SimFs>>(sim.clone(), Path::new(DIR), options).expect("opens");
        let payloads = [vec![b'x'; 3000], noise(1, 3000), Vec::new(), b"short".to_vec(), vec![b'y'; 600]];
        for payload in &payloads {
            for kind in RecordKind::ALL {
                let _ = log.append(Record { kind, payload }).expect("appends");
            }
        }
        log.close().expect("closes");
        let (_, seen, _) =
            open(&sim, RecoveryMode::Strict).expect("opens without the compression in its options");
        let expected =
            payloads.iter().flat_map(|payload| RecordKind::ALL.map(|kind| (kind, payload.clone())));
        assert!(seen.into_iter().map(|(_, kind, payload)| (kind, payload)).eq(expected));
        let segments =
            sim.snapshot().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "tlog"));
        segments.map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let stored = len_of(Compression::Stored);
    for compression in [Compression::Lz4, Compression::Zstd] {
        let packed = len_of(compression);
        assert!(packed + 10_000 < stored, "{compression:?}: {packed} packed, {stored} stored");
    }
}

/// An LZ4 block as its specification defines it: one literal, a match of 593 bytes at distance one, and the last six literals.
#[test]
fn an_lz4_body_is_the_length_and_a_block() {
    let sim = SimFs::default();
    let options = LogOptions { compression: Compression::Lz4, ..options(RecoveryMode::Strict) };
    let (log, ..) = open_keeping::<NativeLog<SimFs>>(sim.clone(), Path::new(DIR), options).expect("opens");
    put(&log, &[b'x'; 600]);
    log.close().expect("closes");
    let bytes = sim.read(&segment(1)).expect("reads");
    let (header, body) = bytes[HEAD_BYTES..].split_at(RECORD_BYTES);
    let block = [&[0x1f, b'x', 1, 0, 255, 255, 64][..], b"\x60xxxxxx"].concat();
    assert_eq!(header[..4], (4 + block.len() as u32).to_le_bytes());
    assert_eq!(header[16], 0x21);
    assert_eq!(body[..4], 600u32.to_le_bytes());
    assert_eq!(body[4..4 + block.len()], block);
}
