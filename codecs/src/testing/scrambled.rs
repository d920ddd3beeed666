//! An encoder with unusual blocks that keeps all laws.

use crate::column::{Column, ColumnRef};
use crate::error::{Error, Result};
use crate::{BlockDecoder, BlockEncoder, Raw};

const TAG: u8 = 0xc5;

/// A test encoder for the layers above. Its blocks look like those of no other encoder. So a layer fails with it if
/// the layer reads block bytes itself instead of calling the encoder.
///
/// A block is a reversed [`Raw`] block. Each byte is changed depending on its place, and the tag is unique. It uses
/// the provided `count`, and its output depends only on the column.
#[derive(Debug, Default)]
pub struct Scrambled {
    raw: Raw,
    plain: Vec<u8>,
}

impl BlockEncoder for Scrambled {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.plain.clear();
        self.raw.encode(column, &mut self.plain)?;
        out.push(TAG);
        out.extend(self.plain.iter().rev().enumerate().map(|(at, byte)| byte ^ at as u8 ^ TAG));
        Ok(())
    }
}

impl BlockDecoder for Scrambled {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        let body = match block {
            [TAG, body @ ..] => body,
            [tag, ..] => return refuse(Error::unknown_tag(*tag), out),
            [] => return refuse(Error::corrupt(0, "the first byte of a block"), out),
        };
        self.plain.clear();
        self.plain.extend(body.iter().enumerate().rev().map(|(at, byte)| byte ^ at as u8 ^ TAG));
        let foreign = self.plain.first().is_some_and(|tag| !Raw.tags().contains(tag));
        if foreign {
            return refuse(Error::corrupt(block.len() - 1, "the end of a scrambled block"), out);
        }
        self.raw.decode(&self.plain, limit, out)
    }
}

fn refuse(error: Error, out: &mut Column) -> Result<()> {
    out.reset(out.field_type());
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::Scrambled;

    crate::encoder_suite!(Scrambled);
    crate::exact_suite!(Scrambled);
}
