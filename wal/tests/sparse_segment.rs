//! Segments that are much longer than their content. The test runs in its own process, because it measures memory.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tsmith_wal::fs::Hole;
use tsmith_wal::fs::OsFs;
use tsmith_wal::{ErrorKind, FileLog, Log, LogOptions, NativeLog, Record, repair};

/// Enough for the log, the zeros that it keeps, and a second copy of them while a buffer grows.
const PEAK_BYTES_MAX: u64 = 512 << 20;
const LEN: u64 = 1 << 30;

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}

fn open<L: Log<Fs = OsFs>>(dir: &Path) -> tsmith_wal::Result<(L, u64)> {
    let mut records = 0;
    let (log, _) = L::open(OsFs, dir, LogOptions::default(), |_, _| {
        records += 1;
        Ok(())
    })?;
    Ok((log, records))
}

/// The only segment with records.
fn segment(dir: &Path, extension: &str) -> PathBuf {
    let entries = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut held = entries.filter(|path| {
        path.extension().is_some_and(|end| end == extension) && path.metadata().expect("there").len() > 40
    });
    held.next().expect("a segment")
}

fn open_lengthened<L: Log<Fs = OsFs>>(extension: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open::<L>(dir.path()).expect("opens");
    for number in 0..9_u8 {
        let at = log.append(Record::write(&[number; 100])).expect("appends");
        let _ = log.sync(at).expect("syncs");
    }
    log.close().expect("closes");
    let path = segment(dir.path(), extension);
    let file = OpenOptions::new().write(true).open(&path).expect("opens");
    let len = file.metadata().expect("there").len();
    // No log has such a hole. Opening must not search all of it for records.
    file.write_at(b"x", LEN).expect("writes");
    let refused = open::<L>(dir.path()).map(drop).expect_err("a hole");
    let is_hole = |source: &std::io::Error| {
        source.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Hole>)
    };
    assert!(matches!(refused.kind(), ErrorKind::Io { source, .. } if is_hole(source)), "{refused}");
    assert_eq!(refused.path(), Some(&*path));
    assert!(repair(&OsFs, dir.path(), None, true).is_err());
    assert_eq!(file.metadata().expect("there").len(), LEN + 1, "nothing was changed");
    // Trailing zeros alone are preallocated space.
    file.set_len(len).and_then(|()| file.set_len(LEN)).expect("a sparse file");
    assert!(
        repair(&OsFs, dir.path(), None, true).expect("looks").iter().all(|found| found.quarantined.is_none())
    );
    let (log, records) = open::<L>(dir.path()).expect("opens");
    assert_eq!(records, 9);
    assert!(file.metadata().expect("there").len() <= len, "the zeros are cut");
    log.close().expect("closes");
}

/// Story: a user ran `truncate -s 3G` on a segment. Opening the log read three gigabytes into memory before it refused or cut
/// the segment.
#[test]
fn a_sparse_segment_takes_little_memory() {
    open_lengthened::<FileLog>("wal");
    open_lengthened::<NativeLog>("tlog");
    assert!(peak_bytes() < PEAK_BYTES_MAX, "{} bytes", peak_bytes());
}
