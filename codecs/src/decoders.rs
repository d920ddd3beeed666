//! The decoder of a table of encoders.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Span;
use crate::column::{Column, FieldType};
use crate::encoder::{BlockDecoder, DynEncoder};
use crate::encoder_entry::EncoderEntry;
use crate::error::{Error, Result};
use crate::model::TimeRange;

/// Decodes the blocks of every encoder of a table, each by its first byte.
///
/// It keeps one encoder of each kind it has met, with its buffers, so that decoding many blocks does not allocate for
/// each of them. A clone shares the table and begins without encoders: give each thread one.
pub struct Decoders {
    table: Arc<Vec<EncoderEntry>>,
    /// Never locked, as all decoding has `&mut self`: it makes the whole `Sync`, which encoders need not be.
    met: Mutex<Vec<DynEncoder>>,
    /// For each first byte the place in `met` of the encoder that owns it.
    place_of: [u16; 256],
}

/// The place of an encoder that no block has needed yet.
const NOT_MET: u16 = u16::MAX;

impl Decoders {
    pub(crate) fn of(table: Arc<Vec<EncoderEntry>>) -> Self {
        Self { table, met: Mutex::default(), place_of: [NOT_MET; 256] }
    }

    /// The same, which also reads the blocks of `entry` where no encoder of the table does.
    #[must_use]
    pub fn or(mut self, entry: EncoderEntry) -> Self {
        Arc::make_mut(&mut self.table).push(entry);
        self
    }

    /// The entry of the encoder that reads `block`; `None` if the table has none.
    pub fn entry_of(&self, block: &[u8]) -> Option<&EncoderEntry> {
        owner(&self.table, block)
    }

    /// Fails if no encoder of the table writes blocks that begin like this one.
    pub fn knows(&self, block: &[u8]) -> Result<()> {
        self.entry_of(block).map(drop).ok_or_else(|| unknown(block))
    }

    fn encoder_of(&mut self, block: &[u8]) -> Result<&mut DynEncoder> {
        let Some(&tag) = block.first() else { return Err(unknown(block)) };
        if self.place_of[usize::from(tag)] == NOT_MET {
            self.meet(block)?;
        }
        let met = self.met.get_mut().unwrap_or_else(PoisonError::into_inner);
        Ok(&mut met[usize::from(self.place_of[usize::from(tag)])])
    }

    /// Makes the encoder that reads `block`.
    #[cold]
    fn meet(&mut self, block: &[u8]) -> Result<()> {
        let entry = owner(&self.table, block).ok_or_else(|| unknown(block))?;
        let met = self.met.get_mut().unwrap_or_else(PoisonError::into_inner);
        for &tag in entry.tags() {
            self.place_of[usize::from(tag)] = met.len() as u16;
        }
        met.push(entry.make());
        Ok(())
    }

    /// As [`Decoders::encoder_of`]; `out` is empty after an error.
    fn encoder_for(&mut self, block: &[u8], out: &mut Column) -> Result<&mut DynEncoder> {
        self.encoder_of(block).inspect_err(|_| out.reset(out.field_type()))
    }
}

fn owner<'t>(table: &'t [EncoderEntry], block: &[u8]) -> Option<&'t EncoderEntry> {
    let tag = block.first()?;
    table.iter().find(|entry| entry.same_blocks_as().is_none() && entry.tags().contains(tag))
}

fn unknown(block: &[u8]) -> Error {
    block.first().map_or(Error::corrupt(0, "the first byte of a block"), |&tag| Error::unknown_tag(tag))
}

impl BlockDecoder for Decoders {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        self.encoder_for(block, out)?.decode(block, limit, out)
    }

    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<Option<Span>> {
        self.encoder_for(block, out)?.decode_within(block, limit, range, out)
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        self.encoder_of(block)?.count(block)
    }

    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        self.encoder_of(block)?.string_bytes(block)
    }
}

impl Clone for Decoders {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.table))
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.iter().map(EncoderEntry::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK_VALUES_MAX;
    use crate::encoder::BlockEncoder;
    use crate::encoders::Encoders;
    use crate::testing::{Scrambled, shapes};

    #[test]
    fn one_decoder_reads_the_blocks_of_all() {
        let encoders = Encoders::standard().with::<Scrambled>("scrambled", "an encoder of another crate");
        let (mut decoders, mut back) = (encoders.decoders(), Column::new(FieldType::Float));
        for column in shapes::short().iter().filter(|column| !column.is_empty()) {
            for entry in &encoders {
                if column.field_type() == FieldType::Float && entry.is_influx_readable() {
                    continue;
                }
                let mut block = Vec::new();
                entry.make().encode(column.as_ref(), &mut block).expect("no NaN");
                decoders.decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
                assert!(back == *column, "{}", entry.name());
                let span = decoders.decode_within(&block, BLOCK_VALUES_MAX, TimeRange::ALL, &mut back);
                assert_eq!(span, Ok(Span::of(column.times())));
                assert_eq!(decoders.count(&block), Ok((column.field_type(), column.len() as u64)));
            }
        }
    }

    #[test]
    fn a_block_of_nobody_is_an_error() {
        let (mut decoders, mut back) = (Decoders::standard(), Column::new(FieldType::Float));
        for block in [&[][..], &[0xee, 1]] {
            assert!(back.push(1, crate::Value::Float(0.5)));
            let error = decoders.decode(block, BLOCK_VALUES_MAX, &mut back).expect_err("belongs to nobody");
            assert!(back.is_empty());
            assert_eq!(decoders.knows(block), Err(error));
        }
    }
}
