use proptest::prelude::*;
use tsmith_codecs::{BatchBuilder, Column, FieldKey, FieldType, RunBuilder, TimeRange, Value};

use super::*;
use crate::ErrorKind;

/// An owned value of any type.
#[derive(Clone, Debug)]
enum Any {
    Float(u64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Vec<u8>),
}

impl Any {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Self::Integer(v) => Value::Integer(*v),
            Self::Unsigned(v) => Value::Unsigned(*v),
            Self::Boolean(v) => Value::Boolean(*v),
            Self::String(v) => Value::String(v),
        }
    }
}

fn any_points() -> impl Strategy<Value = Vec<(i64, Any)>> {
    let times = || prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), 0..100i64];
    let of = |value: BoxedStrategy<Any>| prop::collection::vec((times(), value), 1..150).boxed();
    prop_oneof![
        of(any::<u64>().prop_map(Any::Float).boxed()),
        of(any::<i64>().prop_map(Any::Integer).boxed()),
        of(any::<u64>().prop_map(Any::Unsigned).boxed()),
        of(any::<bool>().prop_map(Any::Boolean).boxed()),
        of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Any::String).boxed()),
    ]
}

type Model = Vec<((Vec<u8>, Vec<u8>), Vec<(i64, Any)>)>;

/// Columns of distinct keys.
fn any_columns() -> impl Strategy<Value = Model> {
    let names = ("[a-c]{1,3}(,t=[xy])?", "[a-z#!~ ]{0,6}");
    prop::collection::btree_map(names, any_points(), 0..12).prop_map(|columns| {
        let bytes = |(series, field): (String, String)| (series.into_bytes(), field.into_bytes());
        columns.into_iter().map(|(key, points)| (bytes(key), points)).collect()
    })
}

fn batch_of(model: &Model) -> Batch<'_> {
    let mut runs = RunBuilder::new();
    for ((series, field), points) in model {
        let field_type = points[0].1.value().field_type();
        runs.begin(series.into(), field.into(), field_type);
        for (time, value) in points {
            assert!(runs.push(*time, value.value()));
        }
    }
    runs.finish()
}

fn columns_of(batch: &Batch<'_>) -> Vec<(Vec<u8>, Column)> {
    batch.columns().map(|(key, data)| (key.to_composite(), data.to_column())).collect()
}

fn written(payload: &[u8]) -> Vec<(Vec<u8>, Column)> {
    match decode(RecordKind::Write, payload).expect("decodes") {
        Entry::Write(batch) => columns_of(&batch),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn columns_come_back(model in any_columns()) {
        let batch = batch_of(&model);
        let mut payload = b"before".to_vec();
        encode_write(&batch, &mut payload).expect("encodes");
        prop_assert!(payload.starts_with(b"before"));
        prop_assert!(is_well_formed(RecordKind::Write, &payload[6..]));
        prop_assert_eq!(written(&payload[6..]), columns_of(&batch));
    }

    /// The encoder for batches with unique keys gives the same columns as the one that joins repeated keys.
    #[test]
    fn both_encoders_agree(model in any_columns()) {
        let mut points = BatchBuilder::new();
        for ((series, field), column) in &model {
            for (time, value) in column {
                points.begin(series.into());
                points.field(field.into(), value.value()).expect("one type");
                points.commit(*time);
            }
        }
        let fast = points.finish();
        prop_assert!(fast.has_unique_keys());
        let slow = batch_of(&model);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        encode_write(&fast, &mut a).expect("encodes");
        encode_write(&slow, &mut b).expect("encodes");
        prop_assert_eq!(written(&a), written(&b));
    }

    #[test]
    fn deletions_come_back(keys in prop::collection::vec("[a-z#!~]{0,9}", 0..9), min: i64, max: i64) {
        let keys: Vec<FieldKey<'_>> = keys.iter().map(|name| FieldKey::new(b"m,t=v", name.as_bytes())).collect();
        let mut payload = Vec::new();
        encode_delete_range(TimeRange::new(min, max), &keys, &mut payload).expect("encodes");
        let Entry::DeleteRange { range, keys: back } = decode(RecordKind::DeleteRange, &payload).expect("decodes")
        else { panic!("another kind") };
        prop_assert_eq!((range, back), (TimeRange::new(min, max), keys));
    }

    #[test]
    fn deletions_of_complete_keys_come_back(keys in prop::collection::vec("[a-z#!~]{0,9}", 1..9)) {
        let keys: Vec<_> = keys.iter().map(|name| FieldKey::new(b"cpu,host=a", name.as_bytes())).collect();
        let mut payload = Vec::new();
        encode_delete(&keys, &mut payload).expect("encodes");
        prop_assert!(is_well_formed(RecordKind::Delete, &payload));
        let Entry::Delete(back) = decode(RecordKind::Delete, &payload).expect("decodes") else {
            panic!("another kind")
        };
        prop_assert_eq!(back, keys);
    }

    #[test]
    fn corrupt_payloads_are_an_error_or_another_entry(model in any_columns(), at: prop::sample::Index, bits: u8) {
        let mut payload = Vec::new();
        encode_write(&batch_of(&model), &mut payload).expect("encodes");
        if !payload.is_empty() {
            let at = at.index(payload.len());
            for kind in RecordKind::ALL {
                drop(decode(kind, &payload[..at]));
            }
            payload[at] ^= bits;
            for kind in RecordKind::ALL {
                let readable = decode(kind, &payload).is_ok();
                prop_assert!(!readable || kind == RecordKind::DeleteRange || is_well_formed(kind, &payload));
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in RecordKind::ALL {
            drop(decode(kind, &bytes));
            let _ = is_well_formed(kind, &bytes);
        }
    }
}

/// The payload of a write of one column, with any count.
fn raw(value_type: u8, key: &[u8], count: u32, points: &[u8]) -> Vec<u8> {
    [&[value_type][..], &(key.len() as u16).to_be_bytes(), key, &count.to_be_bytes(), points].concat()
}

/// As in InfluxDB.
#[test]
fn the_later_column_of_a_repeated_key_counts() {
    let mut payload = raw(2, b"m#!~#f", 1, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    payload.extend(raw(3, b"m#!~#g", 1, &[0, 0, 0, 0, 0, 0, 0, 1, 1]));
    payload.extend(raw(1, b"m#!~#f", 1, &[0; 16]));
    let columns = written(&payload);
    assert_eq!(columns.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"m#!~#g", b"m#!~#f"]);
    assert_eq!(columns[1].1.field_type(), FieldType::Float);
}

/// Story: a batch of runs can contain a key twice. If both runs were written, a reader would keep only the second.
#[test]
fn runs_of_one_key_are_joined_when_written() {
    let mut runs = RunBuilder::new();
    for (series, time) in [(b"a", 1), (b"b", 2), (b"a", 3)] {
        runs.begin(series.into(), b"f".into(), FieldType::Integer);
        assert!(runs.push(time, Value::Integer(time)));
    }
    let mut payload = Vec::new();
    encode_write(&runs.finish(), &mut payload).expect("encodes");
    let columns = written(&payload);
    assert_eq!(columns.len(), 2);
    assert_eq!(columns[0].1.times(), [1, 3]);
}

#[test]
fn a_count_is_checked_before_allocating() {
    for value_type in 1..=5 {
        let bomb = raw(value_type, b"m#!~#f", u32::MAX, &[0; 32]);
        let error = decode(RecordKind::Write, &bomb).expect_err("four billion points in 32 bytes");
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
        assert!(!is_well_formed(RecordKind::Write, &bomb));
        assert!(decode(RecordKind::Write, &raw(value_type, b"m#!~#f", 0, &[])).is_err(), "no points");
    }
    assert!(decode(RecordKind::Write, &raw(1, b"no separator", 1, &[0; 16])).is_err());
    assert!(decode(RecordKind::Write, &raw(6, b"m#!~#f", 1, &[0; 16])).is_err());
}

#[test]
fn too_long_a_key_is_refused() {
    let field = vec![b'f'; 65_535];
    let mut runs = RunBuilder::new();
    runs.begin(b"m".into(), (&field).into(), FieldType::Boolean);
    assert!(runs.push(1, Value::Boolean(true)));
    let mut out = b"before".to_vec();
    let error = encode_write(&runs.finish(), &mut out).expect_err("too long");
    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
    let key = [FieldKey::new(b"m", &field)];
    assert!(encode_delete_range(TimeRange::ALL, &key, &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn a_delete_that_would_not_read_back_is_refused() {
    let mut out = b"before".to_vec();
    let keys = |field| [FieldKey::new(b"m", b"a"), FieldKey::new(b"m", field)];
    let long = vec![b'f'; 65_535];
    for refused in [&[][..], &keys(b"two\nlines"), &keys(&long)] {
        encode_delete(refused, &mut out).expect_err("the format cannot represent it");
    }
    assert_eq!(out, b"before");
    encode_delete(&keys(b"b"), &mut out).expect("encodes");
    assert_eq!(out, b"beforem#!~#a\nm#!~#b");
}
