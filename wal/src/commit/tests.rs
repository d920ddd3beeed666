use super::*;
use crate::metrics::Counts;

/// A framer that only counts records.
#[derive(Debug, Default)]
struct Counted {
    last: u64,
    waiting: usize,
}

/// A writer without a file. It panics or reports a full disk if the test asks for it.
#[derive(Debug, Default)]
struct Nowhere {
    counts: Counts,
    panics: bool,
    full: bool,
}

impl Framer for Counted {
    type Item<'a> = ();
    type Group = usize;
    type Writer = Nowhere;

    fn has_room(&self, (): ()) -> Result<bool> {
        Ok(true)
    }

    fn make_room(&mut self, _: &mut Nowhere, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn push(&mut self, (): (), _: Position) -> usize {
        (self.last, self.waiting) = (self.last + 1, self.waiting + 1);
        1
    }

    fn tail(&self) -> Position {
        Position(self.last)
    }

    fn waiting(&self) -> usize {
        self.waiting
    }

    fn take(&mut self) -> usize {
        std::mem::take(&mut self.waiting)
    }

    fn give_back(&mut self, _: usize, _: &Nowhere) {}

    fn take_back(&mut self) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Nowhere) -> Result<Position, Failure> {
        Ok(self.tail())
    }
}

impl Writer<usize> for Nowhere {
    fn write(&mut self, group: &mut usize, _: u64) -> Result<u64, Failure> {
        assert!(!self.panics, "the test asked for a panic");
        if self.full {
            let full = Arc::new(std::io::ErrorKind::StorageFull.into());
            return Err(Failure::Passing(Error::new(ErrorKind::Full(full))));
        }
        Ok(*group as u64)
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.counts.synced(Instant::now());
        Ok(())
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn log(durability: Durability) -> GroupCommit<Counted, ()> {
    let dir = Path::new("/nowhere");
    GroupCommit::new(dir, durability, Counted::default(), Nowhere::default(), ()).expect("starts")
}

fn put(log: &GroupCommit<Counted, ()>) {
    let _confirmed = log.append(()).and_then(|at| log.sync(at)).expect("is written");
}

/// Story: with several writers, a thread was nearly always leading at the end of an interval. The interval then
/// restarted, and nothing was synced for seconds.
#[test]
fn an_interval_that_ends_during_a_write_syncs() {
    let log = log(Durability::Interval(Duration::from_millis(1)));
    let shared = &log.shared;
    let until = |what: &str, done: &dyn Fn(&State<Counted>) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(&shared.state.lock()) {
            assert!(Instant::now() < deadline, "timed out waiting until {what}");
            std::thread::yield_now();
        }
    };
    // Acts like a writer that leads while the interval ends.
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
fn a_leader_syncs_when_the_interval_is_over() {
    let log = log(Durability::Interval(Duration::from_secs(3600)));
    put(&log);
    assert_eq!(log.metrics().syncs, 0);
    log.shared.state.lock().sync_due = true;
    put(&log);
    let state = log.shared.state.lock();
    assert_eq!((state.metrics.syncs, state.sync_due), (1, false));
    assert_eq!(state.durable, state.written);
}

/// Story: a thread panicked while cutting the log, in the write of the last group. Later calls panicked because the
/// writer was gone, or waited forever.
#[test]
fn a_panic_in_a_cut_stops_the_log() {
    let log = log(Durability::Group);
    put(&log);
    let at = log.append(()).expect("is ordered");
    log.shared.state.lock().writer.as_mut().expect("no thread leads").panics = true;
    let cut = std::panic::AssertUnwindSafe(|| log.cut());
    std::panic::catch_unwind(cut).expect_err("the write panics");
    for refused in [log.sync(at).map(drop), log.append(()).map(drop), log.cut().map(drop), log.close()] {
        assert!(matches!(refused.expect_err("the log stopped").kind(), ErrorKind::Poisoned(_)));
    }
}

/// Story: a full disk took a group back, and its error reached a writer whose record was not in that group. The engine
/// dropped the type of a field whose value was in the log. Then it acknowledged another type, which replay refused.
#[test]
fn a_lost_group_fails_only_its_own_records() {
    let log = log(Durability::Group);
    let fill = |full| log.shared.state.lock().writer.as_mut().expect("no thread leads").full = full;
    let [first, second] = [log.append(()), log.append(())].map(|at| at.expect("is ordered"));
    fill(true);
    assert!(matches!(log.sync(first).expect_err("no space").kind(), ErrorKind::Full(_)));
    fill(false);
    let third = log.append(()).expect("is ordered");
    let earlier = log.sync(third).expect_err("no thread waited for the second");
    assert!(matches!(earlier.kind(), ErrorKind::Earlier(_)) && earlier.is_full(), "{earlier}");
    assert_eq!(log.sync(third).expect("is in the log").at(), third);
    assert!(matches!(log.sync(second).expect_err("no space").kind(), ErrorKind::Full(_)));
}
