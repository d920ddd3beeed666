//! Runs to columns: values that already stand together, as a log entry holds them.

use std::borrow::Cow;

use super::{Batch, BatchColumn, Series, Text};
use crate::column::{FieldType, Value};
use crate::model::SeriesKey;

/// Takes whole columns, one after the other, and makes a [`Batch`].
///
/// Neighbouring columns of one series become one entry; a series that comes back later becomes another.
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

    /// Begins the next column.
    pub fn begin(&mut self, series: Cow<'a, [u8]>, field: Cow<'a, [u8]>, field_type: FieldType) {
        self.drop_empty();
        let batch = &mut self.batch;
        let at = batch.columns.len();
        match batch.series.last_mut() {
            Some(last) if last.key.get(&batch.own) == &*series => last.columns.end = at + 1,
            _ => {
                let hash = SeriesKey(&series).hash64();
                let key = Text::keep(series, &mut batch.own);
                batch.series.push(Series { key, hash, columns: at..at + 1 });
            }
        }
        let field = Text::keep(field, &mut batch.own);
        let (time, value) = (batch.arenas.times.len(), batch.arenas.len(field_type));
        batch.columns.push(BatchColumn { field, field_type, time, value, len: 0 });
    }

    /// Adds one point to the present column; false, and nothing done, when its type is another or no column was begun.
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

    /// Ends the last column and gives the batch.
    pub fn finish(mut self) -> Batch<'a> {
        self.drop_empty();
        self.batch
    }

    /// Takes a column back that was begun and got no point.
    fn drop_empty(&mut self) {
        let batch = &mut self.batch;
        if batch.columns.last().is_some_and(|column| column.len == 0) {
            batch.columns.pop();
            if let Some(series) = batch.series.last_mut() {
                series.columns.end -= 1;
                if series.columns.is_empty() {
                    batch.series.pop();
                }
            }
        }
    }
}
