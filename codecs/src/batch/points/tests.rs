//! Points in any order become columns.

use super::*;
use crate::batch::BatchField;
use crate::column::Column;
use crate::model::FieldKey;

fn column(batch: &Batch<'_>, series: &[u8], field: &[u8]) -> Column {
    let (_, data) = batch.columns().find(|(key, _)| *key == FieldKey::new(series, field)).expect("is there");
    data.to_column()
}

#[test]
fn interleaved_series_become_columns_in_order() {
    let mut builder = BatchBuilder::new();
    for time in 0..3 {
        for host in ["cpu,host=a", "cpu,host=b"] {
            builder.begin(host.as_bytes().into());
            builder.field(b"note".into(), Value::String(format!("{host}{time}").as_bytes())).expect("fits");
            if time != 1 {
                builder.field(b"n".into(), Value::Integer(time)).expect("fits");
            }
            builder.commit(time);
        }
    }
    let batch = builder.finish();
    assert_eq!((batch.series_count(), batch.column_count(), batch.value_count()), (2, 4, 10));
    assert_eq!(column(&batch, b"cpu,host=b", b"n").times(), [0, 2]);
    let notes = column(&batch, b"cpu,host=a", b"note");
    assert_eq!(notes.as_ref().values().get(2), Value::String(b"cpu,host=a2"));
}

#[test]
fn single_number_recognizes_a_lone_number() {
    let values = [
        ("f", Value::Float(-0.5)),
        ("i", Value::Integer(-1)),
        ("u", Value::Unsigned(u64::MAX)),
        ("b", Value::Boolean(true)),
        ("s", Value::String(b"text")),
    ];
    let mut builder = BatchBuilder::new();
    for (key, times) in [("lone", 7..8), ("two", 8..10)] {
        for time in times {
            builder.begin(key.as_bytes().into());
            for (field, value) in values {
                let _ = builder.field(field.as_bytes().into(), value).expect("one type per field");
            }
            builder.commit(time);
        }
    }
    let batch = builder.finish();
    let lone: Vec<_> = batch.series_at(0).columns().map(BatchField::lone_number).collect();
    let number = |field_type, bits| Some((field_type, 7, bits));
    assert_eq!(lone[0], number(FieldType::Float, (-0.5_f64).to_bits()));
    assert_eq!(lone[1..3], [number(FieldType::Integer, u64::MAX), number(FieldType::Unsigned, u64::MAX)]);
    assert_eq!(lone[3..], [None, None]);
    assert!(batch.series_at(1).columns().all(|field| field.lone_number().is_none()));
}

#[test]
fn an_aborted_point_leaves_no_value_and_no_type() {
    let mut builder = BatchBuilder::new();
    builder.begin(b"m".into());
    builder.field(b"f".into(), Value::Float(1.0)).expect("fits");
    builder.field(b"s".into(), Value::String(b"gone")).expect("fits");
    builder.abort();
    builder.begin(b"m".into());
    builder.field(b"f".into(), Value::Integer(7)).expect("the column is empty and takes a new type");
    builder.field(b"t".into(), Value::String(b"stays")).expect("fits");
    builder.commit(5);
    builder.begin(b"m".into());
    let conflict = builder.field(b"f".into(), Value::Boolean(true)).expect_err("the column has a type now");
    assert_eq!(conflict.existing, FieldType::Integer);
    builder.abort();
    let batch = builder.finish();
    assert_eq!((batch.column_count(), batch.value_count()), (2, 2));
    assert_eq!(column(&batch, b"m", b"t").as_ref().values().get(0), Value::String(b"stays"));
}

#[test]
fn wide_series_find_their_fields_in_any_order() {
    let names: Vec<String> = (0..100).map(|n| format!("f{n}")).collect();
    let mut builder = BatchBuilder::new();
    for time in 0..3i64 {
        builder.begin(b"wide".into());
        for n in 0..100 {
            let name = &names[(n * 37 + time as usize * 11) % 100];
            builder.field(name.as_bytes().into(), Value::Integer(time)).expect("fits");
        }
        builder.commit(time);
    }
    let batch = builder.finish();
    assert_eq!((batch.column_count(), batch.value_count()), (100, 300));
    assert_eq!(column(&batch, b"wide", b"f99").times(), [0, 1, 2]);
}

#[test]
fn a_recycled_batch_starts_empty() {
    let mut builder = BatchBuilder::new();
    builder.begin(b"m".to_vec().into());
    builder.field(b"f".to_vec().into(), Value::Boolean(true)).expect("fits");
    builder.commit(1);
    let batch = builder.finish().recycle().finish();
    assert!(batch.is_empty() && batch.series_count() == 0);
}
