//! A batch: the columns of one write, by series and field.
//!
//! ```text
//! series ──┬─ key, hash            one entry for each run of lines of one series
//!          └─ columns a..b ──┬─ field, type
//!                            └─ a range of the shared times, and a range of the values of its type
//! ```
//!
//! A batch is built from points ([`BatchBuilder`], line protocol) or from whole columns ([`RunBuilder`], a replayed
//! log). Neither builder allocates memory for each value.
//!
//! A series may occur more than once. A column holds its points in order of arrival. If two points have the same
//! time, the later one counts.

mod points;
mod runs;

use std::borrow::Cow;
use std::ops::Range;

pub use points::{BatchBuilder, FieldSlot};
pub use runs::{Kept, RunBuilder};

use crate::column::{ColumnRef, FieldType, StringColumn, Value, ValuesRef};
use crate::model::{FieldKey, SeriesKey};

/// A key. It borrows from the input if the input holds it unchanged. Otherwise it is in the batch's own buffer.
#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Input(&'a [u8]),
    Own { start: usize, end: usize },
}

impl<'a> Text<'a> {
    fn keep(key: Cow<'a, [u8]>, own: &mut Vec<u8>) -> Self {
        match key {
            Cow::Borrowed(key) => Self::Input(key),
            Cow::Owned(key) => {
                let start = own.len();
                own.extend_from_slice(&key);
                Self::Own { start, end: own.len() }
            }
        }
    }

    fn get<'b>(&'b self, own: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Input(key) => key,
            Self::Own { start, end } => &own[*start..*end],
        }
    }
}

#[derive(Debug)]
struct Series<'a> {
    key: Text<'a>,
    hash: u64,
    columns: Range<usize>,
}

#[derive(Debug)]
struct BatchColumn<'a> {
    field: Text<'a>,
    field_type: FieldType,
    /// Index of its first time in the shared times.
    time: usize,
    /// Index of its first value among the values of its type.
    value: usize,
    len: usize,
}

/// The times of all columns, and one buffer of values for each type.
#[derive(Debug, Default)]
struct Arenas {
    times: Vec<i64>,
    floats: Vec<f64>,
    integers: Vec<i64>,
    unsigneds: Vec<u64>,
    booleans: Vec<bool>,
    strings: StringColumn,
}

impl Arenas {
    fn clear(&mut self) {
        self.times.clear();
        self.floats.clear();
        self.integers.clear();
        self.unsigneds.clear();
        self.booleans.clear();
        self.strings.clear();
    }

    fn len(&self, field_type: FieldType) -> usize {
        match field_type {
            FieldType::Float => self.floats.len(),
            FieldType::Integer => self.integers.len(),
            FieldType::Unsigned => self.unsigneds.len(),
            FieldType::Boolean => self.booleans.len(),
            FieldType::String => self.strings.len(),
        }
    }

    fn extend(&mut self, times: &[i64], values: ValuesRef<'_>) {
        self.times.extend_from_slice(times);
        match values {
            ValuesRef::Float(v) => self.floats.extend_from_slice(v),
            ValuesRef::Integer(v) => self.integers.extend_from_slice(v),
            ValuesRef::Unsigned(v) => self.unsigneds.extend_from_slice(v),
            ValuesRef::Boolean(v) => self.booleans.extend_from_slice(v),
            ValuesRef::String(v) => self.strings.extend(v),
        }
    }

    fn push(&mut self, time: i64, value: Value<'_>) {
        self.times.push(time);
        match value {
            Value::Float(v) => self.floats.push(v),
            Value::Integer(v) => self.integers.push(v),
            Value::Unsigned(v) => self.unsigneds.push(v),
            Value::Boolean(v) => self.booleans.push(v),
            Value::String(v) => self.strings.push(v),
        }
    }
}

/// Columns by series and field. See the module documentation.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    series: Vec<Series<'a>>,
    columns: Vec<BatchColumn<'a>>,
    own: Vec<u8>,
    arenas: Arenas,
    unique_keys: bool,
    /// The emptied builder that made this batch. The next batch reuses it.
    builder: Option<Box<BatchBuilder<'a>>>,
}

impl Batch<'_> {
    /// True if no key has two columns for sure. This holds for every batch of a [`BatchBuilder`].
    pub fn has_unique_keys(&self) -> bool {
        self.unique_keys
    }

    /// The number of values in all columns.
    pub fn value_count(&self) -> usize {
        self.arenas.times.len()
    }

    /// The number of columns in all series.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// The number of series entries. A series that occurs twice counts twice.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Whether the batch has no values.
    pub fn is_empty(&self) -> bool {
        self.arenas.times.is_empty()
    }

    /// The memory of all values as InfluxDB counts it. See [`ValuesRef::cached_bytes`].
    pub fn cached_bytes(&self) -> u64 {
        let arenas = &self.arenas;
        let words = arenas.floats.len() + arenas.integers.len() + arenas.unsigneds.len();
        16 * words as u64
            + ValuesRef::Boolean(&arenas.booleans).cached_bytes()
            + ValuesRef::String(arenas.strings.as_ref()).cached_bytes()
    }

    /// The series, in order of first arrival.
    pub fn series(&self) -> impl ExactSizeIterator<Item = BatchSeries<'_>> {
        (0..self.series.len()).map(|at| BatchSeries { batch: self, at })
    }

    /// The series entry at this index of [`Batch::series`].
    ///
    /// # Panics
    /// `at` is not below [`Batch::series_count`].
    pub fn series_at(&self, at: usize) -> BatchSeries<'_> {
        assert!(at < self.series.len(), "the batch has {} entries of series", self.series.len());
        BatchSeries { batch: self, at }
    }

    /// Every column with its key, series by series.
    pub fn columns(&self) -> impl Iterator<Item = (FieldKey<'_>, ColumnRef<'_>)> {
        self.series().flat_map(|series| {
            series.columns().map(move |column| (FieldKey::new(series.key().0, column.field()), column.data()))
        })
    }

    /// Returns an empty builder that reuses the buffers of this batch and of its builder.
    pub fn recycle<'b>(self) -> BatchBuilder<'b> {
        BatchBuilder::reusing(self)
    }

    /// Returns an empty batch that keeps the buffers. It has a lifetime of any length, so it can be stored until the
    /// next write.
    #[must_use]
    pub fn cleared<'b>(mut self) -> Batch<'b> {
        self.own.clear();
        self.arenas.clear();
        let builder = self.builder.map(|builder| Box::new(builder.cleared()));
        Batch {
            series: emptied(self.series),
            columns: emptied(self.columns),
            own: self.own,
            arenas: self.arenas,
            unique_keys: false,
            builder,
        }
    }

    #[inline]
    fn column_data(&self, column: &BatchColumn<'_>) -> ColumnRef<'_> {
        let arenas = &self.arenas;
        let at = column.value..column.value + column.len;
        let values = match column.field_type {
            FieldType::Float => ValuesRef::Float(&arenas.floats[at]),
            FieldType::Integer => ValuesRef::Integer(&arenas.integers[at]),
            FieldType::Unsigned => ValuesRef::Unsigned(&arenas.unsigneds[at]),
            FieldType::Boolean => ValuesRef::Boolean(&arenas.booleans[at]),
            FieldType::String => ValuesRef::String(arenas.strings.as_ref().slice(at)),
        };
        let times = &arenas.times[column.time..column.time + column.len];
        ColumnRef::new(times, values).expect("both slices have the same length")
    }
}

/// One series of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchSeries<'b> {
    batch: &'b Batch<'b>,
    at: usize,
}

impl<'b> BatchSeries<'b> {
    fn entry(self) -> &'b Series<'b> {
        &self.batch.series[self.at]
    }

    /// Its key.
    #[inline]
    pub fn key(self) -> SeriesKey<'b> {
        SeriesKey(self.entry().key.get(&self.batch.own))
    }

    /// [`SeriesKey::hash64`] of its key.
    pub fn hash(self) -> u64 {
        self.entry().hash
    }

    /// Index of its first column among all columns of the batch.
    pub fn first_column(self) -> usize {
        self.entry().columns.start
    }

    /// Its columns, in order of first arrival.
    #[inline]
    pub fn columns(self) -> impl ExactSizeIterator<Item = BatchField<'b>> {
        self.entry().columns.clone().map(move |at| BatchField { batch: self.batch, at })
    }
}

/// One column of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchField<'b> {
    batch: &'b Batch<'b>,
    at: usize,
}

impl<'b> BatchField<'b> {
    /// The field's name, unescaped.
    #[inline]
    pub fn field(self) -> &'b [u8] {
        self.batch.columns[self.at].field.get(&self.batch.own)
    }

    /// The type of its values.
    #[inline]
    pub fn field_type(self) -> FieldType {
        self.batch.columns[self.at].field_type
    }

    /// The number of points.
    #[expect(clippy::len_without_is_empty, reason = "a column always has a point")]
    pub fn len(self) -> usize {
        self.batch.columns[self.at].len
    }

    /// Its points, in order of arrival.
    #[inline]
    pub fn data(self) -> ColumnRef<'b> {
        self.batch.column_data(&self.batch.columns[self.at])
    }

    /// Type, time and bits, if the column is a single number. This is cheaper than [`BatchField::data`].
    #[inline]
    pub fn lone_number(self) -> Option<(FieldType, i64, u64)> {
        let (column, arenas) = (&self.batch.columns[self.at], &self.batch.arenas);
        if column.len != 1 {
            return None;
        }
        let bits = match column.field_type {
            FieldType::Float => arenas.floats[column.value].to_bits(),
            FieldType::Integer => arenas.integers[column.value].cast_unsigned(),
            FieldType::Unsigned => arenas.unsigneds[column.value],
            FieldType::Boolean | FieldType::String => return None,
        };
        Some((column.field_type, arenas.times[column.time], bits))
    }
}

/// Changes the lifetime of an empty vector and keeps its allocation. Collecting in place reuses the buffer, and
/// there is no element to convert.
fn emptied<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("the vector was cleared")).collect()
}
