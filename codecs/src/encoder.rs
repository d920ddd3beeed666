//! The traits that turn one column into one block and back.

use crate::Span;
use crate::column::{Column, ColumnRef, FieldType};
use crate::error::{Error, Result};
use crate::model::TimeRange;

/// The most values a block may claim, unless the caller of [`BlockDecoder::decode`] sets another limit.
pub const BLOCK_VALUES_MAX: usize = 65_536;

/// An encoder chosen at run time. Each block costs one virtual call.
///
/// It implements the same traits as other encoders. An [`EncoderEntry`](crate::EncoderEntry) creates it.
pub type DynEncoder = Box<dyn BlockEncoder>;

/// Turns blocks into columns. This is all that readers need.
///
/// Every [`BlockEncoder`] decodes its own blocks. [`Decoders`](crate::Decoders) decodes those of all encoders in a
/// table.
pub trait BlockDecoder: Send + 'static {
    /// Replaces `out` with the column of `block`.
    ///
    /// Laws:
    /// - It returns what was encoded, bit for bit.
    /// - Whatever the bytes are, it never panics. It never allocates more than `limit` values and the strings that
    ///   fit into the block.
    /// - A truncated block is an error. A block with the tag of another encoder is the error
    ///   [`UnknownTag`](crate::ErrorKind::UnknownTag).
    /// - After an error, `out` is empty.
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()>;

    /// Like [`BlockDecoder::decode`], for a caller that needs only the points inside `range`. The decoder may leave
    /// out other points. Returns the span of all times of the block, or `None` if it has no points.
    ///
    /// Law: the points are consecutive points of what `decode` returns. If the times do not ascend, all points are
    /// there.
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

    /// The type and the number of points that `block` claims.
    ///
    /// Law: if [`BlockDecoder::decode`] succeeds, its column has this type and number. The provided method decodes
    /// the values. Replace it if the decoder can answer without decoding.
    fn count(&mut self, block: &[u8]) -> Result<(FieldType, u64)> {
        let mut column = Column::new(FieldType::Float);
        self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        Ok((column.field_type(), column.len() as u64))
    }

    /// The total length of the strings that `block` claims; 0 if it has another type.
    ///
    /// Law: if [`BlockDecoder::decode`] succeeds, its strings are not longer. The claim is at most ten bytes per
    /// value too high. The provided method decodes the strings. Replace it if the decoder can answer without
    /// decoding.
    fn string_bytes(&mut self, block: &[u8]) -> Result<u64> {
        let (field_type, _) = self.count(block)?;
        let mut column = Column::new(field_type);
        if field_type == FieldType::String {
            self.decode(block, BLOCK_VALUES_MAX, &mut column)?;
        }
        Ok(column.as_ref().string_bytes())
    }
}

/// Turns columns into blocks. [`BlockDecoder`] turns them back.
///
/// The first byte of a block is the tag of its encoder, so a reader of a file needs nothing else to find the decoder.
pub trait BlockEncoder: BlockDecoder {
    /// The tags with which its blocks begin.
    ///
    /// Law: each tag belongs to one encoder of a table. An encoder that writes blocks with the tag of another one
    /// must name that encoder in [`BlockEncoder::same_blocks_as`]. Tags from [`OUTSIDE_TAGS`](crate::OUTSIDE_TAGS)
    /// belong to encoders of other crates. No encoder of this crate uses one.
    fn tags(&self) -> &'static [u8];

    /// True only if InfluxDB 1.x can read the blocks. The version byte of a file depends on it.
    fn is_influx_readable(&self) -> bool {
        false
    }

    /// The name of the encoder that reads these blocks, if this encoder writes the format of another one.
    fn same_blocks_as(&self) -> Option<&'static str> {
        None
    }

    /// Appends the block of `column` to `out`, and leaves the existing content of `out` unchanged.
    ///
    /// Laws:
    /// - Equal columns give equal bytes, whatever was encoded before.
    /// - A block is at most 64 bytes longer than its column. A time or number counts as 8 bytes, a boolean as 1, and
    ///   a string as 4 plus its length. A block that InfluxDB reads may be a seventh longer.
    ///
    /// The column has at least one point. Its times need not ascend.
    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()>;
}

/// Like [`BlockEncoder::encode`], but checks that the block begins with a tag of the encoder. Writers of files use
/// it, because without the right tag no reader would find the decoder.
///
/// # Errors
/// Those of the encoder, and [`ForeignTag`](crate::ErrorKind::ForeignTag). After an error, `out` is unchanged.
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
