//! Builds a batch from whole columns, such as those of a log entry.

use std::borrow::Cow;

use super::{Batch, BatchColumn, Series, Text};
use crate::column::{FieldType, Value, ValuesRef};
use crate::model::SeriesKey;

/// A name that a [`RunBuilder`] has stored.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    start: usize,
    end: usize,
}

/// Takes whole columns one after the other and builds a [`Batch`].
///
/// Neighbouring columns of one series share one entry of the batch. If a series appears again later, it gets another
/// entry.
///
/// ```
/// use tsmith_codecs::{FieldType, RunBuilder, Value};
/// let mut runs = RunBuilder::new();
/// runs.begin(b"cpu".into(), b"usage".into(), FieldType::Integer);
/// assert!(runs.push(10, Value::Integer(1)));
/// assert!(!runs.push(20, Value::Boolean(true)), "another type");
/// assert_eq!(runs.finish().value_count(), 1);
/// ```
#[derive(Debug, Default)]
pub struct RunBuilder<'a> {
    batch: Batch<'a>,
}

impl<'a> RunBuilder<'a> {
    /// A builder without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder that reuses the buffers of `batch`.
    pub fn reusing(batch: Batch<'_>) -> Self {
        Self { batch: batch.cleared() }
    }

    /// Begins the next column. `series` may be the same as before.
    pub fn begin(&mut self, series: Cow<'a, [u8]>, field: Cow<'a, [u8]>, field_type: FieldType) {
        self.drop_empty();
        let last = self.batch.series.last();
        if last.is_none_or(|last| last.key.get(&self.batch.own) != &*series) {
            let hash = SeriesKey(&series).hash64();
            let key = Text::keep(series, &mut self.batch.own);
            self.begin_series(key, hash);
        }
        self.column(field, field_type);
    }

    /// Begins a new entry for a series, even if the series is the same as before. The key is copied.
    pub fn series(&mut self, key: &[u8]) {
        self.drop_empty();
        let own = &mut self.batch.own;
        let start = own.len();
        own.extend_from_slice(key);
        let key = Text::Own { start, end: own.len() };
        let hash = SeriesKey(key.get(own)).hash64();
        self.begin_series(key, hash);
    }

    /// Begins the next column of the current series.
    ///
    /// # Panics
    /// No series was begun.
    pub fn column(&mut self, field: Cow<'a, [u8]>, field_type: FieldType) {
        let field = Text::keep(field, &mut self.batch.own);
        self.begin_column(field, field_type);
    }

    fn begin_column(&mut self, field: Text<'a>, field_type: FieldType) {
        self.drop_empty_column();
        let batch = &mut self.batch;
        let at = batch.columns.len();
        let series = batch.series.last_mut().expect("a series was begun");
        series.columns.end = at + 1;
        let (time, value) = (batch.arenas.times.len(), batch.arenas.len(field_type));
        batch.columns.push(BatchColumn { field, field_type, time, value, len: 0 });
    }

    /// Stores a name, so that several columns of this batch can use it.
    pub fn keep(&mut self, name: &[u8]) -> Kept {
        let start = self.batch.own.len();
        self.batch.own.extend_from_slice(name);
        Kept { start, end: self.batch.own.len() }
    }

    /// Like [`RunBuilder::column`], but with a stored name.
    ///
    /// # Panics
    /// No series was begun.
    pub fn kept_column(&mut self, Kept { start, end }: Kept, field_type: FieldType) {
        self.begin_column(Text::Own { start, end }, field_type);
    }

    fn begin_series(&mut self, key: Text<'a>, hash: u64) {
        let at = self.batch.columns.len();
        self.batch.series.push(Series { key, hash, columns: at..at });
    }

    /// Appends one point to the current column. Returns false, and appends nothing, if the value has another type or
    /// no column was begun.
    #[must_use]
    pub fn push(&mut self, time: i64, value: Value<'_>) -> bool {
        match self.batch.columns.last_mut() {
            Some(column) if column.field_type == value.field_type() => {
                column.len += 1;
                self.batch.arenas.push(time, value);
                true
            }
            _ => false,
        }
    }

    /// Appends points to the current column. If `times` and `values` differ in length, the longer one is cut.
    /// Returns false, and appends nothing, if the values have another type or no column was begun.
    #[must_use]
    pub fn extend(&mut self, times: &[i64], values: ValuesRef<'_>) -> bool {
        let Some(column) = self.batch.columns.last_mut().filter(|c| c.field_type == values.field_type())
        else {
            return false;
        };
        let len = times.len().min(values.len());
        column.len += len;
        self.batch.arenas.extend(&times[..len], values.slice(0..len));
        true
    }

    /// Appends points to the current column. Each point is a time and the bits of a value. Returns false, and
    /// appends nothing, if the column does not hold 64-bit values or no column was begun.
    #[must_use]
    pub fn extend_words(&mut self, points: impl ExactSizeIterator<Item = (i64, u64)>) -> bool {
        let Some(column) = self.batch.columns.last_mut() else { return false };
        let arenas = &mut self.batch.arenas;
        let times = &mut arenas.times;
        let len = points.len();
        match column.field_type {
            FieldType::Float => words(points, times, &mut arenas.floats, f64::from_bits),
            FieldType::Integer => words(points, times, &mut arenas.integers, u64::cast_signed),
            FieldType::Unsigned => words(points, times, &mut arenas.unsigneds, |bits| bits),
            FieldType::Boolean | FieldType::String => return false,
        }
        column.len += len;
        true
    }

    /// Ends the last column and returns the batch.
    pub fn finish(mut self) -> Batch<'a> {
        self.drop_empty();
        self.batch
    }

    /// Removes a column and a series that got no point.
    fn drop_empty(&mut self) {
        self.drop_empty_column();
        if self.batch.series.last().is_some_and(|series| series.columns.is_empty()) {
            self.batch.series.pop();
        }
    }

    fn drop_empty_column(&mut self) {
        let batch = &mut self.batch;
        if batch.columns.last().is_some_and(|column| column.len == 0) {
            batch.columns.pop();
            if let Some(series) = batch.series.last_mut() {
                series.columns.end -= 1;
            }
        }
    }
}

fn words<T>(
    points: impl ExactSizeIterator<Item = (i64, u64)>,
    times: &mut Vec<i64>,
    values: &mut Vec<T>,
    value: impl Fn(u64) -> T,
) {
    times.reserve(points.len());
    values.reserve(points.len());
    for (time, bits) in points {
        times.push(time);
        values.push(value(bits));
    }
}
