//! Laws about torn tails and corruption.

use std::path::PathBuf;

use super::{Replayed, Scratch, noise, open, open_keeping, payloads, put};
use crate::fs::OsFs;
use crate::{ErrorKind, GapKind, Log, LogOptions, RecoveryMode};

/// The segment that contains the last record, with its content before and after that record.
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Vec<u8>,
}

pub(super) fn append_last<L: Log<Fs = OsFs>>(scratch: &Scratch, payload: &[u8]) -> Tail {
    let before = scratch.files();
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let _ = put(&log, payload);
    log.close().expect("closes");
    let mut changed = scratch.files();
    changed.retain(|file| !before.contains(file) && !file.1.is_empty());
    let [(path, after)] = changed.try_into().expect("one file changed");
    let before = before.into_iter().find(|(old, _)| *old == path).map(|(_, bytes)| bytes);
    Tail { path, before, after }
}

/// Law: a record cut anywhere in its bytes is absent after reopening. Earlier records are intact, and records appended
/// afterwards come back. (InfluxDB 1.x appends at the old end of the file after a torn tail, and loses those records.)
pub fn a_torn_tail_is_cut_anywhere<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let _ = put(&log, b"earlier");
    log.close().expect("closes");
    let last = noise(1, 150);
    let tail = append_last::<L>(scratch, &last);
    let files = scratch.files();
    let shortest = tail.before.as_ref().map_or(0, Vec::len);
    for len in shortest..tail.after.len() {
        scratch.files().iter().for_each(|(path, _)| std::fs::remove_file(path).expect("removes"));
        for (path, bytes) in &files {
            std::fs::write(path, bytes).expect("writes");
        }
        std::fs::write(&tail.path, &tail.after[..len]).expect("writes");
        let (log, seen, _) = open::<L>(scratch, LogOptions::default());
        // The end mark of a segment can follow the record.
        let complete = seen.len() == 2 && len > shortest + last.len();
        let mut expected = if complete { vec![&b"earlier"[..], &last] } else { vec![&b"earlier"[..]] };
        assert_eq!(payloads(seen), expected, "cut at {len}");
        let _ = put(&log, b"later");
        log.close().expect("closes");
        let (_log, seen, recovery) = open::<L>(scratch, LogOptions::default());
        expected.push(b"later");
        assert_eq!(payloads(seen), expected, "cut at {len}");
        assert!(recovery.gaps.is_empty());
    }
}

/// Law: if a record before the tail is corrupt, the log does not open, reports the place, and changes nothing. A flipped
/// bit that changes no record, as in padding, may be accepted.
pub fn corruption_before_the_tail_refuses<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    for n in 0..4 {
        let _ = put(&log, &noise(n, 300));
    }
    log.close().expect("closes");
    let (path, intact) = scratch.files().swap_remove(0);
    let expected: Vec<_> = (0..4).map(|n| noise(n, 300)).collect();
    assert!(reads_intact::<L>(scratch, &expected));
    for at in (0..intact.len() / 2).step_by(7) {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).expect("writes");
        let before = scratch.files();
        if reads_intact::<L>(scratch, &expected) {
            continue;
        }
        let error = open_keeping::<L>(OsFs, &scratch.log_dir(), LogOptions::default()).err();
        let error = error.unwrap_or_else(|| panic!("opened with byte {at} corrupt"));
        assert!(matches!(error.kind(), ErrorKind::CorruptSegment { .. }), "byte {at}: {error}");
        assert_eq!(error.path(), Some(&*path));
        assert!(error.offset().is_some_and(|offset| offset <= at as u64), "byte {at}: {error}");
        assert_eq!(scratch.files(), before);
    }
}

/// Whether the log reads as these payloads, without a gap.
fn reads_intact<L: Log<Fs = OsFs>>(scratch: &Scratch, expected: &[Vec<u8>]) -> bool {
    let mut seen = Vec::new();
    let read = L::read(&OsFs, &scratch.log_dir(), RecoveryMode::Strict, &mut |_, record| {
        seen.push(record.payload.to_vec());
        Ok(())
    });
    read.is_ok_and(|recovery| recovery.gaps.is_empty()) && seen == expected
}

/// A closed log with records of these lengths, and its only segment.
fn closed_log<L: Log<Fs = OsFs>>(scratch: &Scratch, lens: &[usize]) -> (Vec<Replayed>, PathBuf, Vec<u8>) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    for (n, &len) in lens.iter().enumerate() {
        let _ = put(&log, &noise(n as u64, len));
    }
    log.close().expect("closes");
    let (log, all, _) = open::<L>(scratch, LogOptions::default());
    log.close().expect("closes");
    let (path, intact) = scratch.files().swap_remove(0);
    (all, path, intact)
}

/// The end of a record's payload in its segment. The payload is noise, which is stored uncompressed.
fn end_of(record: &Replayed, segment: &[u8]) -> usize {
    let payload = &record.2;
    let at = segment.windows(payload.len()).position(|bytes| bytes == payload);
    at.expect("the segment contains the payload") + payload.len()
}

/// Upper bound of the bytes before the first record.
const HEAD_BYTES_MAX: usize = 40;
/// Upper bound of the bytes between a payload and the next record.
const PADDING_BYTES: usize = 8;

/// Law: salvage opens every corrupt log and keeps all records except those that the corruption touches. It reports file,
/// offset and length of the gap, and that intact records follow. The corrupt segment stays unchanged, and a second
/// salvage gives the same result.
pub fn salvage_keeps_valid_records<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (all, path, intact) = closed_log::<L>(scratch, &[300; 5]);
    let options = LogOptions { recovery: RecoveryMode::Salvage, ..LogOptions::default() };
    let half = intact.len() / 2;
    for (at, len) in (0..half).step_by(29).map(|at| (at, 1)).chain([(half / 2, 40), (half / 3, half / 2)]) {
        let mut bytes = intact.clone();
        bytes[at..at + len].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&path, &bytes).expect("writes");
        if reads_intact::<L>(scratch, &payloads(all.clone())) {
            continue;
        }
        let (log, seen, recovery) = open::<L>(scratch, options);
        assert!(
            seen.iter().all(|record| all.contains(record)),
            "corrupt at {at}: a record that was never written"
        );
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
        let untouched = |record: &&Replayed| {
            let end = end_of(record, &intact);
            // A record's header, and the compressible part of it, are shorter than this.
            end + PADDING_BYTES <= at || end > at + len + 400
        };
        let head = at < HEAD_BYTES_MAX;
        let kept = all.iter().filter(untouched).filter(|record| seen.contains(record)).count();
        assert!(
            head || kept == all.iter().filter(untouched).count(),
            "corrupt at {at}: lost more than it touched"
        );
        let gap = recovery.gaps.first().unwrap_or_else(|| panic!("corrupt at {at}: not reported"));
        assert_eq!(gap.path, path);
        assert!(gap.offset <= at as u64 && gap.dropped_bytes > 0, "corrupt at {at}: {gap:?}");
        assert!(
            head || (gap.kind == GapKind::Corruption && gap.resumed_at.is_some_and(|to| to > at as u64)),
            "{gap:?}"
        );
        let before = all.iter().filter(|record| end_of(record, &intact) as u64 <= gap.offset).count();
        assert_eq!(gap.kept_records, before as u64);
        let at = put(&log, b"goes on");
        assert!(seen.iter().all(|(before, ..)| *before < at));
        log.close().expect("closes");
        assert_eq!(std::fs::read(&path).expect("is there"), bytes, "the corrupt segment stays");
        let (log, again, _) = open::<L>(scratch, options);
        assert_eq!(
            again.split_last().map(|(last, rest)| (&last.2[..], rest)),
            Some((&b"goes on"[..], &seen[..]))
        );
        log.close().expect("closes");
        for (other, _) in scratch.files().into_iter().filter(|(other, _)| *other != path) {
            std::fs::remove_file(other).expect("removes");
        }
    }
}

/// Law: zeros after the last record, as in preallocated space, are the end of the log and not reported.
pub fn trailing_zeros_are_ignored<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    for round in 0..3usize {
        let tail = append_last::<L>(scratch, &[b'r'; 10]);
        let mut bytes = tail.after;
        bytes.resize(bytes.len() + 5000, 0);
        std::fs::write(&tail.path, &bytes).expect("writes");
        let (_log, seen, recovery) = open::<L>(scratch, LogOptions::default());
        assert_eq!(seen.len(), round + 1);
        assert!(recovery.gaps.is_empty());
    }
}
