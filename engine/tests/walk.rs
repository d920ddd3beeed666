//! One value from line protocol to the log, into a file and back, and across restarts.

use tsmith_engine::parts::{FileLog, Ring, Tsm1};
use tsmith_engine::{
    Column, Dirs, Engine, FieldKey, FieldType, LineOptions, Options, TimeRange, Timestamp, Value,
};

type Shard = Engine<Ring, FileLog, Tsm1>;

#[test]
fn one_value_goes_from_a_line_to_disk_and_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let dirs = Dirs::under(dir.path());
    let key = FieldKey::new(b"weather,station=JFK", b"temp");
    let mut expected = Column::new(FieldType::Float);
    expected.push(1_357_020_000_000_000_000, Value::Float(39.02)).expect("one type");

    // A line becomes a batch. The cache admits it, the log makes it durable, the cache shows it.
    let shard = Shard::open(dirs.clone(), Options::default()).expect("a new directory");
    let line = b"weather,station=JFK temp=39.02 1357020000000000000\n";
    let report = shard.write_lines(line, &LineOptions::new(Timestamp(0))).expect("enough space");
    assert!(report.rejected.is_empty() && report.ack.is_some());
    assert_eq!(shard.read(key, TimeRange::ALL).expect("from the cache"), expected);

    // After closing and reopening, it comes from the log.
    shard.close().expect("closes");
    let shard = Shard::open(dirs.clone(), Options::default()).expect("the same parts");
    assert_eq!(shard.recovery().records, 1);
    assert_eq!(shard.read(key, TimeRange::ALL).expect("from the replayed cache"), expected);

    // A snapshot encodes it into a TSM file and truncates the log.
    let report = shard.snapshot().expect("enough space");
    assert_eq!((report.files.len(), report.keys, report.values), (1, 1, 1));
    assert_eq!(shard.cache_bytes(), 0);
    assert_eq!(shard.read(key, TimeRange::ALL).expect("from the file"), expected);
    shard.close().expect("closes");

    let shard = Shard::open(dirs, Options::default()).expect("the same parts");
    assert_eq!(shard.recovery().records, 0);
    assert_eq!(shard.read(key, TimeRange::ALL).expect("from the file again"), expected);
    assert!(shard.read(key, TimeRange::new(0, 5)).expect("a range without points").is_empty());
}
