//! Logs on a real file system that fills up: a small tmpfs in its own mount namespace.
//!
//! If that mount is not allowed, the test prints so and skips. `crash/` tests the same on the simulated file system.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use tsmith_wal::fs::OsFs;
use tsmith_wal::testing::{Scratch, noise, open_keeping};
use tsmith_wal::{Advice, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Record};

/// The mount point of the small disk, set in the process that sees it.
const INSIDE: &str = "TSMITH_WAL_SMALL_DISK";

fn mounted(size: &str, dir: &Path, then: &[&OsStr]) -> Command {
    let mut command = Command::new("unshare");
    let script = r#"size=$1 dir=$2; shift 2; mount -t tmpfs -o "size=$size" tmpfs "$dir" && exec "$@""#;
    command.args(["-rm", "sh", "-c", script, "sh", size]).arg(dir).args(then).env(INSIDE, dir);
    command
}

/// A log on a full disk refuses writes and loses no acknowledged record. After a truncation it accepts writes again. A mapped
/// segment must not raise SIGBUS.
#[test]
fn a_full_disk_refuses_writes_until_truncation() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        for fill in [fill::<FileLog>, fill::<MmapLog>, fill::<NativeLog>, fill::<EtcdLog>] {
            fill(Path::new(&dir));
        }
        return;
    }
    let scratch = Scratch::new();
    let probe = mounted("64k", scratch.path(), &[OsStr::new("true")]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a tmpfs in a new namespace is not allowed here");
        return;
    }
    let test = std::env::current_exe().expect("the test's program");
    for size in ["128k", "300k", "1m"] {
        let name = "a_full_disk_refuses_writes_until_truncation";
        let run = [test.as_os_str(), OsStr::new("--exact"), OsStr::new(name), OsStr::new("--nocapture")];
        let done = mounted(size, scratch.path(), &run).output().expect("runs");
        let output = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{size}: {}", String::from_utf8_lossy(&output));
        assert!(String::from_utf8_lossy(&output).contains("1 passed"), "the test ran inside");
    }
}

fn fill<L: Log<Fs = OsFs>>(disk: &Path) {
    let dir = disk.join("log");
    let options = LogOptions { segment_bytes: 32 << 10, ..LogOptions::default() };
    let open = || open_keeping::<L>(OsFs, &dir, options).expect("opens");
    let (log, ..) = open();
    let put = |number: u64| log.append(Record::write(&noise(number, 900))).and_then(|at| log.sync(at));
    let (mut kept, mut refused, mut rounds) = (Vec::new(), 0, 0);
    for number in 0..4000 {
        match put(number) {
            Ok(_) => kept.push(noise(number, 900)),
            Err(error) => {
                assert!(error.is_full() && error.advice() == Advice::RetryLater, "{error}");
                refused += 1;
            }
        }
        if refused == 5 {
            // An engine truncates the log once the values are in files.
            let cut = log.cut().expect("cuts on a full disk");
            log.truncate_front(cut).expect("truncates");
            assert!(!kept.is_empty() || rounds == 0, "truncation frees space");
            kept.clear();
            (refused, rounds) = (0, rounds + 1);
        }
    }
    assert!(rounds > 0, "the disk was full at least once");
    drop(log);
    let (log, seen, _) = open();
    assert!(seen.into_iter().map(|(_, _, payload)| payload).eq(kept), "exactly the acknowledged records");
    log.close().expect("closes");
    std::fs::remove_dir_all(&dir).expect("removes");
}
