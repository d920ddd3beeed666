//! Closing a log while other threads use it, and a segment name that another program already uses.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::{Scratch, noise, open_keeping};
use tsmith_wal::{ErrorKind, FileLog, Log, LogOptions, Position, Record};

/// Story: an append waited until a segment was sealed, while another thread closed the log. The append then continued after the
/// directory's lock was released. It was acknowledged in a segment that the next log also wrote.
#[test]
fn an_append_during_close_is_logged_or_refused() {
    let options = LogOptions { segment_bytes: 2048, ..LogOptions::default() };
    for round in 0..30 {
        let scratch = Scratch::new();
        let (log, ..) = open_keeping::<FileLog>(OsFs, &scratch.log_dir(), options).expect("opens");
        let closed = AtomicBool::new(false);
        let acknowledged = Mutex::new(Vec::<(Position, Vec<u8>)>::new());
        let append = |thread: u64| {
            for number in 0.. {
                let payload = [&[thread as u8][..], &noise(number, 150)].concat();
                let late = closed.load(Ordering::SeqCst);
                let done = log.append(Record::write(&payload));
                assert!(!(late && done.is_ok()), "appended to a log that was closed");
                let Ok(at) = done else { return };
                // A closed log still confirms what its last cut made durable.
                if log.sync(at).is_err() {
                    return;
                }
                acknowledged.lock().expect("no panic").push((at, payload));
            }
        };
        let seen = std::thread::scope(|scope| {
            for thread in 0..8 {
                let append = &append;
                scope.spawn(move || append(thread));
            }
            std::thread::sleep(std::time::Duration::from_micros(500 * round));
            log.close().expect("closes");
            closed.store(true, Ordering::SeqCst);
            let (second, seen, _) =
                open_keeping::<FileLog>(OsFs, &scratch.log_dir(), options).expect("opens");
            let at = second.append(Record::write(b"second")).expect("appends");
            let _ = second.sync(at).expect("syncs");
            second.close().expect("closes");
            seen
        });
        let seen: Vec<_> = seen.into_iter().map(|(at, _, payload)| (at, payload)).collect();
        for record in acknowledged.into_inner().expect("no panic") {
            assert!(seen.contains(&record), "round {round}: {:?} was acknowledged and is lost", record.0);
        }
        let (_log, again, _) = open_keeping::<FileLog>(OsFs, &scratch.log_dir(), options).expect("opens");
        assert_eq!(again.len(), seen.len() + 1);
    }
}

/// If another program creates the next segment while the log is open, the log neither overwrites nor removes that file.
#[test]
fn a_segment_name_in_use_is_refused() {
    let (sim, dir) = (SimFs::default(), Path::new("/wal"));
    let (log, ..) = open_keeping::<FileLog<SimFs>>(sim.clone(), dir, LogOptions::default()).expect("opens");
    let path = dir.join("_00001.wal");
    sim.create_new(&path).and_then(|file| file.write_all_at(b"theirs", 0)).expect("writes");
    let at = log.append(Record::write(b"ours")).expect("appends");
    let error = log.sync(at).expect_err("the name is in use");
    let ErrorKind::Poisoned(cause) = error.kind() else { panic!("{error}") };
    assert_eq!(cause.path(), Some(&*path));
    let in_use = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AlreadyExists;
    assert!(matches!(cause.kind(), ErrorKind::Io { source, .. } if in_use(source)), "{error}");
    drop(log);
    assert_eq!(sim.read(&path).expect("reads"), b"theirs");
}
