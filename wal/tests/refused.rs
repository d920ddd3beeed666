//! Records that pass their checks but that the caller refuses during replay.

use std::path::Path;

use tsmith_wal::entry::{self, Entry};
use tsmith_wal::testing::SimFs;
use tsmith_wal::{
    BatchBuilder, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Position, Record, RecoveryMode,
    Replay, Value,
};

const DIR: &str = "/log";
/// So many that a segment is read side by side.
const RECORDS: i64 = 3000;
const REFUSED_EACH: i64 = 100;

/// Takes writes, and refuses some by their time.
#[derive(Default)]
struct Some {
    taken: Vec<i64>,
}

impl Replay for Some {
    fn entry(&mut self, _: Position, entry: &Entry<'_>) -> tsmith_wal::Result<()> {
        let Entry::Write(batch) = entry else { return Ok(()) };
        let time = batch.columns().next().expect("a column").1.times()[0];
        if time % REFUSED_EACH == 0 {
            return Err(tsmith_wal::Error::refused(std::io::Error::other(format!("time {time}"))));
        }
        self.taken.push(time);
        Ok(())
    }
}

/// Story: one record that could not be replayed stopped a salvage, and all later segments were left out.
///
/// Law: a salvage gives every other record in order, and names each that was refused with file, offset and reason; a strict
/// opening stops at the first one.
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
        log.append(Record::write(&payload)).expect("room");
    }
    let _durable = log.sync(Position(u64::MAX)).expect("synced");
    log.close().expect("in order");
    let mut some = Some::default();
    let error = L::open_replaying(fs.clone(), dir, LogOptions::default(), &mut some).err().expect("strict");
    assert!(error.path().is_some() && error.to_string().contains("time 0"), "{name}: {error}");
    let mut some = Some::default();
    let options = LogOptions::default().recovery(RecoveryMode::Salvage);
    let (log, recovery) = L::open_replaying(fs.clone(), dir, options, &mut some).expect("salvaged");
    log.close().expect("in order");
    let expected: Vec<i64> = (0..RECORDS).filter(|time| time % REFUSED_EACH != 0).collect();
    assert!(some.taken == expected, "{name}: {} of {}", some.taken.len(), expected.len());
    let reasons: Vec<String> = recovery.refused.iter().map(|refused| refused.reason.clone()).collect();
    let due: Vec<String> =
        (0..RECORDS / REFUSED_EACH).map(|n| format!("time {}", n * REFUSED_EACH)).collect();
    assert_eq!(reasons, due, "{name}");
    assert!(recovery.gaps.is_empty(), "{name}: {:?}", recovery.gaps);
    let places = recovery
        .refused
        .windows(2)
        .all(|pair| (&pair[0].path, pair[0].offset) < (&pair[1].path, pair[1].offset));
    assert!(places, "{name}: {:?}", recovery.refused);
}

#[test]
fn a_salvage_goes_on_behind_a_refused_record() {
    check::<FileLog<SimFs>>("file");
    check::<MmapLog<SimFs>>("mmap");
    check::<NativeLog<SimFs>>("native");
    check::<EtcdLog<SimFs>>("etcd");
}
