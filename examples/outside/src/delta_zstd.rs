//! [`DeltaZstd`]: replaces times and numbers with differences, and encodes them with [`Zstd`].

use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, ColumnRef, Error, FieldType, Result, Values, ValuesRef, Zstd,
};

/// The first byte of a block. It is in the range reserved for encoders of other crates.
const TAG: u8 = 0x80;

/// Differences compress well: regular times have equal differences, and slowly changing numbers have small ones.
///
/// ```text
/// ┌───────────┬──────────────────────────────────────────────────────────────────────────────────┐
/// │ 0x80 <1B> │ as in a block of `zstd`; each time and number as the difference from the previous │
/// └───────────┴──────────────────────────────────────────────────────────────────────────────────┘
/// ```
/// The first difference is from 0. The difference of two floats is the exclusive or of their bits.
#[derive(Debug, Default)]
pub struct DeltaZstd {
    zstd: Zstd,
    block: Vec<u8>,
}

impl DeltaZstd {
    /// Returns the block with the tag of `zstd`.
    fn inner<'a>(&'a mut self, block: &[u8]) -> Result<(&'a mut Zstd, &'a [u8])> {
        let (&tag, rest) = block.split_first().ok_or(Error::corrupt(0, "the first byte of a block"))?;
        if tag != TAG {
            return Err(Error::unknown_tag(tag));
        }
        self.block.clear();
        self.block.extend_from_slice(self.zstd.tags());
        self.block.extend_from_slice(rest);
        Ok((&mut self.zstd, &self.block))
    }
}

impl BlockEncoder for DeltaZstd {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        let values = match column.values() {
            ValuesRef::Float(values) => {
                let bits = differences(values.iter().map(|value| value.to_bits()), |a, b| a ^ b);
                Values::Float(bits.map(f64::from_bits).collect())
            }
            ValuesRef::Integer(values) => {
                Values::Integer(differences(values.iter().copied(), i64::wrapping_sub).collect())
            }
            ValuesRef::Unsigned(values) => {
                Values::Unsigned(differences(values.iter().copied(), u64::wrapping_sub).collect())
            }
            ValuesRef::Boolean(_) | ValuesRef::String(_) => column.to_column().values().clone(),
        };
        let times = differences(column.times().iter().copied(), i64::wrapping_sub).collect();
        let changed = Column::from_parts(times, values).expect("a difference for each time and value");
        self.zstd.encode(changed.as_ref(), out)?;
        out[begin] = TAG;
        Ok(())
    }
}

impl BlockDecoder for DeltaZstd {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        out.reset(out.field_type());
        let (zstd, block) = self.inner(block)?;
        zstd.decode(block, limit, out)?;
        let values = match out.values() {
            Values::Float(values) => {
                let bits = sums(values.iter().map(|value| value.to_bits()), |a, b| a ^ b);
                Values::Float(bits.map(f64::from_bits).collect())
            }
            Values::Integer(values) => {
                Values::Integer(sums(values.iter().copied(), i64::wrapping_add).collect())
            }
            Values::Unsigned(values) => {
                Values::Unsigned(sums(values.iter().copied(), u64::wrapping_add).collect())
            }
            other => other.clone(),
        };
        let times = sums(out.times().iter().copied(), i64::wrapping_add).collect();
        *out = Column::from_parts(times, values).expect("a time for each value");
        Ok(())
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let (zstd, block) = self.inner(block)?;
        zstd.count(block)
    }
}

/// The difference of each item from the one before it. The first differs from 0.
fn differences<T: Copy + Default>(
    items: impl Iterator<Item = T>,
    minus: impl Fn(T, T) -> T,
) -> impl Iterator<Item = T> {
    items.scan(T::default(), move |last, item| Some(minus(item, std::mem::replace(last, item))))
}

/// Running sums: the inverse of [`differences`].
fn sums<T: Copy + Default>(
    items: impl Iterator<Item = T>,
    plus: impl Fn(T, T) -> T,
) -> impl Iterator<Item = T> {
    items.scan(T::default(), move |last, item| {
        *last = plus(*last, item);
        Some(*last)
    })
}

#[cfg(test)]
mod tests {
    use super::DeltaZstd;

    tsmith_codecs::encoder_suite!(DeltaZstd);
    tsmith_codecs::exact_suite!(DeltaZstd);
}
