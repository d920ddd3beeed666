//! Types and values of a column, owned and borrowed.

use std::fmt;
use std::ops::Range;

use super::{StringColumn, StringsRef};

/// The five types of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldType {
    /// A 64-bit IEEE 754 float. Comparisons use its bits.
    Float,
    /// Signed 64-bit integer.
    Integer,
    /// Unsigned 64-bit integer.
    Unsigned,
    /// True or false.
    Boolean,
    /// Any bytes, usually UTF-8.
    String,
}

impl FieldType {
    /// Every type, in the order of this enum.
    pub const ALL: [Self; 5] = [Self::Float, Self::Integer, Self::Unsigned, Self::Boolean, Self::String];

    /// The lower-case name, as reports and messages show it.
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

/// A value has another type than the column it should go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column holds {existing} values, and the new value is {incoming}")]
pub struct TypeConflict {
    /// The type of the column.
    pub existing: FieldType,
    /// The type of the value.
    pub incoming: FieldType,
}

/// One value, passed into or out of a column. Columns themselves store plain slices.
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

/// Values are equal if their types and bits are equal. A NaN equals itself, and 0.0 differs from -0.0.
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

/// The values of a column: one buffer of one type.
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

/// Runs `$body` with `$v` bound to the buffer of any type.
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
    /// An empty buffer of this type.
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

    /// The number of values.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all values and keeps the buffer.
    pub fn clear(&mut self) {
        each!(self, v => v.clear());
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        each!(self, v => v.truncate(len));
    }

    /// Reserves memory for exactly this many more values. For strings, it reserves only memory for their end
    /// offsets.
    pub fn reserve_exact(&mut self, additional: usize) {
        each!(self, v => v.reserve_exact(additional));
    }

    /// Appends one value.
    ///
    /// # Errors
    /// The value has another type. Nothing is appended.
    pub fn push(&mut self, value: Value<'_>) -> Result<(), TypeConflict> {
        match (self, value) {
            (Self::Float(to), Value::Float(v)) => to.push(v),
            (Self::Integer(to), Value::Integer(v)) => to.push(v),
            (Self::Unsigned(to), Value::Unsigned(v)) => to.push(v),
            (Self::Boolean(to), Value::Boolean(v)) => to.push(v),
            (Self::String(to), Value::String(v)) => to.push(v),
            (to, value) => {
                return Err(TypeConflict { existing: to.field_type(), incoming: value.field_type() });
            }
        }
        Ok(())
    }

    /// Appends all values of `other`.
    ///
    /// # Errors
    /// `other` has another type. Nothing is appended.
    pub fn extend(&mut self, other: ValuesRef<'_>) -> Result<(), TypeConflict> {
        match (self, other) {
            (Self::Float(to), ValuesRef::Float(from)) => to.extend_from_slice(from),
            (Self::Integer(to), ValuesRef::Integer(from)) => to.extend_from_slice(from),
            (Self::Unsigned(to), ValuesRef::Unsigned(from)) => to.extend_from_slice(from),
            (Self::Boolean(to), ValuesRef::Boolean(from)) => to.extend_from_slice(from),
            (Self::String(to), ValuesRef::String(from)) => to.extend(from),
            (to, other) => {
                return Err(TypeConflict { existing: to.field_type(), incoming: other.field_type() });
            }
        }
        Ok(())
    }

    /// Borrows all values.
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

/// Borrowed [`Values`].
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

    /// The number of values.
    pub fn len(self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// `index` is not below [`ValuesRef::len`].
    pub fn get(self, index: usize) -> Value<'a> {
        match self {
            Self::Float(v) => Value::Float(v[index]),
            Self::Integer(v) => Value::Integer(v[index]),
            Self::Unsigned(v) => Value::Unsigned(v[index]),
            Self::Boolean(v) => Value::Boolean(v[index]),
            Self::String(v) => Value::String(v.get(index)),
        }
    }

    /// The values at these indexes.
    ///
    /// # Panics
    /// The range ends beyond the last value.
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

    /// The memory of these values and their times as InfluxDB counts it: 16 bytes for a number, 9 for a boolean, and
    /// 8 plus its length for a string.
    pub fn cached_bytes(self) -> u64 {
        match self {
            Self::Float(_) | Self::Integer(_) | Self::Unsigned(_) => 16 * self.len() as u64,
            Self::Boolean(v) => 9 * v.len() as u64,
            Self::String(v) => 8 * v.len() as u64 + v.bytes().len() as u64,
        }
    }
}
