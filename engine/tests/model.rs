//! Random writes, deletes, snapshots, compactions and crashes, compared with a simple map. Runs with two
//! storers and with blocks of InfluxDB's and of our format.

#[path = "support/engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tsmith_engine::{
    BatchBuilder, Compact, Dirs, DynEngine, FieldKey, FieldType, Options, Selection, TimeRange, Value,
};
use tsmith_wal::testing::SimFs;

const SERIES: [&str; 4] = ["cpu,host=a", "cpu,host=b", "m", "wide\\,name,t=x"];
const MEASUREMENTS: [&str; 3] = ["cpu", "m", "wide\\,name"];
/// A field of each type.
const FIELDS: [(&str, FieldType); 5] = [
    ("f", FieldType::Float),
    ("i", FieldType::Integer),
    ("u", FieldType::Unsigned),
    ("b", FieldType::Boolean),
    ("s", FieldType::String),
];

#[derive(Clone, Copy, Debug)]
enum What {
    Key(usize, usize),
    Series(usize),
    Measurement(usize),
}

#[derive(Clone, Debug)]
enum Op {
    /// Writes the first `fields` fields of these series at consecutive times. Values follow from `number`.
    Write {
        series: Vec<usize>,
        fields: usize,
        from: i64,
        count: i64,
        number: i64,
    },
    Delete(What, i64, i64),
    Snapshot,
    Compact(Compact),
    Close,
    /// A power cut. Everything is acknowledged, so everything must survive.
    Crash(u64),
    Read {
        series: usize,
        field: usize,
        from: i64,
        to: i64,
    },
}

type Model = BTreeMap<(usize, usize), BTreeMap<i64, i64>>;

fn range() -> impl Strategy<Value = (i64, i64)> {
    prop_oneof![
        8 => (-30i64..60, 0i64..30).prop_map(|(from, len)| (from, from + len)),
        1 => (-30i64..60).prop_map(|to| (i64::MIN, to)),
        1 => Just((i64::MIN, i64::MAX)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let series = 0..SERIES.len();
    let field = 0..FIELDS.len();
    let what = prop_oneof![
        3 => (series.clone(), field.clone()).prop_map(|(series, field)| What::Key(series, field)),
        1 => series.clone().prop_map(What::Series),
        1 => (0..MEASUREMENTS.len()).prop_map(What::Measurement),
    ];
    let compact = prop_oneof![Just(Compact::Due), Just(Compact::Fast), Just(Compact::Full)];
    prop_oneof![
        10 => (prop::collection::vec(series.clone(), 1..3), 1..=FIELDS.len(), -30i64..60, 1i64..20, 0i64..1000)
            .prop_map(|(series, fields, from, count, number)| Op::Write { series, fields, from, count, number }),
        5 => (what, range()).prop_map(|(what, (from, to))| Op::Delete(what, from, to)),
        4 => Just(Op::Snapshot),
        2 => compact.prop_map(Op::Compact),
        1 => Just(Op::Close),
        2 => any::<u64>().prop_map(Op::Crash),
        5 => (series, field, range())
            .prop_map(|(series, field, (from, to))| Op::Read { series, field, from, to }),
    ]
}

fn text(number: i64) -> String {
    number.to_string().repeat(number.rem_euclid(7) as usize)
}

/// The value that follows from a number.
fn value(field_type: FieldType, number: i64, text: &str) -> Value<'_> {
    match field_type {
        FieldType::Float => Value::Float(number as f64 / 4.0),
        FieldType::Integer => Value::Integer(-number),
        FieldType::Unsigned => Value::Unsigned(number.cast_unsigned()),
        FieldType::Boolean => Value::Boolean(number % 2 == 0),
        FieldType::String => Value::String(text.as_bytes()),
    }
}

fn key(series: usize, field: usize) -> FieldKey<'static> {
    FieldKey::new(SERIES[series].as_bytes(), FIELDS[field].0.as_bytes())
}

fn open(fs: &SimFs, names: &str) -> DynEngine<SimFs> {
    let mut options = Options { background: false, encode_threads: 1, ..Options::default() };
    options.log.segment_bytes = 4096;
    engine::open_parts(fs.clone(), names, Dirs::under(Path::new("/shard")), options).expect("opens")
}

fn write(engine: &DynEngine<SimFs>, series: &[usize], fields: usize, from: i64, count: i64, number: i64) {
    let mut builder = BatchBuilder::new();
    for &series in series {
        for time in from..from + count {
            let text = text(number + time);
            builder.begin(SERIES[series].as_bytes().into());
            for (name, field_type) in &FIELDS[..fields] {
                let value = value(*field_type, number + time, &text);
                builder.field(name.as_bytes().into(), value).expect("one type");
            }
            builder.commit(time);
        }
    }
    let _ack = engine.write(&builder.finish()).expect("enough space");
}

fn check(
    engine: &DynEngine<SimFs>,
    model: &Model,
    (series, field): (usize, usize),
    (from, to): (i64, i64),
    what: &str,
) {
    let key = key(series, field);
    let column = engine.read(key, TimeRange::new(from, to)).expect("readable");
    let none = BTreeMap::new();
    let expected = model.get(&(series, field)).unwrap_or(&none).range(from..=to);
    let expected: Vec<(i64, i64)> = expected.map(|(time, number)| (*time, *number)).collect();
    let times: Vec<i64> = expected.iter().map(|(time, _)| *time).collect();
    assert_eq!(column.times(), times, "{what}: {key}");
    for (at, (time, number)) in expected.iter().enumerate() {
        let text = text(*number);
        let expected = value(FIELDS[field].1, *number, &text);
        assert_eq!(column.as_ref().values().get(at), expected, "{what}: {key} at {time}");
    }
}

fn delete(engine: &DynEngine<SimFs>, model: &mut Model, what: What, (from, to): (i64, i64)) {
    let selection = match what {
        What::Key(series, field) => Selection::Key(key(series, field)),
        What::Series(series) => Selection::Series(tsmith_codecs::SeriesKey(SERIES[series].as_bytes())),
        What::Measurement(name) => Selection::Measurement(MEASUREMENTS[name].as_bytes()),
    };
    engine.delete(selection, TimeRange::new(from, to)).expect("deleted");
    for ((series, field), points) in model.iter_mut() {
        let hit = match what {
            What::Key(s, f) => (s, f) == (*series, *field),
            What::Series(s) => s == *series,
            What::Measurement(name) => {
                SERIES[*series] == MEASUREMENTS[name]
                    || SERIES[*series].starts_with(&format!("{},", MEASUREMENTS[name]))
            }
        };
        if hit {
            points.retain(|time, _| !(from..=to).contains(time));
        }
    }
}

fn play(ops: &[Op], names: &str) {
    let mut fs = SimFs::default();
    let mut engine = open(&fs, names);
    let mut model = Model::new();
    for (step, op) in ops.iter().enumerate() {
        match op {
            Op::Write { series, fields, from, count, number } => {
                write(&engine, series, *fields, *from, *count, *number);
                for &series in series {
                    for field in 0..*fields {
                        let points = model.entry((series, field)).or_default();
                        points.extend((*from..from + count).map(|time| (time, number + time)));
                    }
                }
            }
            Op::Delete(what, from, to) => delete(&engine, &mut model, *what, (*from, *to)),
            Op::Snapshot => drop(engine.snapshot().expect("enough space")),
            Op::Compact(what) => drop(engine.compact(*what).expect("compacts")),
            Op::Close => {
                engine.close().expect("closes");
                engine = open(&fs, names);
            }
            Op::Crash(seed) => {
                let crashed = fs.crash(*seed);
                drop(engine);
                fs = crashed;
                engine = open(&fs, names);
            }
            Op::Read { series, field, from, to } => {
                check(&engine, &model, (*series, *field), (*from, *to), &format!("step {step}"));
            }
        }
    }
    let named = engine.keys();
    for series in 0..SERIES.len() {
        for field in 0..FIELDS.len() {
            check(&engine, &model, (series, field), (i64::MIN, i64::MAX), "at the end");
            let has_points = model.get(&(series, field)).is_some_and(|points| !points.is_empty());
            assert!(!has_points || named.contains(&key(series, field).to_composite()));
        }
    }
    engine.snapshot().expect("enough space");
    engine.compact(Compact::Full).expect("compacts");
    let named = engine.keys();
    for series in 0..SERIES.len() {
        for field in 0..FIELDS.len() {
            check(&engine, &model, (series, field), (i64::MIN, i64::MAX), "compacted");
            let has_points = model.get(&(series, field)).is_some_and(|points| !points.is_empty());
            assert_eq!(
                has_points,
                named.contains(&key(series, field).to_composite()),
                "keys without points are not listed"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_and_influxdb_blocks_match_the_map(ops in prop::collection::vec(op(), 1..60)) {
        play(&ops, "ring/file/tsm1");
    }

    #[test]
    fn hashmap_and_zstd_blocks_match_the_map(ops in prop::collection::vec(op(), 1..60)) {
        play(&ops, "hashmap/file/zstd");
    }
}
