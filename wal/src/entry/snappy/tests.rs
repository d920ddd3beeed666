use proptest::prelude::*;
use tsmith_codecs::{Batch, BatchBuilder, Value};

use super::SnappyWrites;
use crate::entry::encode_write;

/// An owned value of any type.
#[derive(Clone, Debug)]
enum Any {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(String),
}

impl Any {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Float(v) => Value::Float(*v),
            Self::Integer(v) => Value::Integer(*v),
            Self::Unsigned(v) => Value::Unsigned(*v),
            Self::Boolean(v) => Value::Boolean(*v),
            Self::String(v) => Value::String(v.as_bytes()),
        }
    }
}

/// Series, time and fields.
type Line = (String, i64, Vec<Any>);

/// A line with a key that shares much or little with others, any time, and one to five fields of fixed types.
fn any_line() -> impl Strategy<Value = Line> {
    let key = prop_oneof![
        "cpu(,host=h[0-9]{1,3})?,rack=[ab]{1,20},region=(north-west|north|n)",
        "[a-z]{1,3}",
        "m,t=[x]{0,300}(,u=,)?",
        "host=,{0,3}",
    ];
    let time = prop_oneof![0..20i64, any::<i64>(), (0..50i64).prop_map(|t| t * 10_000_000_000)];
    let fields = (
        prop_oneof![any::<f64>(), (0..100u8).prop_map(|v| f64::from(v) / 100.0)],
        prop_oneof![any::<i64>(), 0..300i64],
        prop_oneof![any::<u64>(), Just(7)],
        any::<bool>(),
        prop_oneof!["[ab]{0,12}", "[a-z]{0,2000}", "(abcd){0,200}"],
    );
    (key, time, fields, 1..6usize).prop_map(|(key, time, (a, b, c, d, e), len)| {
        let mut fields =
            vec![Any::Float(a), Any::Integer(b), Any::Unsigned(c), Any::Boolean(d), Any::String(e)];
        fields.rotate_left(key.len() % 2);
        fields.truncate(len);
        (key, time, fields)
    })
}

fn name(value: &Any) -> &'static [u8] {
    match value {
        Any::Float(_) => b"usage_user",
        Any::Integer(_) => b"i",
        Any::Unsigned(_) => b"usage_system",
        Any::Boolean(_) => b"up",
        Any::String(_) => b"text",
    }
}

/// Encodes a batch of these lines and checks that it decompresses to its payload. Returns the compressed length.
fn check(writes: &mut SnappyWrites, lines: &[Line]) -> usize {
    let mut builder = BatchBuilder::new();
    for (key, time, fields) in lines {
        builder.begin(key.as_bytes().into());
        for field in fields {
            let _ = builder.field(name(field).into(), field.value()).expect("one type per field");
        }
        builder.commit(*time);
    }
    check_batch(writes, &builder.finish())
}

fn check_batch(writes: &mut SnappyWrites, batch: &Batch<'_>) -> usize {
    let (mut payload, mut out) = (Vec::new(), b"head".to_vec());
    encode_write(batch, &mut payload).expect("encodes");
    let end = writes.encode(batch, &mut out, 4).expect("encodes");
    assert!(out.starts_with(b"head"));
    let back = snap::raw::Decoder::new().decompress_vec(&out[4..end]).expect("valid Snappy");
    assert!(back == payload, "decompresses to another payload");
    assert!(end - 4 <= snap::raw::max_compress_len(payload.len()));
    end - 4
}

proptest! {
    #[test]
    fn output_decompresses_to_the_payload(batches in prop::collection::vec(prop::collection::vec(any_line(), 0..40), 1..4)) {
        let mut writes = SnappyWrites::default();
        for lines in &batches {
            check(&mut writes, lines);
        }
    }
}

/// The previous occurrence is too far back for the offset of a copy, so the bytes are written as a literal.
#[test]
fn bytes_beyond_the_reach_of_a_copy_are_literals() {
    let key = |host: usize| format!("cpu,host={host},rack=a");
    let fields = |i: usize| {
        let text = "text".repeat(i % 5);
        vec![Any::Float(i as f64 / 3.0), Any::Integer(i as i64), Any::Boolean(true), Any::String(text)]
    };
    let mut writes = SnappyWrites::default();
    for points in [1, 100, 4000, 4095, 4096, 4097, 9000] {
        let lines: Vec<Line> =
            (0..3 * points).map(|i| (key(i / points), (i % points) as i64 * 1_000, fields(i))).collect();
        check(&mut writes, &lines);
    }
    let long = |host: usize| format!("cpu,{}host={host}", "tag=value,".repeat(6_000));
    let lines: Vec<Line> = (0..9).map(|i| (long(i / 3), i as i64, fields(i))).collect();
    check(&mut writes, &lines);
}

/// Story: the reach of a copy was checked before its key was written, and that key was longer than the previous one. An offset
/// of 65,536 became 0, and the record was unreadable. The test tries every distance around the limit, for each kind of copy.
#[test]
fn the_last_byte_within_reach_is_the_last() {
    const POINTS: usize = 4080;
    let mut writes = SnappyWrites::default();
    let fields = |i: usize| vec![Any::Float(i as f64 / 100.0 + 1.0), Any::Unsigned(i as u64)];
    let time = |i: usize| i as i64 * 1_000_000;
    let fixed = 3 + "m,a=,b=,c=west#!~#usage_user".len() + 4 + POINTS * 16;
    for column in 65_536 - 24..65_536 + 8 {
        let pad = "x".repeat(column - fixed);
        for longer in [0, 1, 7] {
            let key = |series: usize| format!("m,a={pad},b={},c=west", "y".repeat(series * longer));
            // Two long columns of one field, then two fields of a third series, and a fourth.
            let long = (0..2 * POINTS).map(|i| (key(i / POINTS), time(i % POINTS), fields(i)[..1].to_vec()));
            let short = (0..6).map(|i| (key(2 + i / 3), time(i % 3), fields(i % 3)));
            check(&mut writes, &long.chain(short).collect::<Vec<Line>>());
        }
    }
}

/// The same for columns of a single number, whose key and name are written together.
#[test]
fn single_numbers_reach_equally_far() {
    let mut writes = SnappyWrites::default();
    let fixed = "m,a=,b=,c=west#!~#usage_user".len() * 3 + 200;
    for text in 65_536 - fixed..65_536 - 40 {
        for longer in [0, 1, 7] {
            let line = |series: usize| {
                let key = format!("m,a=1,b={},c=west", "y".repeat(series * longer));
                let fields = [
                    Any::Float(1.0 / (series + 3) as f64),
                    Any::Integer(-1),
                    Any::String("x".repeat(text)),
                    Any::Unsigned(series as u64 + 250),
                ];
                (key, 7, fields.to_vec())
            };
            check(&mut writes, &(0..3).map(line).collect::<Vec<Line>>());
        }
    }
}

#[test]
fn keys_and_names_of_any_length_come_back() {
    let mut writes = SnappyWrites::default();
    let names: Vec<String> = (1..70).map(|len| format!("{len:x>len$}")).collect();
    for key in (0..400).step_by(3) {
        let keys: Vec<String> = (0..4).map(|series| "k".repeat(key + series % 3)).collect();
        let mut builder = BatchBuilder::new();
        for (series, key) in keys.iter().enumerate() {
            builder.begin(format!("{series}{key}").into_bytes().into());
            for (field, name) in names.iter().enumerate().skip(key.len() % 9) {
                // Some values equal those of the previous series, some share their last bytes, others share nothing.
                let value = match field % 3 {
                    0 => Value::Integer((field / 9) as i64),
                    1 => Value::Float(field as f64 / 4.0),
                    _ => Value::Float(1.0 / (field + 100 * series) as f64),
                };
                let _ = builder.field(name.as_bytes().into(), value).expect("one type per field");
            }
            builder.commit(7);
        }
        check_batch(&mut writes, &builder.finish());
    }
}

/// The key of a series is stored once, and its other fields copy it.
#[test]
fn repeated_keys_take_few_bytes() {
    let key = |host: usize| {
        format!("cpu,arch=x64,datacenter=us-west-1a,hostname=host_{host},os=Ubuntu16.10,rack=83")
    };
    let fields = || vec![Any::Float(0.1), Any::Integer(3), Any::Unsigned(7), Any::Boolean(true)];
    let lines: Vec<Line> = (0..100).map(|i| (key(i), 1_700_000_000_000_000_000, fields())).collect();
    let len = check(&mut SnappyWrites::default(), &lines);
    assert!(len < 400 * 24, "{len} bytes for 400 values with keys of 90 bytes");
}
