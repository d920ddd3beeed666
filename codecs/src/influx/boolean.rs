//! Booleans: one bit each. The first value is the highest bit of the first byte.
//!
//! ```text
//! ┌─────────┬────────────────┬────────────────────────┐
//! │ 10 <1B> │ count <varint> │ bits <(count + 7) / 8> │
//! └─────────┴────────────────┴────────────────────────┘
//! ```
//!
//! An empty column is `10 00 00` in the streaming form and `10 00` in the batch form. Like InfluxDB, the decoder
//! ignores the first byte.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use super::Form;
use crate::error::{Error, Result};
use crate::varint;

const HEADER: u8 = 0x10;
/// Multiplying eight bytes by this number collects their low bits in the top byte. The bit of the lowest byte comes
/// first. Byte `i` moves by `63 - 9 i` bits, and no two of the 64 products overlap.
const GATHER: u64 = 0x8040_2010_0804_0201;
/// The eight booleans of each byte.
static SPREAD: [[bool; 8]; 256] = spread();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn spread() -> [[bool; 8]; 256] {
    let mut spread = [[false; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            spread[byte][bit] = byte >> (7 - bit) & 1 == 1;
            bit += 1;
        }
        byte += 1;
    }
    spread
}

/// Appends the payload of `values`.
pub fn encode(form: Form, values: &[bool], out: &mut Vec<u8>) {
    out.push(HEADER);
    varint::put(values.len() as u64, out);
    if values.is_empty() && form == Form::Streaming {
        out.push(0);
    }
    let (eights, rest) = values.as_chunks::<8>();
    out.extend(eights.iter().copied().map(pack));
    if !rest.is_empty() {
        let mut last = [false; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        out.push(pack(last));
    }
}

fn pack(eight: [bool; 8]) -> u8 {
    (u64::from_le_bytes(eight.map(u8::from)).wrapping_mul(GATHER) >> 56) as u8
}

/// Replaces `out` with the values of the payload, which must hold exactly `count`.
///
/// # Errors
/// The payload does not hold exactly `count` values. The content of `out` is then unspecified.
pub fn decode(payload: &[u8], count: usize, out: &mut Vec<bool>) -> Result<()> {
    out.clear();
    let Some((_, body)) = payload.split_first() else {
        return match count {
            0 => Ok(()),
            _ => Err(Error::corrupt(0, "the encoding of booleans")),
        };
    };
    let Some((claimed, bits)) = varint::get(body) else {
        return Err(Error::corrupt(1, "the count of booleans"));
    };
    let begin = payload.len() - bits.len();
    if claimed != count as u64 {
        return Err(Error::corrupt(1, "as many booleans as timestamps"));
    }
    if bits.len() != count.div_ceil(8) && !(count == 0 && bits == [0]) {
        return Err(Error::corrupt(begin, "one bit for each boolean"));
    }
    out.reserve(bits.len() * 8);
    let eights = bits.iter().map(|&byte| SPREAD.get(usize::from(byte)).copied().unwrap_or_default());
    eights.for_each(|eight| out.extend_from_slice(&eight));
    out.truncate(count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_is_the_highest_bit() {
        let mut out = Vec::new();
        encode(
            Form::Streaming,
            &[true, false, false, false, false, false, false, false, false, true],
            &mut out,
        );
        assert_eq!(out, [0x10, 10, 0x80, 0x40]);
        let mut back = Vec::new();
        decode(&out, 10, &mut back).expect("decodes");
        assert_eq!(back.iter().filter(|b| **b).count(), 2);
        assert!(back[0] && back[9]);
        assert!(decode(&out, 9, &mut back).is_err());
    }

    #[test]
    fn pack_reverses_spread() {
        for byte in 0..=255 {
            assert_eq!(pack(SPREAD[usize::from(byte)]), byte);
        }
    }
}
