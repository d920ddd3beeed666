//! The encoder of the crate `pco`, for numerical sequences: it finds the pattern of the numbers, then entropy-codes them.
//!
//! Times, floats and integers are pco chunks at the default level, 8. Booleans and strings are blocks of `tsm1`.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, ColumnRef, FieldType, Result, Tsm1, Values, ValuesRef,
};

use super::block::{self, Block, Numbers, OTHER_AT};

const TAG: u8 = 0x90;

/// How a sequence of numbers is stored. Numbers that pco would make longer are stored as they are.
const STORED: u8 = 0;
const PCO: u8 = 1;

/// Times and numbers through `pco`.
#[derive(Debug, Default)]
pub struct Pco {
    other: Tsm1,
}

impl BlockEncoder for Pco {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let times = |out: &mut Vec<u8>| put(column.times(), out);
        match column.values() {
            ValuesRef::Float(values) => block::put(TAG, column, out, times, |out| put(values, out)),
            ValuesRef::Integer(values) => block::put(TAG, column, out, times, |out| put(values, out)),
            ValuesRef::Unsigned(values) => block::put(TAG, column, out, times, |out| put(values, out)),
            ValuesRef::Boolean(_) | ValuesRef::String(_) => {
                let begin = out.len();
                block::begin_other(TAG, out);
                self.other.encode(column, out).inspect_err(|_| out.truncate(begin))
            }
        }
    }
}

impl BlockDecoder for Pco {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        let numbers = match block::of(block, TAG) {
            Ok(Block::Numbers(numbers)) => numbers.check(limit).map(|()| numbers),
            Ok(Block::Other(block)) => {
                return self.other.decode(block, limit, out).map_err(|error| error.shifted(OTHER_AT));
            }
            Err(error) => Err(error),
        };
        let numbers = numbers.inspect_err(|_| out.reset(out.field_type()))?;
        out.fill(numbers.field_type, Numbers::corrupt, |times, values| {
            get(numbers.times, numbers.count, times)?;
            match values {
                Values::Float(values) => get(numbers.values, numbers.count, values),
                Values::Integer(values) => get(numbers.values, numbers.count, values),
                Values::Unsigned(values) => get(numbers.values, numbers.count, values),
                Values::Boolean(_) | Values::String(_) => Err(Numbers::corrupt()),
            }
        })
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        match block::of(block, TAG)? {
            Block::Numbers(numbers) => Ok((numbers.field_type, numbers.count as u64)),
            Block::Other(block) => self.other.count(block).map_err(|error| error.shifted(OTHER_AT)),
        }
    }

    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        match block::of(block, TAG)? {
            Block::Numbers(_) => Ok(0),
            Block::Other(block) => self.other.string_bytes(block).map_err(|error| error.shifted(OTHER_AT)),
        }
    }
}

/// A number of 8 bytes.
trait Word: Number + Default {
    fn to_bytes(self) -> [u8; 8];
    fn from_bytes(bytes: [u8; 8]) -> Self;
}

macro_rules! word {
    ($($number:ty),+) => {
        $(impl Word for $number {
            fn to_bytes(self) -> [u8; 8] {
                self.to_le_bytes()
            }
            fn from_bytes(bytes: [u8; 8]) -> Self {
                Self::from_le_bytes(bytes)
            }
        })+
    };
}

word!(f64, i64, u64);

/// Appends a sequence of numbers.
#[expect(clippy::unnecessary_wraps, reason = "the block asks for a result")]
fn put<T: Word>(numbers: &[T], out: &mut Vec<u8>) -> Result<()> {
    let begin = out.len();
    out.push(PCO);
    let file = FileCompressor::default();
    let compress = |out: &mut Vec<u8>| {
        let mut chunk = file.chunk_compressor(numbers, &ChunkConfig::default())?;
        file.write_header(&mut *out)?;
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out).map(drop)
    };
    let is_shorter = compress(out).is_ok() && out.len() - begin <= numbers.len() * 8;
    if !is_shorter {
        out.truncate(begin);
        out.push(STORED);
        out.extend(numbers.iter().flat_map(|number| number.to_bytes()));
    }
    Ok(())
}

/// Reads a sequence of `count` numbers.
fn get<T: Word>(bytes: &[u8], count: usize, out: &mut Vec<T>) -> Result<()> {
    match bytes {
        [STORED, words @ ..] if count.checked_mul(8) == Some(words.len()) => {
            out.extend(words.as_chunks().0.iter().map(|word| T::from_bytes(*word)));
            Ok(())
        }
        [PCO, rest @ ..] => {
            let mut decompress = || {
                let (file, rest) = FileDecompressor::new(rest)?;
                let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest)?;
                let mut page = chunk.page_decompressor(rest, count)?;
                out.resize(count, T::default());
                let read = page.read(out)?;
                Ok::<_, pco::errors::PcoError>(read.n_processed == count && page.into_src().is_empty())
            };
            match decompress() {
                Ok(true) => Ok(()),
                _ => Err(Numbers::corrupt()),
            }
        }
        _ => Err(Numbers::corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::Pco;

    tsmith_codecs::encoder_suite!(Pco);
    tsmith_codecs::exact_suite!(Pco);
}
