//! Logs that influxd continued after a crash of Tsmith.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, run};
use tsmith_engine::{Batch, BatchBuilder, Value};
use tsmith_wal::entry::Layout;
use tsmith_wal::fs::OsFs;
use tsmith_wal::testing::influx::Frames;
use tsmith_wal::{FileLog, Log, LogOptions, Record, RecoveryMode, replay_segment};

fn point(time: i64) -> Batch<'static> {
    let mut points = BatchBuilder::new();
    points.begin(b"m".into());
    points.field(b"v".into(), Value::Float(time as f64)).expect("one type");
    points.commit(time);
    points.finish()
}

/// An engine directory with the point 1, and a group of the points 2 to 4 with a torn last record.
fn crashed(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let dir = scratch.imported("d", "m v=1 1\n");
    let wal = dir.join("wal");
    let (log, _) = FileLog::open(OsFs, &wal, LogOptions::default(), |_, _| Ok(())).expect("opens");
    let appended = (2..5).map(|time| log.append_write(&point(time)).expect("appends"));
    let _durable = log.sync(appended.last().expect("three")).expect("syncs");
    log.close().expect("closes");
    let segment = wal.join("_00002.wal");
    let bytes = fs::read(&segment).expect("reads");
    fs::write(&segment, &bytes[..last_frame(&segment) + 10]).expect("cuts");
    (dir, segment)
}

/// The offset of the last frame of segment 2.
fn last_frame(segment: &Path) -> usize {
    let mut last = 0;
    let replayed = replay_segment(&OsFs, segment, RecoveryMode::Strict, |found| {
        last = found.offset as usize;
        Ok(())
    });
    replayed.expect("reads");
    last
}

/// What influxd does in two starts: it removes the empty segment, cuts the torn frame, and appends the point 9.
fn influxd(segment: &Path) {
    fs::remove_file(segment.with_file_name("_00003.wal")).expect("removes");
    let mut bytes = fs::read(segment).expect("reads");
    bytes.truncate(bytes.len() - 10);
    let mut payload = Vec::new();
    Layout::Influx.encode_write(&point(9), &mut payload).expect("encodes");
    bytes.extend_from_slice(Frames::default().record(Record::write(&payload)).expect("frames"));
    fs::write(segment, bytes).expect("writes");
}

const EXPORTED: &str = "m v=1 1\nm v=2 2\nm v=3 3\nm v=9 9\n";
const NOTE: &str = "3 records ";

/// Story: a crash tore a group, and influxd appended to the segment. Recovery cut all of it as a torn tail, so points that
/// influxd had acknowledged were lost.
#[test]
fn records_of_influxd_are_kept_and_reported() {
    let scratch = Scratch::new();
    let (dir, segment) = crashed(&scratch);
    let torn = run("export {}", &[&dir]).exits(0).says(&["_00002.wal", "torn"]);
    assert_eq!(torn.text(), "m v=1 1\n", "the group was not acknowledged");
    influxd(&segment);
    let before = content(&dir);
    assert_eq!(run("export {}", &[&dir]).exits(0).says(&[NOTE]).text(), EXPORTED);
    run("stats {}", &[&dir]).exits(0).says(&[NOTE]);
    run("query {}", &[&dir]).exits(0).says(&[NOTE]);
    assert!(run("verify {}", &[&dir]).exits(0).text().contains(NOTE));
    let json = run("verify {} --format json", &[&dir]).exits(0).json();
    let files = json["files"].as_array().expect("files");
    assert!(files.iter().any(|file| file["notes"][0]["offset"] == 23 && file["ok"] == true), "{json}");
    for path in [&dir, &segment] {
        assert!(run("inspect {}", &[path]).exits(0).text().contains(NOTE));
        assert!(run("repair {} --dry-run", &[path]).exits(0).text().contains(NOTE));
    }
    assert_eq!(run("export {}", &[&segment]).exits(0).says(&[NOTE]).text(), &EXPORTED[8..]);
    assert!(before == content(&dir), "nothing was changed");

    // Opening adds checksums to the records, so they are reported only once.
    let more = scratch.file("more.lp", "m v=10 10\n");
    run("import {} {}", &[&dir, &more]).exits(0).says(&[NOTE]);
    let exported = run("export {}", &[&dir]).exits(0);
    assert_eq!((exported.text(), exported.stderr.as_str()), (format!("{EXPORTED}m v=10 10\n"), ""));
    assert!(!run("verify {}", &[&dir]).exits(0).text().contains("note "));
}

#[test]
fn every_writing_verb_keeps_records_of_influxd() {
    for (line, points) in [
        ("repair {}", EXPORTED),
        ("snapshot {}", EXPORTED),
        ("compact {} --full", EXPORTED),
        ("delete {} --measurement m --end 1", &EXPORTED[8..]),
    ] {
        let scratch = Scratch::new();
        let (dir, segment) = crashed(&scratch);
        influxd(&segment);
        let done = run(line, &[&dir]).exits(0);
        assert!(done.stderr.contains(NOTE) || done.text().contains(NOTE), "{line}: {done:?}");
        let exported = run("export {}", &[&dir]).exits(0);
        assert_eq!((exported.text().as_str(), exported.stderr.as_str()), (points, ""), "{line}");
    }
}

/// Story: influxd created a segment after our torn one. Recovery reported corruption, and no verb opened the directory.
#[test]
fn a_segment_of_influxd_after_ours_is_accepted() {
    let scratch = Scratch::new();
    let (dir, segment) = crashed(&scratch);
    let (own, theirs) = (fs::read(&segment).expect("reads"), segment.with_file_name("_00004.wal"));
    influxd(&segment);
    let both = fs::read(&segment).expect("reads");
    fs::write(&segment, &own[..own.len() - 10]).expect("writes");
    fs::write(&theirs, &both[own.len() - 10..]).expect("writes");
    let exported = run("export {}", &[&dir]).exits(0).says(&["2 records "]);
    assert_eq!(exported.text(), EXPORTED);
    run("snapshot {}", &[&dir]).exits(0);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), EXPORTED);
}
