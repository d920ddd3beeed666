//! The seam: one column to one block and back.

use crate::Span;
use crate::column::{Column, ColumnRef, FieldType};
use crate::error::{Error, Result};
use crate::model::TimeRange;

/// Most values a block may claim, unless the caller of [`BlockDecoder::decode`] sets another limit.
pub const BLOCK_VALUES_MAX: usize = 65_536;

/// An encoder chosen at run time: one virtual call per block.
///
/// It is an encoder like any other. An [`EncoderEntry`](crate::EncoderEntry) makes it.
pub type DynEncoder = Box<dyn BlockEncoder>;

/// Blocks to columns: the half of the seam that readers need.
///
/// Every [`BlockEncoder`] reads its own blocks. [`Decoders`](crate::Decoders) reads those of a whole table of encoders.
pub trait BlockDecoder: Send + 'static {
    /// Replaces `out` by the column of `block`.
    ///
    /// Laws: it gives back what was encoded, bit for bit. Whatever the bytes, it never panics and never allocates more
    /// than `limit` values and the strings that fit into the block. A block cut short is an error, and one with a tag of
    /// another encoder is [`UnknownTag`](crate::ErrorKind::UnknownTag). After an error `out` is empty.
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()>;

    /// As [`BlockDecoder::decode`], for a caller that needs only the points inside `range`: other points may be left out.
    /// Returns the span of the times of the whole block; `None` when it has no point.
    ///
    /// Law: what is not left out is a stretch of what `decode` gives, and nothing is left out of times that do not ascend.
    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<Option<Span>> {
        let _ = range;
        self.decode(block, limit, out)?;
        Ok(Span::of(out.times()))
    }

    /// The type and the number of the points of `block`, as it claims them.
    ///
    /// Law: they are those of the column that [`BlockDecoder::decode`] gives, if it gives one. The provided method decodes
    /// the values; a decoder that need not do so replaces it.
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let mut column = Column::new(FieldType::Float);
        self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        Ok((column.field_type(), column.len() as u64))
    }

    /// The bytes of the strings of `block` together, as it claims them; 0 when it is of another type.
    ///
    /// Law: at least those of the column that [`BlockDecoder::decode`] gives, if it gives one, and at most ten more for
    /// each value. The provided method decodes the strings; a decoder that need not do so replaces it.
    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        let (field_type, _) = self.count(block)?;
        let mut column = Column::new(field_type);
        if field_type == FieldType::String {
            self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        }
        Ok(column.as_ref().string_bytes())
    }
}

/// One column to one block, and back by [`BlockDecoder`].
///
/// A block names its encoder in its first byte, its tag. So a reader of a file needs no other hint.
pub trait BlockEncoder: BlockDecoder {
    /// The first bytes of its blocks.
    ///
    /// Law: a tag belongs to one encoder of a table; another one writes it only if it names the owner in
    /// [`BlockEncoder::same_blocks_as`]. Tags from [`OUTSIDE_TAGS`](crate::OUTSIDE_TAGS) belong to encoders of other
    /// crates; no encoder of this crate uses one.
    fn tags(&self) -> &'static [u8];

    /// True only if InfluxDB 1.x can read the blocks. The version byte of the file depends on it.
    fn is_influx_readable(&self) -> bool {
        false
    }

    /// The name of the encoder that reads these blocks, for one that chooses other bytes in the format of another.
    fn same_blocks_as(&self) -> Option<&'static str> {
        None
    }

    /// Appends the block of `column` to `out`, and never touches what `out` holds already.
    ///
    /// Laws: equal columns give equal bytes, whatever was encoded before. A block is at most 64 bytes longer than its column
    /// (8 bytes for a time or a number, 1 for a boolean, 4 and its bytes for a string); one that InfluxDB reads may be a
    /// seventh longer. The column has at least one point; its times need not ascend.
    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()>;
}

/// As [`BlockEncoder::encode`], and checks that the block begins with a tag of the encoder. Without its tag no reader would find
/// the decoder, so writers of files encode through this.
///
/// # Errors
/// Those of the encoder; [`ForeignTag`](crate::ErrorKind::ForeignTag). `out` is as before then.
pub fn encode_checked<E: BlockEncoder>(
    encoder: &mut E,
    column: ColumnRef<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let begin = out.len();
    let done = encoder.encode(column, out).and_then(|()| match out.get(begin) {
        Some(tag) if encoder.tags().contains(tag) => Ok(()),
        tag => Err(Error::foreign_tag(tag.copied().unwrap_or_default())),
    });
    done.inspect_err(|_| out.truncate(begin))
}

impl<D: BlockDecoder + ?Sized> BlockDecoder for Box<D> {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        (**self).decode(block, limit, out)
    }

    fn decode_within(
        &mut self,
        block: &[u8],
        limit: usize,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<Option<Span>> {
        (**self).decode_within(block, limit, range, out)
    }

    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        (**self).count(block)
    }

    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        (**self).string_bytes(block)
    }
}

impl<E: BlockEncoder + ?Sized> BlockEncoder for Box<E> {
    fn tags(&self) -> &'static [u8] {
        (**self).tags()
    }

    fn is_influx_readable(&self) -> bool {
        (**self).is_influx_readable()
    }

    fn same_blocks_as(&self) -> Option<&'static str> {
        (**self).same_blocks_as()
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        (**self).encode(column, out)
    }
}
