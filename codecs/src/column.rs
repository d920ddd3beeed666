//! Columns: the times and values of one field of one series. All values have one type.

mod merge;
mod strings;
mod values;

use std::ops::Range;

use crate::ascending::is_strictly_ascending;
use crate::model::TimeRange;

pub use strings::{StringColumn, StringsRef};
pub use values::{FieldType, TypeConflict, Value, Values, ValuesRef};

/// Times and values of equal length.
#[derive(Clone, Debug)]
pub struct Column {
    times: Vec<i64>,
    values: Values,
}

impl Column {
    /// An empty column of this type.
    pub fn new(field_type: FieldType) -> Self {
        Self { times: Vec::new(), values: Values::new(field_type) }
    }

    /// Joins times and values. Returns `None` if their lengths differ.
    pub fn from_parts(times: Vec<i64>, values: Values) -> Option<Self> {
        (times.len() == values.len()).then_some(Self { times, values })
    }

    /// The type of the values.
    pub fn field_type(&self) -> FieldType {
        self.values.field_type()
    }

    /// The times, in the order of the values.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The values, in the order of the times.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether the column has no points.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Borrows the whole column.
    pub fn as_ref(&self) -> ColumnRef<'_> {
        ColumnRef { times: &self.times, values: self.values.as_ref() }
    }

    /// Removes all points and sets the type. The buffers are kept if the type stays the same.
    pub fn reset(&mut self, field_type: FieldType) {
        self.times.clear();
        if self.field_type() == field_type {
            self.values.clear();
        } else {
            self.values = Values::new(field_type);
        }
    }

    /// Reserves memory for exactly this many more points.
    pub fn reserve_exact(&mut self, additional: usize) {
        self.times.reserve_exact(additional);
        self.values.reserve_exact(additional);
    }

    /// Appends one point.
    ///
    /// # Errors
    /// The value has another type than the column. The column is unchanged.
    pub fn push(&mut self, time: i64, value: Value<'_>) -> Result<(), TypeConflict> {
        self.values.push(value)?;
        self.times.push(time);
        Ok(())
    }

    /// Appends all points of `other`. An empty column takes the type of `other`.
    ///
    /// # Errors
    /// The columns have different types, and this one is not empty. It is unchanged.
    pub fn extend(&mut self, other: ColumnRef<'_>) -> Result<(), TypeConflict> {
        if self.is_empty() && self.field_type() != other.field_type() {
            self.reset(other.field_type());
        }
        self.values.extend(other.values)?;
        self.times.extend_from_slice(other.times);
        Ok(())
    }

    /// Keeps the first `len` points.
    pub fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
    }

    /// Replaces the content. `fill` gets empty buffers of `field_type` and fills them. If `fill` fails, or leaves
    /// different numbers of times and values, the column is empty afterwards. Different numbers give the error
    /// `unequal()`.
    pub fn fill<E>(
        &mut self,
        field_type: FieldType,
        unequal: impl FnOnce() -> E,
        fill: impl FnOnce(&mut Vec<i64>, &mut Values) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reset(field_type);
        self.refill(field_type, unequal, fill)
    }

    /// Like [`Column::fill`], but `fill` gets the old content if the column already has the type. `fill` overwrites
    /// it.
    pub(crate) fn refill<E>(
        &mut self,
        field_type: FieldType,
        unequal: impl FnOnce() -> E,
        fill: impl FnOnce(&mut Vec<i64>, &mut Values) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.field_type() != field_type {
            self.reset(field_type);
        }
        let done = fill(&mut self.times, &mut self.values).and_then(|()| {
            let equal = self.times.len() == self.values.len() && self.values.field_type() == field_type;
            if equal { Ok(()) } else { Err(unequal()) }
        });
        if done.is_err() {
            self.reset(field_type);
        }
        done
    }

    /// Sorts by time. If several points have the same time, only the last one of the previous order stays.
    pub fn sort_dedup(&mut self) {
        if self.as_ref().is_strictly_ascending() {
            return;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&i| self.times[i]);
        let last_of_its_time = |at: usize| {
            let next = order.get(at + 1);
            next.is_none_or(|&n| self.times[n] != self.times[order[at]])
        };
        let kept: Vec<usize> =
            (0..order.len()).filter(|&at| last_of_its_time(at)).map(|at| order[at]).collect();
        *self = self.as_ref().gather(&kept);
    }

    /// Keeps only the points inside `range`. The column must be in ascending order.
    pub fn retain_within(&mut self, range: TimeRange) {
        if self.times.last().is_some_and(|&last| last > range.max) {
            self.truncate(self.times.partition_point(|&time| time <= range.max));
        }
        if self.times.first().is_some_and(|&first| first < range.min) {
            let from = self.times.partition_point(|&time| time < range.min);
            self.times.drain(..from);
            match &mut self.values {
                Values::Float(v) => drop(v.drain(..from)),
                Values::Integer(v) => drop(v.drain(..from)),
                Values::Unsigned(v) => drop(v.drain(..from)),
                Values::Boolean(v) => drop(v.drain(..from)),
                Values::String(v) => {
                    let mut out = StringColumn::default();
                    out.extend(v.as_ref().slice(from..v.len()));
                    *v = out;
                }
            }
        }
    }

    /// Reverses the order of the points.
    pub fn reverse(&mut self) {
        self.times.reverse();
        match &mut self.values {
            Values::Float(v) => v.reverse(),
            Values::Integer(v) => v.reverse(),
            Values::Unsigned(v) => v.reverse(),
            Values::Boolean(v) => v.reverse(),
            Values::String(v) => {
                let mut out = StringColumn::default();
                (0..v.len()).rev().for_each(|i| out.push(v.as_ref().get(i)));
                *v = out;
            }
        }
    }

    /// Removes the points inside `range`.
    pub fn exclude(&mut self, range: TimeRange) {
        if self.times.iter().any(|&t| range.contains(t)) {
            let kept: Vec<usize> = (0..self.len()).filter(|&i| !range.contains(self.times[i])).collect();
            *self = self.as_ref().gather(&kept);
        }
    }
}

/// Columns are equal if their types, times and the bits of all values are equal.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

/// A borrowed [`Column`].
#[derive(Clone, Copy, Debug)]
pub struct ColumnRef<'a> {
    times: &'a [i64],
    values: ValuesRef<'a>,
}

impl<'a> ColumnRef<'a> {
    /// Joins times and values. Returns `None` if their lengths differ.
    pub fn new(times: &'a [i64], values: ValuesRef<'a>) -> Option<Self> {
        (times.len() == values.len()).then_some(Self { times, values })
    }

    /// The type of the values.
    pub fn field_type(self) -> FieldType {
        self.values.field_type()
    }

    /// The times, in the order of the values.
    pub fn times(self) -> &'a [i64] {
        self.times
    }

    /// The values.
    pub fn values(self) -> ValuesRef<'a> {
        self.values
    }

    /// The number of points.
    pub fn len(self) -> usize {
        self.times.len()
    }

    /// Whether the column has no points.
    pub fn is_empty(self) -> bool {
        self.times.is_empty()
    }

    /// The points at these indexes.
    ///
    /// # Panics
    /// The range ends beyond the last point.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        Self { times: &self.times[range.clone()], values: self.values.slice(range) }
    }

    /// The total length of the strings; 0 if the column has another type.
    pub fn string_bytes(self) -> u64 {
        match self.values {
            ValuesRef::String(values) => values.bytes().len() as u64,
            _ => 0,
        }
    }

    /// Whether each time is later than the one before it.
    pub fn is_strictly_ascending(self) -> bool {
        is_strictly_ascending(self.times)
    }

    /// The points inside `range`. The column must be in ascending order.
    #[must_use]
    pub fn within(self, range: TimeRange) -> Self {
        let from = self.times.partition_point(|&t| t < range.min);
        let to = self.times.partition_point(|&t| t <= range.max);
        self.slice(from..to.max(from))
    }

    /// Copies the points at these indexes, in this order.
    ///
    /// # Panics
    /// An index is not below [`ColumnRef::len`].
    pub fn gather(self, places: &[usize]) -> Column {
        let times = places.iter().map(|&i| self.times[i]).collect();
        let values = match self.values {
            ValuesRef::Float(v) => Values::Float(places.iter().map(|&i| v[i]).collect()),
            ValuesRef::Integer(v) => Values::Integer(places.iter().map(|&i| v[i]).collect()),
            ValuesRef::Unsigned(v) => Values::Unsigned(places.iter().map(|&i| v[i]).collect()),
            ValuesRef::Boolean(v) => Values::Boolean(places.iter().map(|&i| v[i]).collect()),
            ValuesRef::String(v) => {
                let mut out = StringColumn::default();
                for &i in places {
                    out.push(v.get(i));
                }
                Values::String(out)
            }
        };
        Column { times, values }
    }

    /// Copies the points into an owned column.
    pub fn to_column(self) -> Column {
        let mut out = Column::new(self.field_type());
        let extended = out.extend(self);
        debug_assert_eq!(extended, Ok(()), "an empty column takes every type");
        out
    }
}

/// Columns are equal if their types, times and the bits of all values are equal.
impl PartialEq for ColumnRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.times == other.times
            && match (self.values, other.values) {
                (ValuesRef::Float(a), ValuesRef::Float(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
                }
                (ValuesRef::Integer(a), ValuesRef::Integer(b)) => a == b,
                (ValuesRef::Unsigned(a), ValuesRef::Unsigned(b)) => a == b,
                (ValuesRef::Boolean(a), ValuesRef::Boolean(b)) => a == b,
                (ValuesRef::String(a), ValuesRef::String(b)) => a.len() == b.len() && a.iter().eq(b.iter()),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(points: &[(i64, &str)]) -> Column {
        let mut column = Column::new(FieldType::String);
        for (time, value) in points {
            column.push(*time, Value::String(value.as_bytes())).expect("one type");
        }
        column
    }

    #[test]
    fn sort_dedup_keeps_the_last_of_equal_times() {
        let mut column = strings(&[(2, "b"), (1, "a"), (2, "c"), (1, "d"), (3, "")]);
        column.sort_dedup();
        assert_eq!(column, strings(&[(1, "d"), (2, "c"), (3, "")]));
    }

    #[test]
    fn string_slices_hold_only_their_strings() {
        let column = strings(&[(1, "one"), (2, ""), (3, "three"), (4, "four")]);
        let slice = column.as_ref().slice(1..3);
        assert_eq!(slice, strings(&[(2, ""), (3, "three")]).as_ref());
        let ValuesRef::String(values) = slice.values() else { panic!("strings") };
        assert_eq!(values.bytes(), b"three");
        assert_eq!(slice.slice(1..2).to_column(), strings(&[(3, "three")]));
        assert_eq!(column.as_ref().within(TimeRange::new(2, 3)), slice);
        assert!(column.as_ref().within(TimeRange::new(9, 3)).is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut column = strings(&[(1, "x")]);
        let conflict = TypeConflict { existing: FieldType::String, incoming: FieldType::Integer };
        assert_eq!(column.push(2, Value::Integer(1)), Err(conflict));
        assert_eq!(column.len(), 1);
    }

    #[test]
    fn fill_with_unequal_lengths_empties_the_column() {
        let mut column = strings(&[(1, "x")]);
        let done = column.fill(
            FieldType::Integer,
            || "unequal",
            |times, _| {
                times.push(1);
                Ok(())
            },
        );
        assert_eq!(done, Err("unequal"));
        assert!(column.is_empty());
    }
}
