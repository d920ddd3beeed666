//! Test suites for storers, for those of this crate and of other crates.
//!
//! `tsmith_cache::storer_suite!(MyStorer);` generates one test per law. If the storer returns the values that it got,
//! add `tsmith_cache::readable_suite!(MyStorer);`. Each law is also a function, which is easier to debug.

#![expect(clippy::missing_panics_doc, reason = "a law fails by panicking")]

mod laws;
mod readable;
mod scrambled;

pub use laws::*;
pub use readable::*;
pub use scrambled::Scrambled;

pub use crate::{readable_suite, storer_suite};

use tsmith_codecs::{Batch, Column, FieldKey, Position, RunBuilder, TimeRange, Value};

use crate::{Error, Refused, Storer};

/// One `#[test]` for each law of every storer, even one that does not keep values.
#[macro_export]
macro_rules! storer_suite {
    ($Impl:ty) => {
        $crate::storer_suite!(@ $Impl;
            every_type_is_admitted
            an_empty_batch_adds_nothing
            a_released_batch_leaves_no_trace
            an_unknown_key_is_empty
            every_listed_key_can_be_read
            only_written_values_are_read
            concurrent_threads_all_finish
        );
    };
    (@ $Impl:ty; $($law:ident)+) => { $(#[test] fn $law() { $crate::testing::$law::<$Impl>(); })+ };
}

/// One `#[test]` for each law of a storer that keeps its values.
#[macro_export]
macro_rules! readable_suite {
    ($Impl:ty) => {
        $crate::readable_suite!(@ $Impl;
            values_are_read_in_order_of_time
            points_are_in_order_of_position
            the_later_value_of_a_batch_counts
            a_key_may_come_twice_in_a_batch
            the_later_position_wins_in_every_order
            the_later_position_wins_between_threads
            a_conflict_is_refused_and_leaves_no_trace
            a_conflict_inside_a_batch_is_refused
            a_reservation_fixes_the_type
            an_emptied_column_takes_a_new_type
            new_key_bytes_count_each_key_once
            the_last_release_frees_the_key
            refusals_free_what_they_count
            a_delete_removes_its_range_and_counts_it
            a_delete_keeps_the_order_of_open_writes
            long_columns_stay_intact
            wide_series_are_found_in_any_order
            deleted_series_make_room
        );
    };
    (@ $Impl:ty; $($law:ident)+) => { $(#[test] fn $law() { $crate::testing::$law::<$Impl>(); })+ };
}

/// Series, field, and points of integers.
pub type IntegerRun<'a> = (&'a str, &'a str, &'a [(i64, i64)]);

/// A batch of runs of integers.
pub fn integers(runs: &[IntegerRun<'_>]) -> Batch<'static> {
    let mut builder = RunBuilder::new();
    for (series, field, points) in runs {
        let (series, field) = (series.as_bytes().to_vec(), field.as_bytes().to_vec());
        builder.begin(series.into(), field.into(), tsmith_codecs::FieldType::Integer);
        for &(time, value) in *points {
            assert!(builder.push(time, Value::Integer(value)), "the column was begun with this type");
        }
    }
    builder.finish()
}

/// A batch of one value.
pub fn one(series: &str, field: &str, time: i64, value: Value<'_>) -> Batch<'static> {
    let mut builder = RunBuilder::new();
    let (series, field) = (series.as_bytes().to_vec(), field.as_bytes().to_vec());
    builder.begin(series.into(), field.into(), value.field_type());
    assert!(builder.push(time, value), "the column was begun with this type");
    builder.finish()
}

/// The key of `series` and `field`.
pub fn key<'a>(series: &'a str, field: &'a str) -> FieldKey<'a> {
    FieldKey::new(series.as_bytes(), field.as_bytes())
}

/// Reserves and writes a batch.
pub fn put<S: Storer>(storer: &S, batch: &Batch<'_>, at: u64) {
    let reserved = storer.reserve(batch).expect("the types agree");
    storer.write(batch, reserved.reservation, Position(at));
}

/// Returns why the batch is refused, and releases its part.
pub fn refused<S: Storer>(storer: &S, batch: &Batch<'_>) -> Error {
    let Refused { error, part } = storer.reserve(batch).map(drop).expect_err("a conflict");
    let freed = storer.release(batch, part.reservation);
    assert_eq!(freed, part.new_key_bytes, "no other batch came between");
    error
}

/// All points of a key in ascending order. Empty if there are none.
pub fn all<S: Storer>(storer: &S, key: FieldKey<'_>) -> Column {
    let mut out = Column::new(tsmith_codecs::FieldType::Float);
    let any = storer.read(key, TimeRange::ALL, &mut out);
    assert_eq!(any, !out.is_empty(), "`read` says whether it found anything");
    out
}

/// All points of a key with integers.
pub fn points<S: Storer>(storer: &S, key: FieldKey<'_>) -> Vec<(i64, i64)> {
    let column = all(storer, key);
    match column.values() {
        tsmith_codecs::Values::Integer(values) => {
            column.times().iter().copied().zip(values.iter().copied()).collect()
        }
        _ => Vec::new(),
    }
}

/// The number of keys that the storer lists.
pub fn key_count<S: Storer>(storer: &S) -> usize {
    let mut count = 0;
    storer.keys(&mut |_, _| count += 1);
    count
}
