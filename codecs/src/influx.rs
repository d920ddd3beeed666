//! The blocks of InfluxDB 1.x, to the byte.
//!
//! ```text
//! ┌───────────┬──────────────────────┬────────────┬─────────────────────┐
//! │ type <1B> │ times bytes <varint> │ timestamps │ values: all the rest │
//! └───────────┴──────────────────────┴────────────┴─────────────────────┘
//! type: 0 float, 1 integer, 2 boolean, 3 string, 4 unsigned
//! ```
//!
//! InfluxDB has two encoders for one format, which every version reads. They differ in the bytes of integers and times:
//!
//! | encoder      | written by                                                                                    |
//! |--------------|-----------------------------------------------------------------------------------------------|
//! | `tsm1`       | snapshots of the cache, every 1.x version; compactions of 1.6 and older: one value at a time   |
//! | `tsm1-batch` | compactions of 1.7 and later: whole arrays                                                    |
//!
//! The original of `tsm1-batch` refuses a column with both infinities, which it takes for a NaN; ours writes it.
//!
//! The modules have the encodings of the two parts, each usable by itself. Decoders here are stricter than the
//! original, which takes the shorter of times and values where they differ: all must be there, and nothing more.

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

/// Which of InfluxDB's two encoders to equal. Every version reads both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What every 1.x version writes in snapshots, and 1.6 and older in compactions too.
    Streaming,
    /// What 1.7 and later write in compactions: other words for runs of ones, and integers that are packed although
    /// the first of them is wide.
    Batch,
}

/// The encoder of InfluxDB's blocks: [`Tsm1`], or with `BATCH` the form of later compactions, [`Tsm1Batch`].
#[derive(Debug, Default)]
pub struct Influx<const BATCH: bool> {
    words: Vec<u64>,
    times: Vec<u8>,
    strings: string::Scratch,
}

/// Writes what InfluxDB 1.x writes in snapshots.
pub type Tsm1 = Influx<false>;

/// Writes what InfluxDB 1.7 and later write in compactions.
///
/// Its blocks are `tsm1` blocks: [`Tsm1`] owns their first bytes and reads them.
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

    /// Times that are a constant step apart are made only as far as they are wanted, and floats read only up to the last
    /// of them: they have no other order than from the first to the last.
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

/// The first byte of the blocks of a type.
pub fn tag(field_type: FieldType) -> u8 {
    match field_type {
        FieldType::Float => 0,
        FieldType::Integer => 1,
        FieldType::Boolean => 2,
        FieldType::String => 3,
        FieldType::Unsigned => 4,
    }
}

/// The type of the blocks that begin with this byte.
pub fn field_type(tag: u8) -> Option<FieldType> {
    FieldType::ALL.into_iter().find(|&field_type| self::tag(field_type) == tag)
}

/// A block taken apart, nothing decoded yet.
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

/// A 64-bit number, signed or not: the encodings work on its bits.
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

/// Gives `out` room for `count` numbers, the first of which is `first`; the places of those to come.
///
/// What stood there stays until it is overwritten, because to clear the places first costs as much as to decode a
/// narrow number.
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

/// The big-endian word at the start, and what follows it.
fn split_first_word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*word), rest))
}
