//! The blocks of InfluxDB 1.x, equal to the byte.
//!
//! ```text
//! ┌───────────┬──────────────────────┬────────────┬─────────────────────┐
//! │ type <1B> │ times bytes <varint> │ timestamps │ values: all the rest │
//! └───────────┴──────────────────────┴────────────┴─────────────────────┘
//! type: 0 float, 1 integer, 2 boolean, 3 string, 4 unsigned
//! ```
//!
//! InfluxDB has two encoders for one format. Every version reads the blocks of both. Integers and times have
//! different bytes:
//!
//! | encoder      | written by                                                     | takes             |
//! |--------------|----------------------------------------------------------------|-------------------|
//! | `tsm1`       | snapshots of every 1.x version, compactions of 1.6 and earlier | a value at a time |
//! | `tsm1-batch` | compactions of 1.7 and later                                   | whole arrays      |
//!
//! InfluxDB's own encoder for `tsm1-batch` refuses a column with both infinities, because it takes their sum for a
//! NaN. This one encodes it.
//!
//! Each module holds the encoding of times or of one type of values, and can be used alone. The decoders are
//! stricter than those of InfluxDB. If a block has different numbers of times and values, InfluxDB drops the
//! surplus. Here it is an error, and so are bytes after the end.

pub mod boolean;
pub mod float;
pub mod integer;
pub mod simple8b;
pub mod string;
pub mod time;

mod arithmetic;
mod bits;

use crate::column::{Column, ColumnRef, FieldType, Values, ValuesRef};
use crate::error::{Error, Result};
use crate::model::TimeRange;
use crate::varint;
use crate::{BlockDecoder, BlockEncoder, Span};

/// Selects one of InfluxDB's two encoders. Every version reads the blocks of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The form of snapshots in every 1.x version, and of compactions in 1.6 and older.
    Streaming,
    /// The form of compactions in 1.7 and later. Runs of ones become other simple8b words, and a wide first integer
    /// does not prevent packing.
    Batch,
}

/// The encoder of InfluxDB's blocks. Use it as [`Tsm1`] or [`Tsm1Batch`].
#[derive(Debug, Default)]
pub struct Influx<const BATCH: bool> {
    words: Vec<u64>,
    times: Vec<u8>,
    strings: string::Scratch,
}

/// Writes blocks as InfluxDB 1.x does in snapshots.
pub type Tsm1 = Influx<false>;

/// Writes blocks as InfluxDB 1.7 and later do in compactions.
///
/// The blocks are `tsm1` blocks. [`Tsm1`] owns their first bytes and reads them.
pub type Tsm1Batch = Influx<true>;

impl<const BATCH: bool> Influx<BATCH> {
    const FORM: Form = if BATCH { Form::Batch } else { Form::Streaming };
}

impl<const BATCH: bool> BlockEncoder for Influx<BATCH> {
    fn tags(&self) -> &'static [u8] {
        &[0, 1, 2, 3, 4]
    }

    fn is_influx_readable(&self) -> bool {
        true
    }

    fn same_blocks_as(&self) -> Option<&'static str> {
        if BATCH { Some("tsm1") } else { None }
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        self.times.clear();
        time::encode(Self::FORM, column.times(), &mut self.words, &mut self.times);
        out.push(tag(column.field_type()));
        varint::put(self.times.len() as u64, out);
        out.extend_from_slice(&self.times);
        let done = match column.values() {
            ValuesRef::Float(values) => float::encode(values, out),
            ValuesRef::String(values) => string::encode(values, &mut self.strings, out),
            ValuesRef::Integer(values) => {
                integer::encode(Self::FORM, values, &mut self.words, out);
                Ok(())
            }
            ValuesRef::Unsigned(values) => {
                integer::encode_unsigned(Self::FORM, values, &mut self.words, out);
                Ok(())
            }
            ValuesRef::Boolean(values) => {
                boolean::encode(Self::FORM, values, out);
                Ok(())
            }
        };
        if done.is_err() {
            out.truncate(begin);
        }
        done
    }
}

impl<const BATCH: bool> BlockDecoder for Influx<BATCH> {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        let parts = match Parts::of(block) {
            Ok(parts) => parts,
            Err(error) => {
                out.reset(out.field_type());
                return Err(error);
            }
        };
        let unequal = || Error::corrupt(parts.values_at, "as many values as timestamps");
        out.refill(parts.field_type, unequal, |times, values| {
            time::decode(parts.times, limit, times).map_err(|e| e.shifted(parts.times_at))?;
            let count = times.len();
            match values {
                Values::Float(values) => float::decode(parts.values, count, values),
                Values::Integer(values) => integer::decode(parts.values, count, values),
                Values::Unsigned(values) => integer::decode_unsigned(parts.values, count, values),
                Values::Boolean(values) => boolean::decode(parts.values, count, values),
                Values::String(values) => string::decode(parts.values, count, &mut self.strings, values),
            }
            .map_err(|e| e.shifted(parts.values_at))
        })
    }

    /// Times with a constant step are computed only inside the range. Floats are read only up to the last such time,
    /// because a float block can only be read from its start.
    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<Option<Span>> {
        let parts = match Parts::of(block) {
            Ok(parts) => parts,
            Err(error) => {
                out.reset(out.field_type());
                return Err(error);
            }
        };
        let mut span = None;
        let unequal = || Error::corrupt(parts.values_at, "as many values as timestamps");
        out.refill(parts.field_type, unequal, |times, values| {
            let wanted = if parts.field_type == FieldType::Float { range } else { TimeRange::ALL };
            let read = time::decode_within(parts.times, limit, wanted, times);
            let read = read.map_err(|e| e.shifted(parts.times_at))?;
            span = read.span;
            match values {
                Values::Float(values) => float::decode_part(parts.values, read.places, read.count, values),
                Values::Integer(values) => integer::decode(parts.values, read.count, values),
                Values::Unsigned(values) => integer::decode_unsigned(parts.values, read.count, values),
                Values::Boolean(values) => boolean::decode(parts.values, read.count, values),
                Values::String(values) => string::decode(parts.values, read.count, &mut self.strings, values),
            }
            .map_err(|e| e.shifted(parts.values_at))
        })?;
        Ok(span)
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let parts = Parts::of(block)?;
        let count = time::count(parts.times).map_err(|e| e.shifted(parts.times_at))?;
        Ok((parts.field_type, count))
    }

    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        let parts = Parts::of(block)?;
        match parts.field_type {
            FieldType::String => string::claimed(parts.values).map_err(|e| e.shifted(parts.values_at)),
            _ => Ok(0),
        }
    }
}

/// The first byte of blocks with this type.
pub fn tag(field_type: FieldType) -> u8 {
    match field_type {
        FieldType::Float => 0,
        FieldType::Integer => 1,
        FieldType::Boolean => 2,
        FieldType::String => 3,
        FieldType::Unsigned => 4,
    }
}

/// The type of blocks that begin with this byte.
pub fn field_type(tag: u8) -> Option<FieldType> {
    FieldType::ALL.into_iter().find(|&field_type| self::tag(field_type) == tag)
}

/// The parts of a block before decoding.
struct Parts<'b> {
    field_type: FieldType,
    times: &'b [u8],
    times_at: usize,
    values: &'b [u8],
    values_at: usize,
}

impl<'b> Parts<'b> {
    fn of(block: &'b [u8]) -> Result<Self> {
        let Some((&tag, rest)) = block.split_first() else {
            return Err(Error::corrupt(0, "the type of the block"));
        };
        let Some(field_type) = field_type(tag) else { return Err(Error::unknown_tag(tag)) };
        let Some((len, rest)) = varint::get(rest) else {
            return Err(Error::corrupt(1, "the length of the timestamps"));
        };
        let times_at = block.len() - rest.len();
        let Some((times, values)) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len))
        else {
            return Err(Error::corrupt(1, "timestamps inside the block"));
        };
        Ok(Self { field_type, times, times_at, values, values_at: times_at + times.len() })
    }
}

/// A signed or unsigned 64-bit number. The encodings work on its bits.
trait Word: Copy {
    fn from_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
}

impl Word for i64 {
    fn from_bits(bits: u64) -> Self {
        bits as Self
    }
    fn to_bits(self) -> u64 {
        self as u64
    }
}

impl Word for u64 {
    fn from_bits(bits: u64) -> Self {
        bits
    }
    fn to_bits(self) -> u64 {
        self
    }
}

/// Resizes `out` to `count` numbers and sets the first one to `first`. Returns the slots of the others.
///
/// The slots keep their old content until they are overwritten. Clearing them first would cost as much as decoding
/// narrow numbers.
fn begin_with<T: Word>(out: &mut Vec<T>, first: u64, count: usize) -> &mut [T] {
    out.resize(count, T::from_bits(0));
    match out.split_first_mut() {
        Some((place, rest)) => {
            *place = T::from_bits(first);
            rest
        }
        None => &mut [],
    }
}

/// Splits off the big-endian word at the start.
fn split_first_word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*word), rest))
}
