//! Decoding without knowing who encoded.

use tsmith_codecs::{AnyDecoder, BlockEncoder, Column, ColumnRef, FieldType, Span, TimeRange};

/// Decodes the blocks of `E` without a virtual call, and those of every other encoder this build knows.
#[derive(Debug, Default)]
pub struct Decoder<E> {
    own: E,
    any: AnyDecoder,
}

impl<E: BlockEncoder> Decoder<E> {
    /// Fails if this build has no encoder that writes blocks that begin like this one.
    pub fn knows(&mut self, block: &[u8]) -> tsmith_codecs::Result<()> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => Ok(()),
            _ => self.any.knows(block),
        }
    }
}

impl<E: BlockEncoder> BlockEncoder for Decoder<E> {
    const INFLUX_READABLE: bool = E::INFLUX_READABLE;
    const TAGS: &'static [u8] = E::TAGS;
    const SAME_BLOCKS_AS: Option<&'static str> = E::SAME_BLOCKS_AS;

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> tsmith_codecs::Result<()> {
        self.own.encode(column, out)
    }

    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> tsmith_codecs::Result<()> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.decode(block, limit, out),
            _ => self.any.decode(block, limit, out),
        }
    }

    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> tsmith_codecs::Result<Option<Span>> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.decode_within(block, limit, range, out),
            _ => {
                self.any.decode(block, limit, out)?;
                Ok(Span::of(out.times()))
            }
        }
    }

    fn count(&mut self, block: &[u8]) -> tsmith_codecs::Result<(FieldType, u64)> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.count(block),
            _ => self.any.count(block),
        }
    }

    fn string_bytes(&mut self, block: &[u8]) -> tsmith_codecs::Result<u64> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.string_bytes(block),
            _ => self.any.string_bytes(block),
        }
    }
}
