//! The frame of a block of numbers.
//!
//! ```text
//! ┌──────────┬───────────┬────────────┬────────────────────────┬───────┬────────┐
//! │ tag <1B> │ type <1B> │ count <4B> │ length of times <4B>   │ times │ values │      little-endian
//! └──────────┴───────────┴────────────┴────────────────────────┴───────┴────────┘
//! ┌──────────┬───────────┬────────────────────────────────────────────────────────┐
//! │ tag <1B> │ 0xff <1B> │ a block of `tsm1`, for types that the encoder does not  │
//! └──────────┴───────────┴────────────────────────────────────────────────────────┘
//! type: 0 float, 1 integer, 4 unsigned
//! ```

use tsmith_codecs::{ColumnRef, Error, FieldType, Result, influx};

const OTHER: u8 = 0xff;
const HEAD_BYTES: usize = 10;

/// A block whose head was read.
pub(super) enum Block<'b> {
    Numbers(Numbers<'b>),
    /// A block of `tsm1`.
    Other(&'b [u8]),
}

/// The parts of a block of numbers.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'b> {
    pub(super) field_type: FieldType,
    pub(super) count: usize,
    pub(super) times: &'b [u8],
    pub(super) values: &'b [u8],
}

/// Where the block of `tsm1` begins.
pub(super) const OTHER_AT: usize = 2;

/// Begins a block of `tsm1`.
pub(super) fn begin_other(tag: u8, out: &mut Vec<u8>) {
    out.extend([tag, OTHER]);
}

/// Appends a block of numbers. The functions append times and values.
pub(super) fn put(
    tag: u8,
    column: ColumnRef<'_>,
    out: &mut Vec<u8>,
    times: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    values: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let begin = out.len();
    let count = u32::try_from(column.len()).map_err(|_| Error::unsupported(0, "more than 2^32 values"))?;
    out.extend([tag, influx::tag(column.field_type())]);
    out.extend(count.to_le_bytes());
    out.extend([0; 4]);
    let done = times(out).and_then(|()| {
        let len = (out.len() - begin - HEAD_BYTES) as u32;
        out[begin + 6..begin + HEAD_BYTES].copy_from_slice(&len.to_le_bytes());
        values(out)
    });
    done.inspect_err(|_| out.truncate(begin))
}

/// Reads the head of a block.
pub(super) fn of(block: &[u8], tag: u8) -> Result<Block<'_>> {
    let (field_type, rest) = match block {
        [first, ..] if *first != tag => return Err(Error::unknown_tag(*first)),
        [_, OTHER, rest @ ..] => return Ok(Block::Other(rest)),
        [_, field_type, rest @ ..] => (influx::field_type(*field_type), rest),
        _ => return Err(Error::corrupt(block.len(), "tag and type of the block")),
    };
    let is_number =
        |of: &FieldType| matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned);
    let field_type = field_type.filter(is_number).ok_or(Error::corrupt(1, "a type of 0, 1, 4 or 255"))?;
    let cut = Error::corrupt(2, "count and times of the block");
    let (count, rest) = u32_of(rest).ok_or(cut.clone())?;
    let (len, rest) = u32_of(rest).ok_or(cut.clone())?;
    let (times, values) = rest.split_at_checked(len).ok_or(cut)?;
    if count == 0 {
        return Err(Error::corrupt(2, "at least one value"));
    }
    Ok(Block::Numbers(Numbers { field_type, count, times, values }))
}

impl Numbers<'_> {
    /// Refuses more values than the limit.
    pub(super) fn check(&self, limit: usize) -> Result<()> {
        if self.count > limit { Err(Error::too_many(self.count as u64, limit)) } else { Ok(()) }
    }

    /// The error of an incomplete or wrong block.
    pub(super) fn corrupt() -> Error {
        Error::corrupt(HEAD_BYTES, "as many times and values as the block claims")
    }
}

fn u32_of(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}
