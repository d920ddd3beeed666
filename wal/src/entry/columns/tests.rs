use tsmith_codecs::{BatchBuilder, RunBuilder, Value};

use super::*;
use crate::entry::{self, Entry, Layout};
use crate::{ErrorKind, RecordKind};

fn encoded(batch: &Batch<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Layout::Columns.encode_write(batch, &mut out).expect("encodes");
    out
}

fn decoded(payload: &[u8]) -> Batch<'_> {
    match entry::decode(RecordKind::Write, payload) {
        Ok(Entry::Write(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

fn same(a: &Batch<'_>, b: &Batch<'_>) {
    assert_eq!(a.value_count(), b.value_count());
    assert!(a.columns().eq(b.columns()), "columns differ");
}

/// Points of up to a hundred hosts with ten fields each.
fn fleet(points: usize) -> Batch<'static> {
    let mut builder = BatchBuilder::new();
    for point in 0..points {
        let host = point % 100;
        let key =
            format!("cpu,arch=x{},hostname=host_{host},rack={},region=eu-{}", host % 2, host % 7, host % 3);
        builder.begin(key.into_bytes().into());
        for field in 0..10 {
            let value = Value::Float((point * 37 + field * 11) as f64 % 10_000.0 / 100.0);
            builder.field(format!("usage_{field}").into_bytes().into(), value).expect("one type");
        }
        builder.commit(1_600_000_000_000_000_000 + (point / 100) as i64 * 10_000_000_000);
    }
    builder.finish()
}

fn odd_floats() -> Vec<f64> {
    let mut floats = vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, f64::MIN_POSITIVE];
    floats.extend([
        0.1,
        0.2,
        0.1 + 0.2,
        1e15,
        1e16,
        1e300,
        4.5e15,
        2_251_799_813_685_247.0,
        1.0 / 3.0,
        5e-324,
    ]);
    floats.extend((0..600).map(|n| f64::from(n) / 8.0));
    floats.extend((0..600).map(|n| f64::from(n).sqrt()));
    floats.extend((0..600).map(|n| if n % 9 == 0 { f64::NAN } else { f64::from(n) / 10.0 }));
    floats
}

/// Columns of every type with their own times. Some keys have empty parts, and one series occurs twice.
fn medley() -> Batch<'static> {
    let mut runs = RunBuilder::new();
    let mut column = |series: &'static [u8], field: &'static [u8], points: Vec<(i64, Value<'_>)>| {
        runs.begin(series.into(), field.into(), points[0].1.field_type());
        assert!(points.into_iter().all(|(time, value)| runs.push(time, value)));
    };
    for series in [&b"m,a=b"[..], b"m,a=b,,", b",", b"", b"m,a=b"] {
        column(
            series,
            b"f",
            odd_floats().into_iter().enumerate().map(|(n, v)| (n as i64, Value::Float(v))).collect(),
        );
        column(series, b"", vec![(i64::MIN, Value::Integer(i64::MAX)), (i64::MAX, Value::Integer(i64::MIN))]);
        column(series, b"u", vec![(5, Value::Unsigned(u64::MAX)), (4, Value::Unsigned(0))]);
        column(series, b"b", (0..300).map(|n| (n * 1000, Value::Boolean(n % 3 == 0))).collect());
        column(
            series,
            b"s",
            vec![(1, Value::String(b"")), (1, Value::String(b"x,y")), (2, Value::String(&[0xff; 300]))],
        );
    }
    runs.finish()
}

#[test]
fn batches_come_back() {
    for points in [1, 2, 99, 100, 101, 1000] {
        let batch = fleet(points);
        same(&decoded(&encoded(&batch)), &batch);
    }
    let batch = medley();
    assert_eq!(batch.series_count(), 5);
    same(&decoded(&encoded(&batch)), &batch);
    same(&decoded(&encoded(&Batch::default())), &Batch::default());
}

#[test]
fn a_fleet_takes_few_bytes() {
    let batch = fleet(5000);
    let (mut influx, packed) = (Vec::new(), encoded(&batch));
    Layout::Influx.encode_write(&batch, &mut influx).expect("encodes");
    let snappy = snap::raw::Encoder::new().compress_vec(&influx).expect("compresses");
    assert!(packed.len() * 5 < snappy.len() * 2, "{} packed, {} as InfluxDB's", packed.len(), snappy.len());
    let one = fleet(1);
    assert!(encoded(&one).len() < 250, "{}", encoded(&one).len());
}

/// 256 equal values take two bytes, which is the maximum number of values per byte.
#[test]
fn the_densest_batch_is_within_the_limit() {
    let mut runs = RunBuilder::new();
    for series in 0..40_u8 {
        for field in 0..40_u8 {
            runs.begin(vec![b's', series].into(), vec![field].into(), FieldType::Integer);
            assert!((0..256).all(|time| runs.push(time, Value::Integer(7))));
        }
    }
    let batch = runs.finish();
    same(&decoded(&encoded(&batch)), &batch);
}

#[test]
fn hostile_bytes_are_an_error_or_another_batch() {
    for batch in [fleet(30), medley(), devops(3), keepsake()] {
        let intact = encoded(&batch);
        for len in 0..intact.len().min(4000) {
            let cut = entry::decode(RecordKind::Write, &intact[..len]);
            // An empty payload is InfluxDB's empty write.
            assert!(cut.is_err() || len == 0, "cut at {len}");
        }
        for (at, bit) in (0..intact.len().min(2500)).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << bit;
            if let Err(error) = entry::decode(RecordKind::Write, &bytes) {
                assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
                assert!(error.offset().is_some_and(|offset| offset <= bytes.len() as u64));
            }
        }
    }
}

/// Story: a few bytes claimed many series and fields, and the reader allocated memory for their product.
#[test]
fn claimed_columns_are_checked_before_allocating() {
    let mut bytes = vec![TAG];
    words::put_varint(VALUES_MAX as u64, &mut bytes);
    words::put_varint(60_000, &mut bytes);
    words::put_varint(60_000, &mut bytes);
    let claimed = bytes.len() as u64;
    bytes.resize(200_000, 0);
    let error = entry::decode(RecordKind::Write, &bytes).expect_err("too many columns");
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    assert_eq!(error.offset(), Some(claimed), "{error}");
}

/// Story: a token of three bytes repeated a long text, and the reader copied the text for each of thousands of keys.
#[test]
fn repeated_texts_have_a_memory_limit() {
    let (series, text) = (2000, 60_000);
    let mut bytes = vec![TAG];
    for number in [series, series, 1] {
        words::put_varint(number, &mut bytes);
    }
    bytes.extend([4, b'f', 1]);
    let named = bytes.len();
    words::put_varint(1, &mut bytes);
    words::put_varint(4 * text, &mut bytes);
    bytes.resize(bytes.len() + text as usize, b'x');
    let repeats = [&bytes[..], &[1, 3].repeat(series as usize)].concat();
    // Here each text is one byte longer than the one before.
    bytes.truncate(named);
    for shared in 0..series {
        words::put_varint(1, &mut bytes);
        words::put_varint(if shared == 0 { 4 * text } else { 6 }, &mut bytes);
        if shared == 0 {
            bytes.resize(bytes.len() + text as usize, b'x');
        } else {
            words::put_varint(text + shared - 1, &mut bytes);
            bytes.push(b'y');
        }
    }
    for hostile in [repeats, bytes] {
        let error = entry::decode(RecordKind::Write, &hostile).expect_err("120 MB of keys");
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
        // The limit is reached among the keys, not at the end of the payload.
        let end = hostile.len() as u64;
        assert!(error.offset().is_some_and(|offset| offset > text && offset < end), "{error}");
    }
}

/// A point of each of these hosts, with ten tags and ten fields, as benchmarks of databases send them.
fn devops(hosts: usize) -> Batch<'static> {
    let mut builder = BatchBuilder::new();
    for host in 0..hosts {
        let [region, rack, service] = [host % 9, host * 37 % 100, host * 11 % 20];
        let key = format!(
            "cpu,arch=x64,datacenter=eu-west-{region}b,hostname=host_{host},os=Ubuntu16.04LTS,rack={rack},\
             region=eu-west-{region},service={service},service_environment=production,service_version={},team=LON",
            host % 2
        );
        builder.begin(key.into_bytes().into());
        let names =
            ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];
        for (at, name) in names.iter().enumerate() {
            let value = Value::Float(((host * 7919 + at * 1033) % 10_001) as f64 / 100.0);
            builder.field(format!("usage_{name}").into_bytes().into(), value).expect("one type");
        }
        builder.commit(1_600_000_000_000_000_000);
    }
    builder.finish()
}

/// Columns of every type, with one value and with several. Floats are tenths, full-precision values and exceptions. Some
/// columns share their times.
fn keepsake() -> Batch<'static> {
    let mut runs = RunBuilder::new();
    let mut column = |series: &'static [u8], field: &'static [u8], points: Vec<(i64, Value<'_>)>| {
        runs.begin(series.into(), field.into(), points[0].1.field_type());
        assert!(points.into_iter().all(|(time, value)| runs.push(time, value)));
    };
    for series in [&b"m,host=a,zone=1"[..], b"m,host=ab,zone=1", b"other"] {
        column(series, b"value", vec![(1_000_000, Value::Float(12.5))]);
        column(series, b"value_f", vec![(1_000_000, Value::Float(1.0 / 3.0))]);
        column(series, b"value_i", vec![(1_000_000, Value::Integer(-70_000))]);
    }
    let floats = (0..9).map(|n| (n, Value::Float(if n == 4 { f64::NAN } else { n as f64 / 10.0 })));
    column(b"late", b"f", floats.collect());
    column(b"late", b"u", vec![(5, Value::Unsigned(u64::MAX)), (4, Value::Unsigned(0))]);
    column(b"late", b"b", (0..3).map(|n| (n * 1000, Value::Boolean(n == 1))).collect());
    column(b"late", b"s", vec![(1, Value::String(b"")), (1, Value::String(b"x,y"))]);
    runs.finish()
}

/// Story: each name was stored in full. A payload of a single point consists mostly of names, so it was nearly as large as
/// InfluxDB's compressed entry.
#[test]
fn few_points_take_few_bytes() {
    for (hosts, most) in [(1, 275), (2, 415), (100, 6_500), (1000, 39_000)] {
        let batch = devops(hosts);
        let packed = encoded(&batch);
        assert!(packed.len() < most, "{hosts} hosts: {} bytes", packed.len());
        same(&decoded(&packed), &batch);
    }
}
