//! Columns: the times and values of one field of one series, with one type tag for all of them.

use std::fmt;
use std::ops::Range;

use crate::model::TimeRange;

mod merge;

/// The five types of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldType {
    /// IEEE 754 double; compared by its bits.
    Float,
    /// Signed 64-bit integer.
    Integer,
    /// Unsigned 64-bit integer.
    Unsigned,
    /// True or false.
    Boolean,
    /// Any bytes; UTF-8 by custom.
    String,
}

impl FieldType {
    /// Every type, in the order of this enum.
    pub const ALL: [Self; 5] = [Self::Float, Self::Integer, Self::Unsigned, Self::Boolean, Self::String];

    /// The lower-case name that reports and messages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value, on its way into or out of a column. Never stored: columns hold plain slices.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A float.
    Float(f64),
    /// An integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A boolean.
    Boolean(bool),
    /// A string.
    String(&'a [u8]),
}

impl Value<'_> {
    /// The type of the value.
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}

/// Equal when type and bits are equal: a NaN equals itself, 0.0 and -0.0 differ.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Unsigned(a), Self::Unsigned(b)) => a == b,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            _ => false,
        }
    }
}

/// Strings end to end in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringColumn {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl StringColumn {
    /// How many strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Makes room for the ends of exactly this many more strings.
    pub fn reserve_exact(&mut self, additional: usize) {
        self.ends.reserve_exact(additional);
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// Adds all of `other` at the end.
    pub fn extend(&mut self, other: StringsRef<'_>) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes());
        self.ends.extend(other.ends.iter().map(|end| base + (end - other.start)));
    }

    /// Removes all, and keeps the buffers.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    /// Keeps the first `len` strings.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Replaces the content by `bytes` cut at `ends`, which must ascend and end at the last byte.
    ///
    /// # Errors
    /// Gives the parts back when they do not fit together.
    pub fn from_parts(ends: Vec<usize>, bytes: Vec<u8>) -> Result<Self, (Vec<usize>, Vec<u8>)> {
        if ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len() {
            Ok(Self { ends, bytes })
        } else {
            Err((ends, bytes))
        }
    }

    /// The buffers, for a decoder that fills them anew through [`StringColumn::from_parts`].
    pub fn into_parts(self) -> (Vec<usize>, Vec<u8>) {
        (self.ends, self.bytes)
    }

    /// All of it, borrowed.
    pub fn as_ref(&self) -> StringsRef<'_> {
        StringsRef { ends: &self.ends, bytes: &self.bytes, start: 0 }
    }
}

/// A borrowed run of strings.
#[derive(Clone, Copy, Debug)]
pub struct StringsRef<'a> {
    ends: &'a [usize],
    bytes: &'a [u8],
    start: usize,
}

impl<'a> StringsRef<'a> {
    /// How many strings.
    pub fn len(self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`StringsRef::len`].
    pub fn get(self, index: usize) -> &'a [u8] {
        let from = if index == 0 { self.start } else { self.ends[index - 1] };
        &self.bytes[from..self.ends[index]]
    }

    /// The strings in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let mut from = self.start;
        self.ends.iter().map(move |&end| {
            let value = &self.bytes[from..end];
            from = end;
            value
        })
    }

    /// All strings end to end.
    pub fn bytes(self) -> &'a [u8] {
        &self.bytes[self.start..self.ends.last().copied().unwrap_or(self.start)]
    }

    /// The strings of `range`.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        let start = if range.start == 0 { self.start } else { self.ends[range.start - 1] };
        Self { ends: &self.ends[range], bytes: self.bytes, start }
    }
}

/// The values of a column: one tag, one buffer.
#[derive(Clone, Debug)]
pub enum Values {
    /// Floats.
    Float(Vec<f64>),
    /// Integers.
    Integer(Vec<i64>),
    /// Unsigned integers.
    Unsigned(Vec<u64>),
    /// Booleans.
    Boolean(Vec<bool>),
    /// Strings.
    String(StringColumn),
}

/// Runs `$body` with `$v` bound to the buffer, whatever its type.
macro_rules! each {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            Self::Float($v) => $body,
            Self::Integer($v) => $body,
            Self::Unsigned($v) => $body,
            Self::Boolean($v) => $body,
            Self::String($v) => $body,
        }
    };
}

impl Values {
    /// No values of this type.
    pub fn new(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Float => Self::Float(Vec::new()),
            FieldType::Integer => Self::Integer(Vec::new()),
            FieldType::Unsigned => Self::Unsigned(Vec::new()),
            FieldType::Boolean => Self::Boolean(Vec::new()),
            FieldType::String => Self::String(StringColumn::default()),
        }
    }

    /// The type of all values.
    pub fn field_type(&self) -> FieldType {
        self.as_ref().field_type()
    }

    /// How many values.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all, and keeps the buffer.
    pub fn clear(&mut self) {
        each!(self, v => v.clear());
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        each!(self, v => v.truncate(len));
    }

    /// Makes room for exactly this many more values; of strings, for their ends.
    pub fn reserve_exact(&mut self, additional: usize) {
        each!(self, v => v.reserve_exact(additional));
    }

    /// Adds one value at the end; false, and nothing done, when its type is another.
    #[must_use]
    pub fn push(&mut self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Float(to), Value::Float(v)) => to.push(v),
            (Self::Integer(to), Value::Integer(v)) => to.push(v),
            (Self::Unsigned(to), Value::Unsigned(v)) => to.push(v),
            (Self::Boolean(to), Value::Boolean(v)) => to.push(v),
            (Self::String(to), Value::String(v)) => to.push(v),
            _ => return false,
        }
        true
    }

    /// Adds all of `other` at the end; false, and nothing done, when its type is another.
    #[must_use]
    pub fn extend(&mut self, other: ValuesRef<'_>) -> bool {
        match (self, other) {
            (Self::Float(to), ValuesRef::Float(from)) => to.extend_from_slice(from),
            (Self::Integer(to), ValuesRef::Integer(from)) => to.extend_from_slice(from),
            (Self::Unsigned(to), ValuesRef::Unsigned(from)) => to.extend_from_slice(from),
            (Self::Boolean(to), ValuesRef::Boolean(from)) => to.extend_from_slice(from),
            (Self::String(to), ValuesRef::String(from)) => to.extend(from),
            _ => return false,
        }
        true
    }

    /// All of it, borrowed.
    pub fn as_ref(&self) -> ValuesRef<'_> {
        match self {
            Self::Float(v) => ValuesRef::Float(v),
            Self::Integer(v) => ValuesRef::Integer(v),
            Self::Unsigned(v) => ValuesRef::Unsigned(v),
            Self::Boolean(v) => ValuesRef::Boolean(v),
            Self::String(v) => ValuesRef::String(v.as_ref()),
        }
    }
}

/// The borrowed twin of [`Values`].
#[derive(Clone, Copy, Debug)]
pub enum ValuesRef<'a> {
    /// Floats.
    Float(&'a [f64]),
    /// Integers.
    Integer(&'a [i64]),
    /// Unsigned integers.
    Unsigned(&'a [u64]),
    /// Booleans.
    Boolean(&'a [bool]),
    /// Strings.
    String(StringsRef<'a>),
}

impl<'a> ValuesRef<'a> {
    /// The type of all values.
    pub fn field_type(self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }

    /// How many values.
    pub fn len(self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`ValuesRef::len`].
    pub fn get(self, index: usize) -> Value<'a> {
        match self {
            Self::Float(v) => Value::Float(v[index]),
            Self::Integer(v) => Value::Integer(v[index]),
            Self::Unsigned(v) => Value::Unsigned(v[index]),
            Self::Boolean(v) => Value::Boolean(v[index]),
            Self::String(v) => Value::String(v.get(index)),
        }
    }

    /// The values of `range`.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        match self {
            Self::Float(v) => Self::Float(&v[range]),
            Self::Integer(v) => Self::Integer(&v[range]),
            Self::Unsigned(v) => Self::Unsigned(&v[range]),
            Self::Boolean(v) => Self::Boolean(&v[range]),
            Self::String(v) => Self::String(v.slice(range)),
        }
    }

    /// InfluxDB's account of the memory of these values together with their times: 16 bytes each, booleans 9,
    /// strings 8 and their length.
    pub fn cached_bytes(self) -> u64 {
        match self {
            Self::Float(_) | Self::Integer(_) | Self::Unsigned(_) => 16 * self.len() as u64,
            Self::Boolean(v) => 9 * v.len() as u64,
            Self::String(v) => 8 * v.len() as u64 + v.bytes().len() as u64,
        }
    }
}

/// Times and values of equal length, owned.
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

    /// Joins times and values; `None` when their lengths differ.
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

    /// The values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// All of it, borrowed.
    pub fn as_ref(&self) -> ColumnRef<'_> {
        ColumnRef { times: &self.times, values: self.values.as_ref() }
    }

    /// Empties the column and gives it a type; buffers are kept when the type stays.
    pub fn reset(&mut self, field_type: FieldType) {
        self.times.clear();
        if self.field_type() == field_type {
            self.values.clear();
        } else {
            self.values = Values::new(field_type);
        }
    }

    /// Makes room for exactly this many more points.
    pub fn reserve_exact(&mut self, additional: usize) {
        self.times.reserve_exact(additional);
        self.values.reserve_exact(additional);
    }

    /// Adds one point at the end; false, and nothing done, when its type is another.
    #[must_use]
    pub fn push(&mut self, time: i64, value: Value<'_>) -> bool {
        let fits = self.values.push(value);
        if fits {
            self.times.push(time);
        }
        fits
    }

    /// Adds all of `other` at the end. An empty column takes the type of `other`; else false, and nothing done, when
    /// the types differ.
    #[must_use]
    pub fn extend(&mut self, other: ColumnRef<'_>) -> bool {
        if self.is_empty() && self.field_type() != other.field_type() {
            self.reset(other.field_type());
        }
        let fits = self.values.extend(other.values);
        if fits {
            self.times.extend_from_slice(other.times);
        }
        fits
    }

    /// Keeps the first `len` points.
    pub fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
    }

    /// Replaces the content through `fill`, which is given empty buffers of `field_type`. Unless it succeeds and
    /// leaves as many times as values, the column is empty afterwards; unequal lengths give `unequal()`.
    pub fn fill<E>(
        &mut self,
        field_type: FieldType,
        unequal: impl FnOnce() -> E,
        fill: impl FnOnce(&mut Vec<i64>, &mut Values) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reset(field_type);
        self.refill(field_type, unequal, fill)
    }

    /// As [`Column::fill`], but the buffers of a column that had the type already hold what they held.
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

    /// Sorts by time; of several points at one time only the last one, in the present order, stays.
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

    /// Keeps only the points outside `range`.
    pub fn exclude(&mut self, range: TimeRange) {
        if self.times.iter().any(|&t| range.contains(t)) {
            let kept: Vec<usize> = (0..self.len()).filter(|&i| !range.contains(self.times[i])).collect();
            *self = self.as_ref().gather(&kept);
        }
    }
}

/// Equal when types, times and the bits of all values are equal.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

/// The borrowed twin of [`Column`].
#[derive(Clone, Copy, Debug)]
pub struct ColumnRef<'a> {
    times: &'a [i64],
    values: ValuesRef<'a>,
}

impl<'a> ColumnRef<'a> {
    /// Joins times and values; `None` when their lengths differ.
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

    /// How many points.
    pub fn len(self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.times.is_empty()
    }

    /// The points of `range`.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        Self { times: &self.times[range.clone()], values: self.values.slice(range) }
    }

    /// Whether each time is later than the one before it.
    pub fn is_strictly_ascending(self) -> bool {
        self.times.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// The points inside `range` of a column in ascending order.
    #[must_use]
    pub fn within(self, range: TimeRange) -> Self {
        let from = self.times.partition_point(|&t| t < range.min);
        let to = self.times.partition_point(|&t| t <= range.max);
        self.slice(from..to.max(from))
    }

    /// A copy of the points at these places, in this order.
    ///
    /// # Panics
    /// When a place is not below [`ColumnRef::len`].
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

    /// A copy of its own.
    pub fn to_column(self) -> Column {
        let mut out = Column::new(self.field_type());
        let fits = out.extend(self);
        debug_assert!(fits, "an empty column takes every type");
        out
    }
}

/// Equal when types, times and the bits of all values are equal.
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
            assert!(column.push(*time, Value::String(value.as_bytes())));
        }
        column
    }

    #[test]
    fn the_last_of_equal_times_stays() {
        let mut column = strings(&[(2, "b"), (1, "a"), (2, "c"), (1, "d"), (3, "")]);
        column.sort_dedup();
        assert_eq!(column, strings(&[(1, "d"), (2, "c"), (3, "")]));
    }

    #[test]
    fn slices_of_strings_stand_alone() {
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
    fn a_column_refuses_a_value_of_another_type() {
        let mut column = strings(&[(1, "x")]);
        assert!(!column.push(2, Value::Integer(1)));
        assert_eq!(column.len(), 1);
    }

    #[test]
    fn unequal_lengths_leave_the_column_empty() {
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
