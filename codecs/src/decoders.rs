//! A decoder for the blocks of a table of encoders.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Span;
use crate::column::{Column, FieldType};
use crate::encoder::{BlockDecoder, DynEncoder};
use crate::encoder_entry::EncoderEntry;
use crate::error::{Error, Result};
use crate::model::TimeRange;

/// Decodes the blocks of every encoder in a table. The first byte of a block selects the encoder.
///
/// It creates each encoder on first use and keeps it with its buffers, so decoding many blocks does not allocate
/// memory for each of them. A clone shares the table but starts without encoders. Give each thread its own clone.
pub struct Decoders {
    table: Arc<Vec<EncoderEntry>>,
    /// The lock is never taken, because all decoding has `&mut self`. It makes `Decoders` `Sync`, although encoders
    /// need not be `Sync`.
    met: Mutex<Vec<DynEncoder>>,
    /// For each first byte, the index in `met` of the encoder that owns it.
    place_of: [u16; 256],
}

/// Marks an encoder that no block has needed yet.
const NOT_MET: u16 = u16::MAX;

impl Decoders {
    pub(crate) fn of(table: Arc<Vec<EncoderEntry>>) -> Self {
        Self { table, met: Mutex::default(), place_of: [NOT_MET; 256] }
    }

    /// Adds `entry`, which reads the blocks that no encoder of the table reads.
    #[must_use]
    pub fn or(mut self, entry: EncoderEntry) -> Self {
        Arc::make_mut(&mut self.table).push(entry);
        self
    }

    /// The entry of the encoder that reads `block`, or `None` if the table has none.
    pub fn entry_of(&self, block: &[u8]) -> Option<&EncoderEntry> {
        owner(&self.table, block)
    }

    /// Fails if no encoder of the table reads `block`.
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

    /// Creates the encoder that reads `block`.
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

    /// Like [`Decoders::encoder_of`], but empties `out` on an error.
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
    fn decoders_read_the_blocks_of_every_encoder() {
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
    fn a_block_without_an_owner_is_an_error() {
        let (mut decoders, mut back) = (Decoders::standard(), Column::new(FieldType::Float));
        for block in [&[][..], &[0xee, 1]] {
            back.push(1, crate::Value::Float(0.5)).expect("one type");
            let error = decoders.decode(block, BLOCK_VALUES_MAX, &mut back).expect_err("no encoder owns it");
            assert!(back.is_empty());
            assert_eq!(decoders.knows(block), Err(error));
        }
    }
}
