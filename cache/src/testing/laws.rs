//! Laws of every storer, even of one that does not keep values.

use std::collections::HashSet;

use tsmith_codecs::{FieldType, Position, RunBuilder, TimeRange, Value};

use super::{all, integers, key, key_count, one, put};
use crate::Storer;

/// Law: a new storer admits and writes a batch of every type.
pub fn every_type_is_admitted<S: Storer + Default>() {
    let storer = S::default();
    let values = [
        Value::Float(0.5),
        Value::Integer(-1),
        Value::Unsigned(u64::MAX),
        Value::Boolean(true),
        Value::String(b"text"),
    ];
    let mut builder = RunBuilder::new();
    for value in values {
        builder.begin(b"m".into(), value.field_type().name().as_bytes().into(), value.field_type());
        assert!(builder.push(1, value));
    }
    put(&storer, &builder.finish(), 1);
}

/// Law: a batch without values adds no key and no bytes.
pub fn an_empty_batch_adds_nothing<S: Storer + Default>() {
    let storer = S::default();
    let batch = integers(&[]);
    let reserved = storer.reserve(&batch).expect("there is nothing to refuse");
    assert_eq!(reserved.new_key_bytes, 0);
    storer.write(&batch, reserved.reservation, Position(1));
    assert_eq!(key_count(&storer), 0);
}

/// Law: a batch that was reserved and released leaves no key, and frees the key bytes that it added.
pub fn a_released_batch_leaves_no_trace<S: Storer + Default>() {
    let storer = S::default();
    let batch = integers(&[("m,t=a", "f", &[(1, 1)]), ("m,t=b", "f", &[(1, 1)]), ("m,t=b", "g", &[(1, 1)])]);
    for _ in 0..3 {
        let reserved = storer.reserve(&batch).expect("fresh keys");
        let freed = storer.release(&batch, reserved.reservation);
        assert_eq!(freed, reserved.new_key_bytes);
        assert_eq!(key_count(&storer), 0);
        assert!(all(&storer, key("m,t=a", "f")).is_empty());
    }
}

/// Law: a key that was never written has no column, no type and nothing to delete.
pub fn an_unknown_key_is_empty<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &integers(&[("m", "f", &[(1, 1)])]), 1);
    for unknown in [key("m", "g"), key("n", "f"), key("", ""), key("m#!~#f", "")] {
        assert!(storer.with(unknown, |_| ()).is_none() && storer.field_type(unknown).is_none());
        assert!(all(&storer, unknown).is_empty());
        assert_eq!(storer.delete(unknown, TimeRange::ALL), 0);
    }
}

/// Law: `keys` lists each key once. The key has a column of the given type with at least one point.
pub fn every_listed_key_can_be_read<S: Storer + Default>() {
    let storer = S::default();
    for n in 0..200i64 {
        let series = format!("m,host={}", n % 50);
        let value = if n % 2 == 0 { Value::Integer(n) } else { Value::Boolean(true) };
        put(&storer, &one(&series, &format!("f{}", n % 4), n, value), n.unsigned_abs() + 1);
    }
    let mut named = HashSet::new();
    let mut keys = Vec::new();
    storer.keys(&mut |key, field_type| {
        assert!(named.insert(key.to_composite()), "{key} is listed twice");
        keys.push((key.series.to_vec(), key.field.to_vec(), field_type));
    });
    for (series, field, field_type) in keys {
        let key = tsmith_codecs::FieldKey::new(&series, &field);
        assert_eq!(storer.field_type(key), Some(field_type));
        assert_eq!(
            storer.with(key, |column| (column.field_type(), column.is_empty())),
            Some((field_type, false))
        );
    }
}

/// Law: a storer returns only what was written, under the same key and at the same time.
pub fn only_written_values_are_read<S: Storer + Default>() {
    let storer = S::default();
    let value = |series: i64, time: i64| series * 1000 + time;
    for time in 0..40 {
        let series = time % 7;
        put(
            &storer,
            &one(&format!("m,s={series}"), "f", time, Value::Integer(value(series, time))),
            time as u64 + 1,
        );
    }
    for series in 0..7 {
        for (time, found) in super::points(&storer, key(&format!("m,s={series}"), "f")) {
            assert!((0..40).contains(&time) && time % 7 == series && found == value(series, time));
        }
    }
}

/// Law: threads that write, release, read and delete at the same time all finish.
pub fn concurrent_threads_all_finish<S: Storer + Default>() {
    let storer = &S::default();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                for round in 0..200u64 {
                    let time = round.cast_signed();
                    let batch = integers(&[
                        ("m,s=shared", "f", &[(time, time)]),
                        (&format!("m,s={thread}"), "f", &[(time, time)]),
                        (&format!("m,s={}", round % 11), "g", &[(time, time)]),
                    ]);
                    let reserved = storer.reserve(&batch).expect("all are integers");
                    if round % 5 == 0 {
                        storer.release(&batch, reserved.reservation);
                    } else {
                        storer.write(&batch, reserved.reservation, Position(round * 4 + thread));
                    }
                    if round % 17 == 0 {
                        storer.delete(key("m,s=shared", "f"), TimeRange::new(0, time / 2));
                    }
                    let (_, _) = (all(storer, key("m,s=shared", "f")), key_count(storer));
                    assert_ne!(storer.field_type(key("m,s=shared", "f")), Some(FieldType::Float));
                }
            });
        }
    });
}
