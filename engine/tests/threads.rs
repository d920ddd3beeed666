//! A process that has reached its limit of threads.

#[path = "support/engine.rs"]
mod engine;

use std::env;
use std::path::Path;
use std::process::Command;
use std::thread;

use tsmith_engine::parts::FileLog;
use tsmith_engine::{BatchBuilder, Dirs, FieldKey, Options, TimeRange, Value, Values};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{Log, LogOptions};

/// Set in the process with few threads: its directory.
const DIR: &str = "TSMITH_TEST_FEW_THREADS";
/// A snapshot chunk has 128 keys, so each of four lanes gets more chunks than its channel holds.
const SERIES: usize = 128 * 4 * 4;

/// Runs `test` in another process, with this stack size per thread and this much address space in KiB.
fn again(test: &str, stack: u64, space: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let limited = format!("ulimit -v {space} && exec \"$0\" \"$@\"");
    let mut child = Command::new("sh");
    child.args(["-c", &limited]).arg(env::current_exe().expect("a program"));
    child.args(["--exact", test, "--test-threads", "1", "--nocapture"]);
    let done = child.env(DIR, dir.path()).env("RUST_MIN_STACK", stack.to_string()).output().expect("runs");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Writes, reopens (which replays) and takes a snapshot. Checks that every point is there.
fn live(names: &str, dir: &Path) {
    let open = || {
        let options = Options { background: false, encode_threads: 4, ..Options::default() };
        engine::open_parts(OsFs, names, Dirs::under(dir), options).expect("opens")
    };
    let name = |at: usize| format!("m,host={at:05},text={at:0200}");
    let shard = open();
    for time in 0..2 {
        let mut builder = BatchBuilder::new();
        for at in 0..SERIES {
            builder.begin(name(at).into_bytes().into());
            builder.field(b"v".as_slice().into(), Value::Integer((at as i64) << time)).expect("one type");
            builder.commit(time);
        }
        let _ack = shard.write(&builder.finish()).expect("enough space");
    }
    shard.close().expect("closes");
    let shard = open();
    let report = shard.snapshot().expect("enough space");
    assert_eq!(report.keys, SERIES as u64);
    for at in 0..SERIES {
        let column = shard.read(FieldKey::new(name(at).as_bytes(), b"v"), TimeRange::ALL).expect("readable");
        assert_eq!(column.times(), [0, 1]);
        let Values::Integer(values) = column.values() else { panic!("another type") };
        assert_eq!(*values, [at as i64, (at as i64) << 1]);
    }
    shard.close().expect("closes");
}

/// Story: replay and snapshot panicked if the system refused a thread. A server at its limit went down with a
/// readable log and a writable cache. No address space can hold a stack of this size.
#[test]
fn the_caller_does_all_work_without_threads() {
    let Some(dir) = env::var_os(DIR) else {
        return again("the_caller_does_all_work_without_threads", 1 << 50, "unlimited");
    };
    assert!(thread::Builder::new().spawn(|| ()).is_err(), "threads can be started");
    live("ring/file/tsm1", &Path::new(&dir).join("file"));
    live("ring/native/tsm1", &Path::new(&dir).join("native"));
    let every = tsmith_wal::Durability::Interval(std::time::Duration::from_secs(1));
    let refused = FileLog::open(
        OsFs,
        &Path::new(&dir).join("ticking"),
        LogOptions { durability: every, ..LogOptions::default() },
        |_, _| Ok(()),
    );
    let refused = refused.map(drop).expect_err("interval durability needs a thread");
    assert!(matches!(refused.kind(), tsmith_wal::ErrorKind::Io { .. }), "{refused}");
}

/// Two of four threads start. The caller does the work of the others, in order.
#[test]
fn the_caller_does_the_rest_with_few_threads() {
    let Some(dir) = env::var_os(DIR) else {
        return again("the_caller_does_the_rest_with_few_threads", 1 << 30, "2900000");
    };
    let wait = || thread::Builder::new().spawn(|| thread::sleep(std::time::Duration::from_millis(300)));
    let given: Vec<_> = (0..4).map(|_| wait()).collect();
    assert!(given.iter().any(Result::is_ok) && given.iter().any(Result::is_err), "{given:?}");
    for thread in given.into_iter().flatten() {
        thread.join().expect("sleeps");
    }
    live("ring/file/tsm1", Path::new(&dir));
}
