//! Raw blocks whose integers are differences: each from the one before, the first from 0.
//!
//! They are as long as raw ones, but a compressor behind them has less to do.

use crate::{BlockDecoder, BlockEncoder, Column, ColumnRef, Error, Raw, Result, Values, ValuesRef};

/// The first byte of its blocks: one that no other encoder has.
const TAG: u8 = 0x13;

/// Integers as differences, everything else raw.
#[derive(Debug, Default)]
pub struct Delta {
    raw: Raw,
    differences: Vec<i64>,
    block: Vec<u8>,
}

impl BlockEncoder for Delta {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        if let ValuesRef::Integer(values) = column.values() {
            let before = [0].iter().chain(values);
            self.differences.clear();
            self.differences.extend(values.iter().zip(before).map(|(v, before)| v.wrapping_sub(*before)));
            let column = ColumnRef::new(column.times(), ValuesRef::Integer(&self.differences));
            self.raw.encode(column.expect("a difference for each value"), out)?;
        } else {
            self.raw.encode(column, out)?;
        }
        out[begin] = TAG;
        Ok(())
    }
}

impl BlockDecoder for Delta {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        out.reset(out.field_type());
        let (tag, rest) = block.split_first().ok_or(Error::corrupt(0, "a tag"))?;
        if *tag != TAG {
            return Err(Error::unknown_tag(*tag));
        }
        self.block.clear();
        self.block.extend_from_slice(Raw.tags());
        self.block.extend_from_slice(rest);
        self.raw.decode(&self.block, limit, out)?;
        if let Values::Integer(differences) = out.values() {
            let mut last = 0i64;
            let add = |difference: &i64| {
                last = last.wrapping_add(*difference);
                last
            };
            let values = Values::Integer(differences.iter().map(add).collect());
            *out = Column::from_parts(out.times().to_vec(), values).expect("a value for each difference");
        }
        Ok(())
    }
}
