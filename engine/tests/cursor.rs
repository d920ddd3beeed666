//! Cursors over a key in several files and in the cache, in both directions.

#[path = "support/engine.rs"]
mod engine;

use tsmith_engine::view::View;
use tsmith_engine::{
    Column, Direction, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, LineOptions, Options, TimeRange,
    Timestamp, Values,
};

type Shard = DynEngine;

const KEY: FieldKey<'_> = FieldKey { series: b"m,t=a", field: b"v" };

/// Writes `value` at the times `from..to` with a step.
fn write(shard: &Shard, (from, to, step): (i64, i64, usize), value: i64) {
    let text: String = (from..to).step_by(step).map(|time| format!("m,t=a v={value}i {time}\n")).collect();
    let report = shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).expect("writes");
    assert!(report.rejected.is_empty());
}

/// Three overlapping files, and the cache over a part of them. Returns the newest value of each time.
fn filled(dir: &tempfile::TempDir) -> (Shard, Vec<(i64, i64)>) {
    let options = Options { background: false, ..Options::default() };
    let shard = engine::open(Dirs::under(dir.path()), options).expect("a new directory");
    let mut model = std::collections::BTreeMap::new();
    let writes = [(0, 5000, 1), (2500, 7000, 3), (4000, 4500, 1), (4200, 9000, 7)];
    for (value, range) in (1..).zip(writes) {
        write(&shard, range, value);
        model.extend((range.0..range.1).step_by(range.2).map(|time| (time, value)));
        if value < 4 {
            shard.snapshot().expect("writes a file");
        }
    }
    assert_eq!(shard.files().len(), 3);
    (shard, model.into_iter().collect())
}

fn points(column: &Column) -> Vec<(i64, i64)> {
    let Values::Integer(values) = column.values() else { panic!("integers") };
    column.times().iter().copied().zip(values.iter().copied()).collect()
}

#[test]
fn both_ends_give_the_newest_points() {
    let dir = tempfile::tempdir().expect("a directory");
    let (shard, mut expected) = filled(&dir);
    let (mut reader, mut batch) = (shard.reader(), Column::new(FieldType::Float));
    for direction in [Direction::Ascending, Direction::Descending] {
        reader.begin(KEY, TimeRange::ALL, direction).expect("one type");
        let mut read = Vec::new();
        while reader.next(&mut batch).expect("reads") {
            read.extend(points(&batch));
        }
        assert_eq!(read, expected, "{direction:?}");
        reader.seek(4321);
        assert!(reader.next(&mut batch).expect("reads"));
        assert_eq!(batch.times()[0], 4321, "{direction:?}");
        expected.reverse();
    }
    let inside = TimeRange::new(4100, 4700);
    expected.retain(|(time, _)| inside.contains(*time));
    assert_eq!(points(&shard.read(KEY, inside).expect("reads")), expected);
    shard.close().expect("closes");
}

/// Story: an unreadable block hid the complete key from queries and exports.
#[test]
fn a_view_continues_after_a_corrupt_block() {
    let dir = tempfile::tempdir().expect("a directory");
    let (shard, expected) = filled(&dir);
    let path = shard.files()[0].path().to_owned();
    let entry = shard.files()[0].reader().get(0).and_then(|key| key.entry(1)).expect("a second block");
    shard.close().expect("closes");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[entry.offset as usize + 6] ^= 1;
    std::fs::write(&path, bytes).expect("writes");

    let view = View::open(&tsmith_engine::Registry::standard(), dir.path(), Some(&dir.path().join("wal")))
        .expect("opens");
    let (mut reader, mut batch) = (view.reader(), Column::new(FieldType::Float));
    reader.read(KEY, TimeRange::ALL, &mut batch).expect_err("a read returns all points or an error");
    reader.begin(KEY, TimeRange::ALL, Direction::Ascending).expect("one type");
    let (mut read, mut errors) = (Vec::new(), Vec::new());
    loop {
        match reader.next(&mut batch) {
            Ok(true) => read.extend(points(&batch)),
            Ok(false) => break,
            Err(error) => errors.push(error),
        }
    }
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let ErrorKind::Tsm(corrupt) = error.kind() else { panic!("{error}") };
    assert_eq!(corrupt.offset(), Some(entry.offset), "{error}");
    // Its times are 1000 to 1999. No other file has them.
    let left: Vec<_> = expected.into_iter().filter(|(time, _)| !entry.range.contains(*time)).collect();
    assert_eq!(read, left);
}
