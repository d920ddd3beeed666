//! Builds a batch from points.
//!
//! Each value that arrives becomes a cell `(column, bits)`, and the builder counts the length of each column.
//! `finish` lays the columns out one after the other and moves every cell to its place. The builder looks for a
//! field where the previous point of the series had it. So lines with the same fields cost one comparison per field
//! and no hash.

use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use hashbrown::HashTable;

use super::{Batch, BatchColumn, Series, Text, emptied};
use crate::column::{FieldType, StringColumn, TypeConflict, Value};
use crate::model::{SeriesKey, TimeRange};

const NONE: u32 = u32::MAX;

/// A series with more columns than this uses a hash table to find fields that come out of order.
const COLUMNS_WALKED_MAX: u32 = 16;

#[derive(Debug)]
struct SeriesEntry<'a> {
    key: Text<'a>,
    hash: u64,
    first: u32,
    last: u32,
    columns: u32,
}

#[derive(Debug)]
struct ColumnEntry<'a> {
    field: Text<'a>,
    series: u32,
    next: u32,
    field_type: FieldType,
    len: u32,
    /// Whether [`BatchBuilder::plain_field`] added a value to it.
    is_plain: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    column: u32,
    /// The bits of the value. For a string, its index in order of arrival.
    bits: u64,
}

/// Whether the series of the current point had a column for the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSlot {
    /// The batch already has the column.
    Known,
    /// The value is the first of its column in this batch.
    New,
}

/// Builds a [`Batch`] from points.
///
/// For each point, call `begin`, then `field` for each value, then `commit` with its time or `abort`.
///
/// ```
/// use tsmith_codecs::{BatchBuilder, Value};
/// let mut builder = BatchBuilder::new();
/// for time in [10, 20] {
///     builder.begin(b"cpu,host=a".into());
///     builder.field(b"usage".into(), Value::Float(0.5)).expect("one type");
///     builder.commit(time);
/// }
/// let batch = builder.finish();
/// let (key, column) = batch.columns().next().expect("one column");
/// assert_eq!(key.to_composite(), b"cpu,host=a#!~#usage");
/// assert_eq!(column.times(), [10, 20]);
/// ```
#[derive(Debug, Default)]
pub struct BatchBuilder<'a> {
    own: Vec<u8>,
    series: Vec<SeriesEntry<'a>>,
    by_key: HashTable<u32>,
    columns: Vec<ColumnEntry<'a>>,
    by_field: HashTable<u32>,
    cells: Vec<Cell>,
    strings: StringColumn,
    /// For each committed point, its time and the end of its cells.
    points: Vec<(i64, usize)>,
    /// The series of the current point, and the column expected next.
    current: u32,
    expected: u32,
    /// For each column, where its next time and value go. Used while the batch is laid out.
    places: Vec<(usize, usize)>,
    /// For each string in batch order, its index in order of arrival.
    string_order: Vec<u64>,
    /// Empty buffers of an earlier batch.
    spare: Batch<'a>,
}

impl<'a> BatchBuilder<'a> {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn reusing(mut batch: Batch<'_>) -> Self {
        let builder = batch.builder.take().unwrap_or_default();
        Self { spare: batch.cleared(), ..builder.cleared() }
    }

    /// Returns an empty builder that keeps the buffers. It has a lifetime of any length.
    #[must_use]
    pub fn cleared<'b>(mut self) -> BatchBuilder<'b> {
        self.own.clear();
        self.by_key.clear();
        self.by_field.clear();
        self.cells.clear();
        self.strings.clear();
        self.points.clear();
        BatchBuilder {
            own: self.own,
            series: emptied(self.series),
            by_key: self.by_key,
            columns: emptied(self.columns),
            by_field: self.by_field,
            cells: self.cells,
            strings: self.strings,
            points: self.points,
            current: 0,
            expected: NONE,
            places: self.places,
            string_order: self.string_order,
            spare: self.spare.cleared(),
        }
    }

    /// The number of values in the committed points.
    pub fn value_count(&self) -> usize {
        self.committed().1
    }

    /// The number of committed points.
    pub fn point_count(&self) -> usize {
        self.points.len()
    }

    /// The first and the last time of the committed points.
    pub fn time_range(&self) -> Option<TimeRange> {
        let times = || self.points.iter().map(|(time, _)| *time);
        Some(TimeRange::new(times().min()?, times().max()?))
    }

    /// Begins a point of the series `key` if an earlier point had this series. Otherwise returns false and begins
    /// nothing.
    pub fn begin_known(&mut self, key: &[u8]) -> bool {
        let hash = SeriesKey(key).hash64();
        let (series, own) = (&self.series, &self.own);
        let is = |&at: &u32| series[at as usize].hash == hash && series[at as usize].key.get(own) == key;
        let Some(&at) = self.by_key.find(hash, is) else { return false };
        self.current = at;
        self.expected = self.series[at as usize].first;
        true
    }

    /// Begins a point of the series `key`: the measurement and the sorted tags, with escapes.
    pub fn begin(&mut self, key: Cow<'a, [u8]>) {
        let hash = SeriesKey(&key).hash64();
        let (series, own) = (&mut self.series, &mut self.own);
        let found = self.by_key.find(hash, |&at| {
            let entry = &series[at as usize];
            entry.hash == hash && entry.key.get(own) == &*key
        });
        self.current = if let Some(&at) = found {
            at
        } else {
            let at = place(series.len());
            let key = Text::keep(key, own);
            series.push(SeriesEntry { key, hash, first: NONE, last: NONE, columns: 0 });
            self.by_key.insert_unique(hash, at, |&at| series[at as usize].hash);
            at
        };
        self.expected = self.series[self.current as usize].first;
    }

    /// Adds one value to the current point. `name` is the name of the field without escapes.
    ///
    /// # Errors
    /// The column of this series and field has another type. The caller must then abort the point.
    pub fn field(&mut self, name: Cow<'a, [u8]>, value: Value<'_>) -> Result<FieldSlot, TypeConflict> {
        let at = self.find(&name).unwrap_or_else(|| self.add_column(name, value.field_type()));
        self.push(at, value)
    }

    /// Like [`BatchBuilder::field`], for a name that needs no escapes in line protocol.
    ///
    /// # Errors
    /// Like [`BatchBuilder::field`].
    pub fn plain_field(&mut self, name: Cow<'a, [u8]>, value: Value<'_>) -> Result<FieldSlot, TypeConflict> {
        let at = self.find(&name).unwrap_or_else(|| self.add_column(name, value.field_type()));
        self.columns[at as usize].is_plain = true;
        self.push(at, value)
    }

    /// The field that followed the last one in an earlier point of the series. It is likely to come next. Returns
    /// `None` unless [`BatchBuilder::plain_field`] added it, because a name with escapes may look like other text.
    #[inline]
    pub fn expected_field(&self) -> Option<&[u8]> {
        let column = self.columns.get(self.expected as usize)?;
        column.is_plain.then(|| column.field.get(&self.own))
    }

    /// Adds one value to the column of [`BatchBuilder::expected_field`].
    ///
    /// # Errors
    /// Like [`BatchBuilder::field`].
    ///
    /// # Panics
    /// No field is expected.
    #[inline]
    pub fn field_as_expected(&mut self, value: Value<'_>) -> Result<FieldSlot, TypeConflict> {
        self.push(self.expected, value)
    }

    #[inline]
    fn push(&mut self, at: u32, value: Value<'_>) -> Result<FieldSlot, TypeConflict> {
        let column = &mut self.columns[at as usize];
        if column.field_type != value.field_type() {
            if column.len > 0 {
                return Err(TypeConflict { existing: column.field_type, incoming: value.field_type() });
            }
            column.field_type = value.field_type();
        }
        let slot = if column.len == 0 { FieldSlot::New } else { FieldSlot::Known };
        column.len += 1;
        self.expected = column.next;
        let bits = match value {
            Value::Float(v) => v.to_bits(),
            Value::Integer(v) => v.cast_unsigned(),
            Value::Unsigned(v) => v,
            Value::Boolean(v) => u64::from(v),
            Value::String(v) => {
                self.strings.push(v);
                self.strings.len() as u64 - 1
            }
        };
        self.cells.push(Cell { column: at, bits });
        Ok(slot)
    }

    /// Ends the current point and adds its values to the batch with this time.
    pub fn commit(&mut self, time: i64) {
        self.points.push((time, self.cells.len()));
    }

    /// Drops the current point.
    pub fn abort(&mut self) {
        let (_, end) = self.committed();
        for cell in self.cells.drain(end..) {
            self.columns[cell.column as usize].len -= 1;
        }
        // The strings of the point stay in the staging buffer, but no cell refers to them.
    }

    /// Lays out the columns and moves every value to its place.
    pub fn finish(mut self) -> Batch<'a> {
        self.abort();
        let mut batch = std::mem::take(&mut self.spare);
        self.lay_out(&mut batch);
        self.scatter(&mut batch);
        self.place_strings(&mut batch);
        batch.own = std::mem::take(&mut self.own);
        batch.unique_keys = true;
        batch.builder = Some(Box::new(self.cleared()));
        batch
    }

    fn committed(&self) -> (i64, usize) {
        self.points.last().copied().unwrap_or((0, 0))
    }

    fn find(&self, name: &[u8]) -> Option<u32> {
        let is = |at: u32| self.columns[at as usize].field.get(&self.own) == name;
        if self.expected != NONE && is(self.expected) {
            return Some(self.expected);
        }
        let series = &self.series[self.current as usize];
        if series.columns > COLUMNS_WALKED_MAX {
            let named = |&at: &u32| self.columns[at as usize].series == self.current && is(at);
            return self.by_field.find(field_hash(self.current, name), named).copied();
        }
        let mut at = series.first;
        while at != NONE && !is(at) {
            at = self.columns[at as usize].next;
        }
        (at != NONE).then_some(at)
    }

    fn add_column(&mut self, name: Cow<'a, [u8]>, field_type: FieldType) -> u32 {
        let at = place(self.columns.len());
        let field = Text::keep(name, &mut self.own);
        let (series, next, len, is_plain) = (self.current, NONE, 0, false);
        self.columns.push(ColumnEntry { field, series, next, field_type, len, is_plain });
        let series = &mut self.series[self.current as usize];
        match series.last {
            NONE => series.first = at,
            last => self.columns[last as usize].next = at,
        }
        series.last = at;
        series.columns += 1;
        if series.columns == COLUMNS_WALKED_MAX + 1 {
            let mut member = series.first;
            while member != NONE {
                self.index_by_field(member);
                member = self.columns[member as usize].next;
            }
        } else if series.columns > COLUMNS_WALKED_MAX {
            self.index_by_field(at);
        }
        at
    }

    fn index_by_field(&mut self, at: u32) {
        let (columns, own) = (&self.columns, &self.own);
        let hash = |&at: &u32| {
            let column = &columns[at as usize];
            field_hash(column.series, column.field.get(own))
        };
        self.by_field.insert_unique(hash(&at), at, hash);
    }

    /// Fills the series and columns of `batch`, and stores where the first time and value of each column go.
    fn lay_out(&mut self, batch: &mut Batch<'a>) {
        self.places.clear();
        self.places.resize(self.columns.len(), (0, 0));
        let (mut time, mut value) = (0, [0usize; FieldType::ALL.len()]);
        for series in &self.series {
            let first = batch.columns.len();
            let mut at = series.first;
            while at != NONE {
                let column = &self.columns[at as usize];
                let len = column.len as usize;
                if len > 0 {
                    let values = &mut value[column.field_type as usize];
                    self.places[at as usize] = (time, *values);
                    let (field, field_type) = (column.field, column.field_type);
                    batch.columns.push(BatchColumn { field, field_type, time, value: *values, len });
                    time += len;
                    *values += len;
                }
                at = column.next;
            }
            let columns = first..batch.columns.len();
            if !columns.is_empty() {
                batch.series.push(Series { key: series.key, hash: series.hash, columns });
            }
        }
        let arenas = &mut batch.arenas;
        arenas.times.resize(time, 0);
        arenas.floats.resize(value[FieldType::Float as usize], 0.0);
        arenas.integers.resize(value[FieldType::Integer as usize], 0);
        arenas.unsigneds.resize(value[FieldType::Unsigned as usize], 0);
        arenas.booleans.resize(value[FieldType::Boolean as usize], false);
        self.string_order.clear();
        self.string_order.resize(value[FieldType::String as usize], 0);
    }

    fn scatter(&mut self, batch: &mut Batch<'a>) {
        let arenas = &mut batch.arenas;
        let mut from = 0;
        for &(time, to) in &self.points {
            for cell in &self.cells[from..to] {
                let (time_at, value_at) = &mut self.places[cell.column as usize];
                arenas.times[*time_at] = time;
                match self.columns[cell.column as usize].field_type {
                    FieldType::Float => arenas.floats[*value_at] = f64::from_bits(cell.bits),
                    FieldType::Integer => arenas.integers[*value_at] = cell.bits.cast_signed(),
                    FieldType::Unsigned => arenas.unsigneds[*value_at] = cell.bits,
                    FieldType::Boolean => arenas.booleans[*value_at] = cell.bits != 0,
                    FieldType::String => self.string_order[*value_at] = cell.bits,
                }
                *time_at += 1;
                *value_at += 1;
            }
            from = to;
        }
    }

    fn place_strings(&self, batch: &mut Batch<'a>) {
        let arrived = self.strings.as_ref();
        for &at in &self.string_order {
            batch.arenas.strings.push(arrived.get(at as usize));
        }
    }
}

/// Indexes have 32 bits. A batch is far smaller than that.
fn place(len: usize) -> u32 {
    assert!(len < NONE as usize, "a batch holds fewer than 2^32 columns");
    len as u32
}

fn field_hash(series: u32, name: &[u8]) -> u64 {
    let mut hasher = BuildHasherDefault::<xxhash_rust::xxh64::Xxh64>::default().build_hasher();
    hasher.write(name);
    hasher.write_u32(series);
    hasher.finish()
}

#[cfg(test)]
mod tests;
