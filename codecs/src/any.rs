//! Blocks of whatever encoder.

use std::fmt;

use crate::column::{Column, FieldType};
use crate::error::{Error, Result};
use crate::{BlockEncoder, ENCODERS, EncoderVisitor, with_encoder};

/// Decodes the blocks of every registered encoder, each by its first byte.
///
/// It keeps one encoder of each kind it has met, with its buffers, so one decoder for many blocks does not allocate for
/// each of them.
#[derive(Default)]
pub struct AnyDecoder {
    known: Vec<Known>,
}

/// An encoder, and the first bytes it owns.
struct Known {
    tags: &'static [u8],
    encoder: Box<dyn Decode>,
}

/// The part of [`BlockEncoder`] that reads, without its constants: one virtual call a block.
trait Decode: Send {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()>;
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)>;
    fn string_bytes(&mut self, block: &[u8]) -> Result<u64>;
}

impl<E: BlockEncoder> Decode for E {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        BlockEncoder::decode(self, block, limit, out)
    }
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        BlockEncoder::count(self, block)
    }
    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        BlockEncoder::string_bytes(self, block)
    }
}

impl fmt::Debug for AnyDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|known| known.tags)).finish()
    }
}

impl AnyDecoder {
    /// A decoder that has met no block yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`BlockEncoder::decode`] of the encoder that wrote the block.
    pub fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        match self.encoder_of(block) {
            Ok(encoder) => encoder.decode(block, limit, out),
            Err(error) => {
                out.reset(out.field_type());
                Err(error)
            }
        }
    }

    /// As [`BlockEncoder::count`] of the encoder that wrote the block.
    pub fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        self.encoder_of(block)?.count(block)
    }

    /// As [`BlockEncoder::string_bytes`] of the encoder that wrote the block.
    pub fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        self.encoder_of(block)?.string_bytes(block)
    }

    /// Fails if no encoder of this build writes blocks that begin like this one.
    pub fn knows(&mut self, block: &[u8]) -> Result<()> {
        self.encoder_of(block).map(drop)
    }

    fn encoder_of(&mut self, block: &[u8]) -> Result<&mut dyn Decode> {
        let Some(&tag) = block.first() else { return Err(Error::corrupt(0, "the first byte of a block")) };
        let met = self.known.iter().position(|known| known.tags.contains(&tag));
        if met.is_none() {
            self.known.push(find(tag).ok_or(Error::unknown_tag(tag))?);
        }
        let at = met.unwrap_or(self.known.len() - 1);
        Ok(&mut *self.known[at].encoder)
    }
}

/// A new encoder of the kind that owns `tag`.
fn find(tag: u8) -> Option<Known> {
    struct Owner(u8);
    impl EncoderVisitor for Owner {
        type Out = Option<Known>;
        fn visit<E: BlockEncoder>(self) -> Self::Out {
            (E::SAME_BLOCKS_AS.is_none() && E::TAGS.contains(&self.0))
                .then(|| Known { tags: E::TAGS, encoder: Box::new(E::default()) })
        }
    }
    ENCODERS.iter().find_map(|(name, _)| with_encoder(name, Owner(tag)).flatten())
}
