//! A batch: columns by series and field, as one write carries them through the layers.
//!
//! ```text
//! series ──┬─ key, hash            one entry a run of lines of one series
//!          └─ columns a..b ──┬─ field, type
//!                            └─ a range of the shared times, and one of the arena of its type
//! ```
//!
//! A batch is built from points ([`BatchBuilder`], line protocol) or from runs that are columns already
//! ([`RunBuilder`], a replayed log). Either way nothing is allocated per value. A series may occur more than once, and
//! a column holds its points in order of arrival: at equal times the later one counts.

mod points;
mod runs;

use std::borrow::Cow;
use std::ops::Range;

pub use points::{BatchBuilder, FieldSlot, TypeConflict};
pub use runs::{Kept, RunBuilder};

use crate::column::{ColumnRef, FieldType, StringColumn, Value, ValuesRef};
use crate::model::{FieldKey, SeriesKey};

/// A key: in the input where it stands there as it is, else in the batch's own text.
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
    /// Begins at this one of the shared times.
    time: usize,
    /// Begins at this one of the arena of its type.
    value: usize,
    len: usize,
}

/// The values of all columns, one arena a type, and the times they share.
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

/// Columns by series and field. See the module.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    series: Vec<Series<'a>>,
    columns: Vec<BatchColumn<'a>>,
    own: Vec<u8>,
    arenas: Arenas,
    unique_keys: bool,
    /// The emptied builder it came from, for the next batch.
    builder: Option<Box<BatchBuilder<'a>>>,
}

impl Batch<'_> {
    /// Whether it is known that no key has two columns. True of every batch of a [`BatchBuilder`].
    pub fn has_unique_keys(&self) -> bool {
        self.unique_keys
    }

    /// How many values, in all columns.
    pub fn value_count(&self) -> usize {
        self.arenas.times.len()
    }

    /// How many columns, in all series.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// How many entries of series; a series that occurs twice counts twice.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.arenas.times.is_empty()
    }

    /// InfluxDB's account of the memory of all values; see [`ValuesRef::cached_bytes`].
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

    /// The entry of a series at its place in [`Batch::series`].
    ///
    /// # Panics
    /// When `at` is not below [`Batch::series_count`].
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

    /// An empty builder that reuses the buffers of this batch and of the builder it came from.
    pub fn recycle<'b>(self) -> BatchBuilder<'b> {
        BatchBuilder::reusing(self)
    }

    /// An empty batch that keeps the buffers, under a lifetime of any length: to lay by until the next write.
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
        ColumnRef::new(times, values).expect("both slices were cut to one length")
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

    /// Place of its first column among all columns of the batch.
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

    /// How many points.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(self) -> usize {
        self.batch.columns[self.at].len
    }

    /// Its points, in order of arrival.
    #[inline]
    pub fn data(self) -> ColumnRef<'b> {
        self.batch.column_data(&self.batch.columns[self.at])
    }

    /// Type, time and bits, if this is one number by itself: less work than [`BatchField::data`].
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

/// The allocation of `vec` under another lifetime: collecting in place keeps it, and no element is left to convert.
fn emptied<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("the vector was cleared")).collect()
}
