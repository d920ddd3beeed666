//! Records that pass their checks but that the caller refuses during replay.

use std::path::Path;

use tsmith_wal::entry::{self, Entry};
use tsmith_wal::testing::SimFs;
use tsmith_wal::{
    BatchBuilder, ErrorKind, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Position, Record,
    RecoveryMode, Replay, Value,
};

const DIR: &str = "/log";
/// Enough records that several threads read a segment.
const RECORDS: i64 = 3000;
const REFUSED_EACH: i64 = 100;

/// Why `Picky` refuses a write: its time.
#[derive(Debug, thiserror::Error)]
#[error("time {0}")]
struct RefusedTime(i64);

/// Accepts writes, except those of some times.
#[derive(Default)]
struct Picky {
    accepted: Vec<i64>,
}

impl Replay for Picky {
    fn entry(&mut self, _: Position, entry: &Entry<'_>) -> tsmith_wal::Result<()> {
        let Entry::Write(batch) = entry else { return Ok(()) };
        let time = batch.columns().next().expect("a column").1.times()[0];
        if time % REFUSED_EACH == 0 {
            return Err(tsmith_wal::Error::refused(RefusedTime(time)));
        }
        self.accepted.push(time);
        Ok(())
    }
}

/// Story: one record that could not be replayed stopped a salvage, so all later segments were skipped.
///
/// Law: a salvage replays every other record in order, and reports file, offset and reason of each refused record. A strict
/// open stops at the first refused record.
fn check<L: Log<Fs = SimFs>>(name: &str) {
    let (fs, dir) = (SimFs::default(), Path::new(DIR));
    let (log, _) = L::open(fs.clone(), dir, LogOptions::default(), |_, _| Ok(())).expect("opens");
    for time in 0..RECORDS {
        let mut builder = BatchBuilder::new();
        builder.begin(b"a".as_slice().into());
        let text = format!("{time:x}").repeat(40);
        builder.field(b"v".as_slice().into(), Value::String(text.as_bytes())).expect("one type");
        builder.commit(time);
        let mut payload = Vec::new();
        entry::encode_write(&builder.finish(), &mut payload).expect("short keys");
        log.append(Record::write(&payload)).expect("appends");
    }
    let _durable = log.sync(Position(u64::MAX)).expect("syncs");
    log.close().expect("closes");
    let mut picky = Picky::default();
    let opened = L::open_replaying(fs.clone(), dir, LogOptions::default(), &mut picky);
    let error = opened.err().expect("the first record is refused");
    let ErrorKind::Refused(reason) = error.kind() else { panic!("{name}: {error}") };
    let time = reason.downcast_ref().map(|RefusedTime(time)| *time);
    assert_eq!(time, Some(0), "{name}: {error}");
    assert!(error.path().is_some() && error.offset().is_some(), "{name}: {error}");
    let mut picky = Picky::default();
    let options = LogOptions { recovery: RecoveryMode::Salvage, ..LogOptions::default() };
    let (log, recovery) = L::open_replaying(fs.clone(), dir, options, &mut picky).expect("opens");
    log.close().expect("closes");
    let expected: Vec<i64> = (0..RECORDS).filter(|time| time % REFUSED_EACH != 0).collect();
    assert!(picky.accepted == expected, "{name}: {} of {}", picky.accepted.len(), expected.len());
    let reasons: Vec<String> = recovery.refused.iter().map(|refused| refused.reason.clone()).collect();
    let refused = (0..RECORDS).filter(|time| time % REFUSED_EACH == 0);
    assert!(
        reasons.iter().cloned().eq(refused.map(|time| RefusedTime(time).to_string())),
        "{name}: {reasons:?}"
    );
    assert!(recovery.gaps.is_empty(), "{name}: {:?}", recovery.gaps);
    let in_order = recovery
        .refused
        .windows(2)
        .all(|pair| (&pair[0].path, pair[0].offset) < (&pair[1].path, pair[1].offset));
    assert!(in_order, "{name}: {:?}", recovery.refused);
}

#[test]
fn a_salvage_continues_after_a_refused_record() {
    check::<FileLog<SimFs>>("file");
    check::<MmapLog<SimFs>>("mmap");
    check::<NativeLog<SimFs>>("native");
    check::<EtcdLog<SimFs>>("etcd");
}
