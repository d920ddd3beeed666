//! The real influxd 1.6.7 takes over after our log lost power while it wrote a group.
//! `wal/tests/influxd_turns.rs` tests many more cases with a model of influxd's rules.
//!
//! Skipped with a note unless `influxd` is installed (Debian: `apt-get install influxdb`). Uses 127.0.0.1
//! only.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/influxd.rs"]
mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use server::{Influxd, shard_dirs, start_with_database};
use tsmith_codecs::{BatchBuilder, Column, FieldType};
use tsmith_engine::parts::FileLog;
use tsmith_engine::view::View;
use tsmith_engine::{Dirs, FieldKey, LineOptions, Options, TimeRange, Timestamp, Value};
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;
use tsmith_wal::{Log, LogOptions, RecoveryMode, replay_only};

const START: i64 = 1_600_000_000_000_000_000;
const WAL: &str = "/wal";

/// Time and value.
type Points = BTreeMap<i64, u64>;

/// Copies the files of a directory on disk to a simulated disk.
fn load(dir: &Path) -> SimFs {
    let fs = SimFs::default();
    fs.create_dir_all(Path::new(WAL)).expect("creates");
    for entry in std::fs::read_dir(dir).expect("the log's directory") {
        let path = entry.expect("an entry").path();
        let file = fs.create_new(&Path::new(WAL).join(path.file_name().expect("a name"))).expect("creates");
        let bytes = std::fs::read(&path).expect("reads");
        file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()).expect("writes");
    }
    fs.sync_dir(Path::new(WAL)).expect("syncs");
    fs.kill()
}

fn store(fs: &SimFs, dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("the log's directory") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removes");
    }
    for (path, bytes) in fs.snapshot() {
        std::fs::write(dir.join(path.file_name().expect("a name")), bytes).expect("writes");
    }
}

/// Our log appends points in groups of five until the file system stops. Returns the acknowledged points.
fn append(fs: &SimFs, first: i64) -> Points {
    let mut acknowledged = Points::new();
    let opened = FileLog::open(
        fs.clone(),
        Path::new(WAL),
        LogOptions { segment_bytes: 32 << 10, ..LogOptions::default() },
        |_, _| Ok(()),
    );
    let Ok((log, _)) = opened else { return acknowledged };
    for group in 0..8 {
        let numbers = first + group * 5..first + group * 5 + 5;
        let mut last = None;
        for number in numbers.clone() {
            let mut points = BatchBuilder::new();
            points.begin(b"m,t=a".into());
            points.field(b"v".into(), Value::Float(number as f64)).expect("one type");
            let text: String =
                (0..number % 40).map(|at| char::from(b'a' + (at * number % 26) as u8)).collect();
            points.field(b"s".into(), Value::String(text.as_bytes())).expect("one type");
            points.commit(START + number);
            last = log.append_write(&points.finish()).ok();
        }
        let Some(Ok(_)) = last.map(|at| log.sync(at)) else { break };
        acknowledged.extend(numbers.map(|number| (START + number, (number as f64).to_bits())));
    }
    acknowledged
}

/// A crash of our log that leaves records of an incomplete group which influxd accepts.
fn crash(wal: &Path, seed: u64) -> (SimFs, Points) {
    let before = load(wal);
    let complete = before.kill();
    append(&complete, 100);
    let operations = complete.operations();
    for at in 0..10_000 {
        let seed = seed * 10_000 + at;
        let fs = before.kill();
        fs.stop_at(operations / 3 + seed % (operations / 2));
        let acknowledged = append(&fs, 100);
        let image = fs.crash(seed);
        // As if influxd had already started.
        let taken_over = image.kill();
        let files = taken_over.snapshot();
        let (guard, bytes) = files
            .iter()
            .rfind(|(path, _)| path.extension().is_some_and(|end| end == "wal"))
            .expect("a segment");
        if !bytes.is_empty() {
            continue;
        }
        taken_over.remove(guard).expect("removes");
        let read = replay_only(&taken_over, Path::new(WAL), RecoveryMode::Strict, |_, _| Ok(()));
        if read.is_ok_and(|recovery| !recovery.unverified.is_empty()) {
            return (image, acknowledged);
        }
    }
    panic!("no power cut left a partial group");
}

/// The points of a view of the shard, and the number of unverified records.
fn ours(dirs: &Dirs) -> (Points, usize) {
    let view = View::open(&tsmith_engine::Registry::standard(), &dirs.data, Some(&dirs.wal)).expect("opens");
    assert!(view.problems().is_empty(), "{:?}", view.problems());
    let mut column = Column::new(FieldType::Float);
    let key = FieldKey::new(b"m,t=a", b"v");
    view.reader().read(key, TimeRange::ALL, &mut column).expect("reads");
    let value = |at| match column.as_ref().values().get(at) {
        Value::Float(value) => value.to_bits(),
        other => panic!("{other:?}"),
    };
    let points = column.times().iter().enumerate().map(|(at, &time)| (time, value(at))).collect();
    (points, view.unverified().len())
}

fn theirs(server: &Influxd) -> Points {
    let answer = server.query("SELECT v FROM m");
    let rows = answer["results"][0]["series"][0]["values"].as_array().expect("rows").clone();
    let point = |row: &serde_json::Value| {
        (row[0].as_i64().expect("a time"), row[1].as_f64().expect("a value").to_bits())
    };
    rows.iter().map(point).collect()
}

/// A run of influxd, with the number of points it writes and the signal that ends it; or a run of our engine.
#[derive(Clone, Copy, Debug)]
enum Life {
    Influxd(i64, &'static str),
    Ours,
}

/// Lines with the numbers of `range`, and their points.
fn lines(numbers: std::ops::Range<i64>) -> (String, Points) {
    let (mut text, mut points) = (String::new(), Points::new());
    for number in numbers {
        writeln!(text, "m,t=a v={number} {}", START + number).expect("into a string");
        points.insert(START + number, (number as f64).to_bits());
    }
    (text, points)
}

fn take_turns(seed: u64, lives: &[Life]) {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = start_with_database(root) else { return };
    server.write(&lines(1..2).0);
    server.end("-TERM");
    let dirs = shard_dirs(root);
    let (image, mut acknowledged) = crash(&dirs.wal, seed);
    acknowledged.extend(lines(1..2).1);
    store(&image, &dirs.wal);
    let what = format!("seed {seed}, {lives:?}");
    let (before, unverified) = ours(&dirs);
    assert_eq!(unverified, 0, "{what}: before influxd runs");
    assert!(before == acknowledged, "{what}: the unacknowledged group is a torn tail");
    let mut next = 1000;
    for life in lives {
        let (exported, _) = ours(&dirs);
        let (text, points) = lines(next..next + 3);
        match *life {
            Life::Influxd(writes, end) => {
                let server = Influxd::start(root).expect("is installed");
                let answer = theirs(&server);
                assert!(exported.iter().all(|(time, value)| answer.get(time) == Some(value)), "{what}");
                assert!(exported == answer || next == 1000, "{what}: {exported:?} is not {answer:?}");
                for line in text.lines().take(writes as usize) {
                    server.write(line);
                }
                acknowledged.extend(points.into_iter().take(writes as usize));
                server.end(end);
            }
            Life::Ours => {
                let shard = engine::open(dirs.clone(), Options::default());
                let shard = shard.expect("opens");
                assert!(shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).is_ok());
                acknowledged.extend(points);
                shard.close().expect("closes");
            }
        }
        next += 1000;
        let (exported, _) = ours(&dirs);
        let lost = acknowledged.iter().find(|(time, value)| exported.get(time) != Some(value));
        assert_eq!(lost, None, "{what}");
    }
    let server = Influxd::start(root).expect("is installed");
    assert!(theirs(&server) == ours(&dirs).0, "{what}: influxd gives other answers");
    server.end("-TERM");
}

/// Story: influxd cut off the incomplete end of our log, and appended to our segment or started its own. Our
/// next opening truncated its points as a torn tail, or reported our segment as corrupt.
#[test]
fn influxd_continues_after_our_crash() {
    use Life::{Influxd, Ours};
    take_turns(1, &[Influxd(2, "-TERM")]);
    take_turns(2, &[Influxd(0, "-TERM"), Influxd(3, "-TERM"), Ours]);
    take_turns(3, &[Influxd(0, "-KILL"), Influxd(2, "-KILL"), Ours, Influxd(1, "-TERM")]);
}
