//! Every store returns the points that were written. Servers that are not installed are skipped.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use tsmith_bench::{Keeps, OpenPeer, StorePeer};
use tsmith_codecs::{Batch, BatchBuilder, Column, FieldKey, FieldType, SeriesKey, TimeRange, Value};
use tsmith_peers::store::{Fjall, Influxd, Redb, VictoriaMetrics};

const SECOND: i64 = 1_000_000_000;

const BEGIN: i64 = 1_600_000_000;

/// Names with special characters, and a series whose tags are a part of another's.
const SERIES: [&[u8]; 4] = [b"m,h=a", b"m,h=a,z=b", br"odd\ name,k\,1=v\=2", b"plain"];

/// Points of all types, one each second.
fn batch(times: Range<i64>, shift: f64) -> Batch<'static> {
    let mut builder = BatchBuilder::new();
    for time in times {
        for series in SERIES {
            let text = format!("a \"{time}\" \\ b");
            let float = if time == 3 { -0.0 } else { time as f64 / 3.0 + shift };
            builder.begin(series.into());
            for (name, value) in [
                (&b"f"[..], Value::Float(float)),
                (b"ff", Value::Float(1e200 * float)),
                (b"i", Value::Integer(i64::MAX - time)),
                (b"b", Value::Boolean(time % 2 == 0)),
                (b"s x", Value::String(text.as_bytes())),
            ] {
                builder.field(name.into(), value).expect("one type");
            }
            builder.commit((BEGIN + time) * SECOND);
        }
    }
    builder.finish()
}

/// The second batch replaces some points of the first, if the store can do that.
fn batches(exact: bool) -> [Batch<'static>; 2] {
    [batch(0..50, 0.0), batch(if exact { 40..90 } else { 50..90 }, 0.1)]
}

type Columns = BTreeMap<Vec<u8>, Column>;

fn written(peer: &dyn StorePeer, batches: &[Batch<'_>], range: TimeRange) -> Columns {
    let mut all = Columns::new();
    for (key, data) in batches.iter().flat_map(Batch::columns) {
        if peer.keeps(data.field_type()) != Keeps::Nothing {
            let column = all.entry(key.to_composite()).or_insert_with(|| Column::new(data.field_type()));
            column.extend(data).expect("one type");
        }
    }
    for column in all.values_mut() {
        column.sort_dedup();
        column.retain_within(range);
    }
    all
}

fn insert(all: &mut Columns, key: FieldKey<'_>, column: &Column) {
    assert!(all.insert(key.to_composite(), column.clone()).is_none(), "{key} twice");
}

fn scanned(open: &dyn OpenPeer) -> Columns {
    let mut all = Columns::new();
    open.scan(&mut |key, column| insert(&mut all, key, column)).expect("scans");
    all
}

fn queried(open: &dyn OpenPeer, fields: &[&[u8]], range: TimeRange) -> Columns {
    let mut all = Columns::new();
    for series in SERIES {
        let found = &mut |key: FieldKey<'_>, column: &Column| insert(&mut all, key, column);
        open.range(SeriesKey(series), fields, range, found).expect("queries");
    }
    all
}

fn values(columns: &Columns) -> usize {
    columns.values().map(Column::len).sum()
}

/// Law: points in, points out; also after closing.
fn keeps_points(peer: &dyn StorePeer) {
    if let Some(why) = peer.missing() {
        eprintln!("skipped: {why}");
        return;
    }
    let exact = peer.keeps(FieldType::Float) == Keeps::Exactly;
    let (batches, dir) = (batches(exact), tempfile::tempdir().expect("a directory"));
    let some = TimeRange::new((BEGIN + 30) * SECOND, (BEGIN + 45) * SECOND);
    let fields: &[&[u8]] = &[b"f", b"i", b"b", b"s x"];
    let all_expected = written(peer, &batches, TimeRange::ALL);
    let mut expected = written(peer, &batches, some);
    expected.retain(|key, _| !key.ends_with(b"#!~#ff"));
    let check = |open: &dyn OpenPeer| {
        let (all, found) = (scanned(open), queried(open, fields, some));
        if exact {
            assert!(all == all_expected, "{all:?} is not {all_expected:?}");
            assert!(found == expected, "{found:?} is not {expected:?}");
        } else {
            assert_eq!((values(&all), values(&found)), (values(&all_expected), values(&expected)));
        }
    };
    for durable in [true, false] {
        let dir = dir.path().join(durable.to_string());
        std::fs::create_dir(&dir).expect("creates");
        let open = peer.open(&dir, durable).expect("opens");
        for batch in &batches {
            open.write(batch, &peer.prepare(batch)).expect("writes");
        }
        check(&*open);
        if !durable {
            open.flush().expect("flushes");
        }
        open.close().expect("closes");
        let open = peer.open(&dir, false).expect("opens again");
        check(&*open);
        open.close().expect("closes");
    }
}

#[test]
fn fjall_keeps_points() {
    keeps_points(&Fjall);
}

#[test]
fn redb_keeps_points() {
    keeps_points(&Redb);
}

#[test]
fn influxd_keeps_points() {
    keeps_points(&Influxd);
}

#[test]
fn victoria_metrics_keeps_the_number_of_points() {
    keeps_points(&VictoriaMetrics);
}

#[test]
fn server_ends_with_its_store() {
    if Influxd.missing().is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = Influxd.open(dir.path(), true).expect("opens");
        let process = PathBuf::from(format!("/proc/{}", open.process().expect("a server")));
        assert!(process.exists());
        drop(open);
        assert!(!process.exists());
    }
}
