//! The encoder of the crate `alp`: Adaptive Lossless floating-Point compression, with `fastlanes` for its bit-packing. Both
//! belong to the authors of Vortex and are tested against each other there. Other crates of this name on crates.io have no
//! ALP-RD, or are unmaintained ports.
//!
//! Floats are ALP or ALP-RD, as the paper chooses: ALP-RD if ALP needs at least 48 bits for a value. Times are those of
//! `tsm1`, and so are blocks of all other types.

mod floats;
mod packed;

use tsmith_codecs::influx::{Form, time};
use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, ColumnRef, FieldType, Result, Tsm1, Values, ValuesRef,
};

use super::block::{self, Block, Numbers, OTHER_AT};

const TAG: u8 = 0x91;

/// Floats through `alp`, everything else as `tsm1`.
#[derive(Debug, Default)]
pub struct Alp {
    other: Tsm1,
    words: Vec<u64>,
}

impl BlockEncoder for Alp {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let ValuesRef::Float(values) = column.values() else {
            let begin = out.len();
            block::begin_other(TAG, out);
            return self.other.encode(column, out).inspect_err(|_| out.truncate(begin));
        };
        let times = |out: &mut Vec<u8>| {
            time::encode(Form::Streaming, column.times(), &mut self.words, out);
            Ok(())
        };
        block::put(TAG, column, out, times, |out| {
            floats::put(values, out);
            Ok(())
        })
    }
}

impl BlockDecoder for Alp {
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
            time::decode(numbers.times, numbers.count, times).map_err(|_| Numbers::corrupt())?;
            let Values::Float(values) = values else { return Err(Numbers::corrupt()) };
            floats::get(numbers.values, numbers.count, values).ok_or_else(Numbers::corrupt)?;
            if times.len() == numbers.count { Ok(()) } else { Err(Numbers::corrupt()) }
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

#[cfg(test)]
mod tests {
    use super::Alp;

    tsmith_codecs::encoder_suite!(Alp);
    tsmith_codecs::exact_suite!(Alp);
}
