use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::fs::{FsFile, SimFile, SimFs};
use crate::segment::Influx;
use crate::testing::noise;

const DIR: &str = "/wal";

/// As a map is: beyond what was reserved there is nothing.
#[derive(Debug)]
struct Narrow {
    file: SimFile,
    capacity: u32,
}

impl Sink for Narrow {
    type Fs = SimFs;

    fn begin(file: SimFile, capacity: u32, _: bool, head: &[u8]) -> io::Result<Self> {
        file.allocate(0..capacity.into())?;
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        Ok(Self { file, capacity })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        assert!(at as usize + bytes.len() <= self.capacity as usize, "beyond the map");
        self.file.write_all_at(bytes, at.into())
    }

    fn sync(&mut self, _: u32, _: u32) -> io::Result<()> {
        self.file.sync_data()
    }

    fn end(self, len: u32) -> io::Result<SimFile> {
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}

fn open(fs: &SimFs) -> (SegmentLog<Narrow, Influx>, Vec<Vec<u8>>) {
    open_with(fs, Durability::Group)
}

fn open_with(fs: &SimFs, durability: Durability) -> (SegmentLog<Narrow, Influx>, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let options = LogOptions::default().segment_bytes(8192).durability(durability);
    let opened = SegmentLog::open(fs.clone(), Path::new(DIR), options, |_, record| {
        seen.push(record.payload.to_vec());
        Ok(())
    });
    (opened.expect("opens").0, seen)
}

/// Story: on a nearly full disk a segment was begun shorter than the options say, but records were still placed by the
/// options: the map of the segment ended before the group did, and the thread that wrote panicked.
#[test]
fn a_segment_that_had_to_be_short_is_not_written_beyond_its_end() {
    for threads in [1, 4] {
        let fs = SimFs::default();
        fs.set_space(Some(6000));
        let (log, _) = open(&fs);
        let (kept, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let write = |thread: u64| {
            for number in 0..40 {
                let payload = noise(thread * 1000 + number, 60 + 7 * number as usize);
                let done = log.append(Record::write(&payload)).and_then(|at| log.sync(at));
                match done {
                    Ok(_) => kept.lock().push(payload),
                    Err(error) => {
                        assert!(error.is_full(), "{error}");
                        refused.lock().push(payload);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let write = &write;
                scope.spawn(move || write(thread));
            }
        });
        let (kept, refused) = (kept.into_inner(), refused.into_inner());
        assert!(kept.len() > 3 && !refused.is_empty(), "{} kept, {} refused", kept.len(), refused.len());
        log.close().expect("closes");
        let (_log, seen) = open(&fs);
        assert_eq!(seen.len(), kept.len());
        assert!(kept.iter().all(|payload| seen.contains(payload)));
    }
}

fn put(log: &SegmentLog<Narrow, Influx>) {
    let _confirmed = log.append(Record::write(b"payload")).and_then(|at| log.sync(at)).expect("is written");
}

/// Story: at the end of an interval somebody led nearly always where several threads wrote; the interval then began
/// anew, and nothing was synced for seconds.
#[test]
fn an_interval_that_ends_while_somebody_leads_is_not_forgotten() {
    let (log, _) = open_with(&SimFs::default(), Durability::Interval(Duration::from_millis(1)));
    let shared = &log.shared;
    let until = |what: &str, done: &dyn Fn(&State<Narrow, Influx>) -> bool| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !done(&shared.state.lock()) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::yield_now();
        }
    };
    // As if a writer led, from before the end of the interval until after it.
    loop {
        put(&log);
        let mut state = shared.state.lock();
        if state.durable < state.written && !state.leading {
            state.leading = true;
            break;
        }
    }
    until("the sync is due", &|state| state.sync_due);
    shared.state.lock().leading = false;
    shared.changed.notify_all();
    until("all is synced", &|state| state.durable == state.written && !state.sync_due);
}

#[test]
fn who_leads_when_a_sync_is_due_syncs() {
    let (log, _) = open_with(&SimFs::default(), Durability::Interval(Duration::from_hours(1)));
    put(&log);
    assert_eq!(log.metrics().syncs, 0);
    log.shared.state.lock().sync_due = true;
    put(&log);
    let state = log.shared.state.lock();
    assert_eq!((state.metrics.syncs, state.sync_due), (1, false));
    assert_eq!(state.durable, state.written);
}

/// Story: there had been no space, the next append began a segment, and somebody else's cut ended it before the record was
/// in it. The append then began it once more, found the file, and the log stopped.
#[test]
fn a_cut_leaves_a_segment_that_was_begun_for_a_record_to_come() {
    let (log, _) = open_with(&SimFs::default(), Durability::Group);
    put(&log);
    let shared = &log.shared;
    let mut state = shared.state.lock();
    state.advance(&shared.dir).expect("a number");
    let (state, begun) = shared.step(state, Goal::Begin(1000));
    begun.expect("begins");
    drop(state);
    for _ in 0..2 {
        let cut = log.cut().expect("cuts");
        put(&log);
        log.truncate_front(cut).expect("forgets");
    }
    log.close().expect("closes");
}
