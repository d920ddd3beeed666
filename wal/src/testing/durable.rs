//! Laws of a log that stores its records.

use std::ffi::OsStr;
use std::io;

use tsmith_codecs::{Batch, BatchBuilder, Value};

use super::corrupt::append_last;
use super::{Replayed, Scratch, noise, open, open_keeping, payloads, put};
use crate::entry::{self, Entry};
use crate::fs::OsFs;
use crate::metrics::Metrics;
use crate::{
    Error, ErrorKind, EtcdLog, FileLog, Log, LogOptions, NativeLog, Position, Progress, Record, RecordKind,
    RecoveryMode, Replay,
};

/// Payloads of many sizes, with and without pattern.
fn samples() -> Vec<Vec<u8>> {
    let lens = [0, 1, 2, 59, 60, 61, 256, 511, 512, 513, 4096, 65_536, 70_000, 1 << 20];
    lens.into_iter().flat_map(|len| [vec![b'x'; len], noise(len as u64, len)]).collect()
}

/// Law: all appended records come back after reopening, in order, with kind and position.
pub fn records_come_back_in_order<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, seen, recovery) = open::<L>(scratch, LogOptions::default());
    assert!(seen.is_empty() && recovery.records == 0);
    let mut written: Vec<Replayed> = Vec::new();
    for (n, payload) in samples().into_iter().enumerate() {
        let kind = RecordKind::ALL[n % 3];
        let at = log.append(Record { kind, payload: &payload }).expect("appends");
        written.push((at, kind, payload));
    }
    log.close().expect("closes");
    let (log, seen, recovery) = open::<L>(scratch, LogOptions::default());
    assert_eq!(seen, written);
    assert_eq!(recovery.records, written.len() as u64);
    assert!(recovery.gaps.is_empty());
    log.close().expect("closes");
}

/// Law: a reopened log assigns positions above all replayed ones.
pub fn positions_increase_after_reopening<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let mut last = Position::ZERO;
    for round in 0..5u8 {
        let (log, seen, _) = open::<L>(scratch, LogOptions::default());
        assert_eq!(seen.len(), usize::from(round));
        assert_eq!(seen.last().map_or(Position::ZERO, |(at, ..)| *at), last);
        let at = put(&log, &[round]);
        assert!(at > last);
        last = at;
        drop(log);
    }
}

/// Law: positions also increase if all records were truncated before the reopening. No position is assigned twice.
pub fn positions_increase_after_truncating_all<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let mut last = Position::ZERO;
    for round in 0..4u8 {
        let (log, seen, _) = open::<L>(scratch, LogOptions::default());
        assert!(seen.is_empty());
        let at = put(&log, &[round]);
        assert!(at > last, "{at:?} after {last:?}");
        last = log.cut().expect("cuts");
        log.truncate_front(last).expect("truncates");
        log.close().expect("closes");
    }
}

/// Law: a key above the length limit is refused and leaves nothing. A key at the limit is appended and replayed.
pub fn a_key_is_refused_or_replayed<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let batch = |series: usize, field: usize| {
        let mut builder = BatchBuilder::new();
        builder.begin(vec![b's'; series].into());
        let _ = builder.field(vec![b'f'; field].into(), Value::Float(1.5)).expect("one type");
        builder.commit(1);
        builder.finish()
    };
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    // With the separator: 65,535.
    for (series, field) in [(65_530, 1), (1, 65_530), (30_000, 35_531)] {
        let _ = log.append_write(&batch(series, field)).expect("at the limit");
        for (series, field) in [(series + 1, field), (series, field + 1), (70_000, 1), (1, 70_000)] {
            let error = log.append_write(&batch(series, field)).expect_err("above it");
            assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
        }
    }
    log.close().expect("closes");
    let mut kept = Kept::default();
    let (log, _) =
        L::open_replaying(OsFs, &scratch.log_dir(), LogOptions::default(), &mut kept).expect("opens");
    assert_eq!(kept.entries.len(), 3);
    log.close().expect("closes");
}

/// Law: opening and closing any number of times changes neither the records nor the set of files. A segment that stays
/// empty is removed on close.
pub fn reopening_changes_nothing<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let _ = put(&log, b"one");
    log.close().expect("closes");
    let files = scratch.files();
    for _ in 0..3 {
        let (log, seen, _) = open::<L>(scratch, LogOptions::default());
        assert_eq!(payloads(seen), [b"one"]);
        log.close().expect("closes");
        assert_eq!(scratch.files(), files);
    }
}

/// Law: no record of concurrent threads is lost, and replay is in the order of positions.
pub fn concurrent_records_all_come_back<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() });
    let write = |thread: u8| -> Vec<(Position, Vec<u8>)> {
        let payloads = (0..60u8).map(|n| [&[thread, n][..], &noise(n.into(), 40)].concat());
        payloads.map(|payload| (put(&log, &payload), payload)).collect()
    };
    let mut written: Vec<(Position, Vec<u8>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    written.sort();
    drop(log);
    let (_log, seen, _) = open::<L>(scratch, LogOptions::default());
    let seen: Vec<_> = seen.into_iter().map(|(at, _, payload)| (at, payload)).collect();
    assert_eq!(seen, written);
}

/// Law: a log rolls to further segments, and stores records larger than a segment.
pub fn segments_roll<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let options = LogOptions { segment_bytes: 2048, ..LogOptions::default() };
    let (log, ..) = open::<L>(scratch, options);
    let mut written: Vec<Vec<u8>> = (0..40).map(|n| noise(n, 200)).collect();
    written.insert(20, noise(99, 10_000));
    for payload in &written {
        let _ = put(&log, payload);
    }
    log.close().expect("closes");
    let (_log, seen, recovery) = open::<L>(scratch, options);
    assert_eq!(payloads(seen), written);
    assert!(recovery.segments > 4, "{recovery:?}");
}

/// Law: truncating at a cut keeps every later record and drops every earlier one.
pub fn truncating_keeps_later_records<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let _ = put(&log, b"old");
    let first = log.cut().expect("cuts");
    let _ = put(&log, b"newer");
    let second = log.cut().expect("cuts");
    let _ = put(&log, b"newest");
    log.truncate_front(first).expect("truncates");
    log.close().expect("closes");
    let (log, seen, _) = open::<L>(scratch, LogOptions::default());
    assert_eq!(payloads(seen), [&b"newer"[..], b"newest"]);
    log.truncate_front(second).expect("truncates");
    log.close().expect("closes");
    let (_log, seen, _) = open::<L>(scratch, LogOptions::default());
    assert_eq!(payloads(seen), [&b"newest"[..]]);
}

/// Collects what it receives.
#[derive(Default)]
struct Kept {
    entries: Vec<(Position, usize, Vec<u8>)>,
    progress: Vec<Progress>,
    refuse_at: Option<usize>,
    refuses_end: bool,
}

impl Kept {
    /// The position, number of values and payload of a batch, to compare two replays.
    fn of(at: Position, batch: &Batch<'_>) -> (Position, usize, Vec<u8>) {
        let mut plain = Vec::new();
        entry::encode_write(batch, &mut plain).expect("encodes");
        (at, batch.value_count(), plain)
    }
}

impl Replay for Kept {
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> crate::Result<()> {
        if self.refuse_at == Some(self.entries.len()) {
            return Err(Error::refused(io::Error::other("not this one")));
        }
        let Entry::Write(batch) = entry else { panic!("only writes were logged") };
        self.entries.push(Self::of(at, batch));
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn end(&mut self) -> crate::Result<()> {
        if self.refuses_end { Err(Error::refused(io::Error::other("not all of this"))) } else { Ok(()) }
    }
}

/// Law: replay as entries, parallel or not, gives the same entries in the same order as replay record by record, and
/// reports progress. An error of the callback is returned with its place.
pub fn entries_replay_like_records<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let options = LogOptions { segment_bytes: 512 << 10, ..LogOptions::default() };
    let (log, ..) = open::<L>(scratch, options);
    for n in 0..220_u64 {
        let mut builder = BatchBuilder::new();
        builder.begin(format!("m,host={}", n % 7).into_bytes().into());
        let text = noise(n, 40 + n as usize * 70);
        builder.field(b"text".into(), Value::String(&text)).expect("one type");
        builder.commit(n as i64);
        let _ = log.append_write(&builder.finish()).expect("appends");
    }
    log.close().expect("closes");
    let (log, seen, plain) = open::<L>(scratch, options);
    log.close().expect("closes");
    let replay = |kept: &mut Kept| L::open_replaying(OsFs, &scratch.log_dir(), options, kept);
    let mut kept = Kept::default();
    let (log, recovery) = replay(&mut kept).expect("opens");
    log.close().expect("closes");
    assert_eq!(recovery, plain);
    let expected = seen.iter().map(|(at, kind, payload)| match entry::decode(*kind, payload) {
        Ok(Entry::Write(batch)) => Kept::of(*at, &batch),
        other => panic!("{other:?}"),
    });
    assert!(kept.entries == expected.collect::<Vec<_>>(), "other entries, or in another order");
    let last = kept.progress.last().expect("progress is reported");
    assert_eq!((last.records, last.segments), (220, last.segments_total));
    assert!(kept.progress.is_sorted_by(|a, b| a.bytes <= b.bytes && a.segments < b.segments));
    for refuse_at in [0, 100, 219] {
        let mut kept = Kept { refuse_at: Some(refuse_at), ..Kept::default() };
        let error = replay(&mut kept).map(drop).expect_err("refused");
        assert!(matches!(error.kind(), ErrorKind::Refused(_)) && error.offset().is_some(), "{error}");
        assert_eq!(kept.entries.len(), refuse_at);
    }
}

/// Law: `append_write` of a batch is replayed as the batch's payload, byte for byte.
pub fn a_batch_is_logged_as_its_payload<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let mut expected = Vec::new();
    for n in 0..60_u64 {
        let mut builder = BatchBuilder::new();
        for point in 0..n * 3 {
            builder.begin(format!("m,host={},rack=b", point % (n % 5 + 1)).into_bytes().into());
            let text = noise(point, point as usize * 5);
            let values = [
                (&b"text"[..], Value::String(&text)),
                (b"usage_user", Value::Float(point as f64 / 8.0)),
                (b"usage_system", Value::Integer(point as i64 % 9)),
            ];
            for (name, value) in values.iter().take(1 + (point / 7) as usize % 3) {
                let _ = builder.field((*name).into(), *value).expect("one type");
            }
            builder.commit((point / 5) as i64 * 1_000_000_000);
        }
        let batch = builder.finish();
        let mut payload = Vec::new();
        log.layout().encode_write(&batch, &mut payload).expect("encodes");
        let at = log.append_write(&batch).expect("appends");
        let _ = log.sync(at).expect("syncs");
        expected.push((at, RecordKind::Write, payload));
    }
    log.close().expect("closes");
    let (log, seen, _) = open::<L>(scratch, LogOptions::default());
    log.close().expect("closes");
    assert!(seen == expected, "other records");
}

/// Law: a directory with segments of another log is not treated as empty. Either the log reads these segments, or it
/// refuses the directory and changes nothing.
pub fn segments_of_another_log_are_detected<L: Log<Fs = OsFs>>(_: &Scratch) {
    refuses_or_reads::<FileLog, L>(&Scratch::new());
    refuses_or_reads::<NativeLog, L>(&Scratch::new());
    refuses_or_reads::<EtcdLog, L>(&Scratch::new());
}

fn refuses_or_reads<Other: Log<Fs = OsFs>, L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (other, ..) = open::<Other>(scratch, LogOptions::default());
    let _ = put(&other, b"a record");
    other.close().expect("closes");
    let before = scratch.files();
    match open_keeping::<L>(OsFs, &scratch.log_dir(), LogOptions::default()) {
        Ok((log, seen, _)) => {
            assert_eq!(payloads(seen), [b"a record"]);
            log.close().expect("closes");
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::OtherLog), "{error}");
            assert_eq!(scratch.files(), before);
        }
    }
}

/// Law: if a log has metrics, they count all operations.
pub fn operations_are_counted<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    for n in 0..10 {
        let _ = log.append(Record::write(&noise(n, 100))).expect("appends");
        let _ = put(&log, &noise(n, 50));
    }
    let _ = log.cut().expect("cuts");
    let _ = put(&log, b"in another segment");
    let metrics = log.metrics();
    if metrics == Metrics::default() {
        // This log counts nothing.
        return;
    }
    assert_eq!((metrics.appends, metrics.groups, metrics.segments), (21, 11, 2));
    assert!(metrics.syncs >= 11 && metrics.sync_micros.count() == metrics.syncs, "{metrics:?}");
    assert_eq!((metrics.group_records.sum, metrics.group_records.count()), (21, 11));
    assert!(metrics.append_bytes > 1500 && metrics.written_bytes >= metrics.append_bytes, "{metrics:?}");
    log.close().expect("closes");
}

/// Law: reading gives the same records and report as opening, and changes nothing.
pub fn reading_equals_opening<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let (log, ..) = open::<L>(scratch, LogOptions::default());
    let _ = put(&log, b"one");
    let _ = log.cut().expect("cuts");
    let _ = put(&log, b"two");
    log.close().expect("closes");
    let tail = append_last::<L>(scratch, b"three");
    std::fs::write(&tail.path, [&tail.after[..], b"\x01\x00\x00"].concat()).expect("writes");
    let (before, mut read) = (scratch.files(), Vec::new());
    let recovery = L::read(&OsFs, &scratch.log_dir(), RecoveryMode::Strict, &mut |at, record| {
        read.push((at, record.kind, record.payload.to_vec()));
        Ok(())
    });
    assert_eq!(scratch.files(), before);
    let (log, seen, opened) = open::<L>(scratch, LogOptions::default());
    assert_eq!((read, recovery.expect("reads")), (seen, opened));
    log.close().expect("closes");
}

/// Law: a log recognizes its segments by name, and no other files.
pub fn segments_are_known_by_name<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let tail = append_last::<L>(scratch, b"one");
    let is_segment = |name: &str| L::is_segment(name.as_ref());
    assert!(tail.path.file_name().and_then(OsStr::to_str).is_some_and(is_segment), "{}", tail.path.display());
    for other in ["", "wal.lock", "1", "000000001-000000001.tsm", "notes.txt"] {
        assert!(!is_segment(other), "{other}");
    }
    for name in
        scratch.files().into_iter().filter_map(|(path, _)| path.file_name()?.to_str().map(str::to_owned))
    {
        assert!(!is_segment(&format!("{name}.bad")) && !is_segment(&format!("{name}.tmp")), "{name}");
    }
}

/// Law: an error of `replay` is returned with the place of the record, and nothing on disk changes, not even a torn
/// tail.
pub fn a_refused_record_changes_nothing<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let tail = append_last::<L>(scratch, b"one");
    let torn = [&tail.after[..], b"\x01\x00\x00"].concat();
    std::fs::write(&tail.path, torn).expect("writes");
    let before = scratch.files();
    let refuse = |_, _: Record<'_>| Err(Error::refused(io::Error::other("not this one")));
    let opened = L::open(OsFs, &scratch.log_dir(), LogOptions::default(), refuse);
    let Err(error) = opened else { panic!("opened in spite of the refusal") };
    assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
    assert!(error.path() == Some(&*tail.path) && error.offset().is_some(), "{error}");
    assert_eq!(scratch.files(), before);
}

/// Law: if `replay` accepts every record and then refuses the end, nothing on disk changes either.
pub fn a_refused_end_changes_nothing<L: Log<Fs = OsFs>>(scratch: &Scratch) {
    let mut payload = Vec::new();
    entry::encode_write(&BatchBuilder::new().finish(), &mut payload).expect("encodes");
    let tail = append_last::<L>(scratch, &payload);
    let torn = [&tail.after[..], b"\x01\x00\x00"].concat();
    std::fs::write(&tail.path, torn).expect("writes");
    let before = scratch.files();
    let mut kept = Kept { refuses_end: true, ..Kept::default() };
    let opened = L::open_replaying(OsFs, &scratch.log_dir(), LogOptions::default(), &mut kept);
    let Err(error) = opened else { panic!("opened in spite of the refusal") };
    assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
    assert_eq!(kept.entries.len(), 1);
    assert_eq!(scratch.files(), before);
}
