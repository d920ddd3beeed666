//! Floats: the bits that differ from the value before (the scheme of Facebook's Gorilla, in InfluxDB's variant).
//!
//! ```text
//! ┌─────────┬─────────────┬──────────────────────────────────────────┬─────────┐
//! │ 10 <1B> │ first <64b> │ one code for each further value, and end │ padding │   most significant bits first
//! └─────────┴─────────────┴──────────────────────────────────────────┴─────────┘
//! 0                                       the same value again
//! 1 0 <bits>                              differing bits, in the window of the code before
//! 1 1 <leading 5b> <width 6b> <bits>      a new window: zeros above it, and its width; 0 stands for 64
//! end = the code of the NaN 7ff8000000000001
//! ```
//!
//! So no NaN can be encoded. Two habits of the original decide over its bytes: leading zeros are taken modulo 32, not
//! cut at 31, and a window is kept as long as the bits fit into it, however loosely. Readers ignore the first byte, as
//! InfluxDB's do.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use super::bits::{BitReader, BitWriter};
use crate::error::{Error, Result};

const HEADER: u8 = 0x10;
/// Written after the last value.
const END: u64 = 0x7ff8_0000_0000_0001;
const LEADING_MASK: u32 = 31;
/// Values that are written at once for a run; also the slack they need after the last value.
const RUN: usize = 16;
/// Bits of a code before its differing bits.
const SAME_WINDOW_BITS: u32 = 2;
const NEW_WINDOW_BITS: u32 = 13;

/// Appends the payload of `values`.
///
/// # Errors
/// NaN is refused, and nothing is appended.
pub fn encode(values: &[f64], out: &mut Vec<u8>) -> Result<()> {
    // No early exit, so that the common case runs in vector registers.
    if values.iter().fold(false, |nan, value| nan | value.is_nan()) {
        let index = values.iter().position(|value| value.is_nan()).unwrap_or(0);
        return Err(Error::unsupported(index, "NaN"));
    }
    out.push(HEADER);
    // The widest code has 77 bits.
    out.reserve(values.len() * 10 + 32);
    let mut writer = BitWriter::new(out);
    let Some((first, rest)) = values.split_first() else {
        writer.put(END, 64);
        writer.finish();
        return Ok(());
    };
    let mut before = first.to_bits();
    writer.put(before, 64);
    // A window that no bits fit into.
    let (mut leading, mut trailing) = (64, 64);
    for bits in rest.iter().map(|value| value.to_bits()).chain([END]) {
        let differing = bits ^ before;
        before = bits;
        if differing == 0 {
            writer.put(0, 1);
            continue;
        }
        let (zeros_above, zeros_below) =
            (differing.leading_zeros() & LEADING_MASK, differing.trailing_zeros());
        if zeros_above >= leading && zeros_below >= trailing {
            let width = 64 - leading - trailing;
            let code = differing >> trailing;
            if width + SAME_WINDOW_BITS <= 64 {
                writer.put(0b10 << width | code, width + SAME_WINDOW_BITS);
            } else {
                writer.put(0b10, SAME_WINDOW_BITS);
                writer.put(code, width);
            }
        } else {
            (leading, trailing) = (zeros_above, zeros_below);
            let width = 64 - leading - trailing;
            let window = 0b11 << 11 | u64::from(leading) << 6 | u64::from(width % 64);
            let code = differing >> trailing;
            if width + NEW_WINDOW_BITS <= 64 {
                writer.put(window << width | code, width + NEW_WINDOW_BITS);
            } else {
                writer.put(window, NEW_WINDOW_BITS);
                writer.put(code, width);
            }
        }
    }
    writer.finish();
    Ok(())
}

/// Replaces `out` by the values of the payload, which must be `count`.
///
/// # Errors
/// Whatever is not a whole payload of `count` values. `out` is of no use then.
pub fn decode(payload: &[u8], count: usize, out: &mut Vec<f64>) -> Result<()> {
    out.clear();
    let Some((_, body)) = payload.split_first() else {
        return match count {
            0 => Ok(()),
            _ => Err(Error::corrupt(0, "the encoding of floats")),
        };
    };
    // Each value but the first takes at least one bit.
    if count > body.len() * 8 {
        return Err(Error::corrupt(payload.len(), "as many floats as timestamps"));
    }
    out.resize(count + RUN, 0.0);
    let end = read(BitReader::new(body), count, out).map_err(|e| e.shifted(1))?;
    out.truncate(count);
    match (body.len() * 8).checked_sub(end) {
        None => Err(Error::corrupt(payload.len(), "the end mark of floats")),
        Some(padding) if padding >= 8 => {
            Err(Error::corrupt(1 + end / 8, "nothing after the end mark of floats"))
        }
        Some(_) => Ok(()),
    }
}

/// Writes `count` values to `out`, which is [`RUN`] longer; the place after the end mark.
fn read(bits: BitReader<'_>, count: usize, out: &mut [f64]) -> Result<usize> {
    let mut value = bits.peek_64(0);
    let mut at = 64;
    let (mut shift, mut width) = (0, 64);
    let mut done = 0;
    loop {
        // Here `value` is new: the first one, or changed by a code.
        if value == END || done == count {
            break;
        }
        let Some(slot) = out.get_mut(done) else { break };
        *slot = f64::from_bits(value);
        done += 1;
        let mut code = bits.peek(at);
        while code >> 63 == 0 {
            // As many repetitions as the bits at hand tell of.
            let run = (code.leading_zeros() as usize).min(BitReader::PEEK_BITS).min(count - done);
            if run == 0 {
                return Err(Error::corrupt(at / 8, "the end mark of floats"));
            }
            repeat(value, done, run, out);
            done += run;
            at += run;
            code = bits.peek(at);
        }
        if code >> 62 == 0b11 {
            let leading = (code >> 57) as u32 & LEADING_MASK;
            width = match (code >> 51) as u32 & 63 {
                0 => 64,
                width => width,
            };
            let Some(below) = 64u32.checked_sub(leading + width) else {
                return Err(Error::corrupt(at / 8, "a window of at most 64 bits"));
            };
            shift = below;
            at += NEW_WINDOW_BITS as usize;
        } else {
            at += SAME_WINDOW_BITS as usize;
        }
        value ^= bits.peek_64(at) >> (64 - width) << shift;
        at += width as usize;
    }
    if value != END || done != count {
        return Err(Error::corrupt(at / 8, "as many floats as timestamps"));
    }
    Ok(at)
}

/// Writes `value` to `run` places from `from` on, and up to [`RUN`] more.
#[inline(always)]
fn repeat(value: u64, from: usize, run: usize, out: &mut [f64]) {
    let mut at = from;
    while at < from + run {
        let Some(places) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<RUN>()) else { break };
        *places = [f64::from_bits(value); RUN];
        at += RUN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(values: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out).expect("no NaN");
        let mut back = Vec::new();
        decode(&out, values.len(), &mut back).expect("decodes");
        assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
        out
    }

    #[test]
    fn repeated_values_take_a_bit() {
        let long = vec![42.5; 1000];
        // Header, first value, 999 bits, and the end mark in a window of its own.
        assert!((135..=144).contains(&encoded(&long).len()));
        encoded(&[]);
        encoded(&[1.0]);
        encoded(&[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324]);
    }

    #[test]
    fn nan_is_refused_by_its_place() {
        let mut out = vec![1];
        assert_eq!(encode(&[1.0, f64::NAN], &mut out), Err(Error::unsupported(1, "NaN")));
        assert_eq!(out, [1]);
    }

    #[test]
    fn the_count_decides_over_every_cut() {
        let out = encoded(&[1.0, 1.0, 1.5, 2.25, 2.25]);
        let mut back = Vec::new();
        for count in [0, 1, 4, 6, 100] {
            assert!(decode(&out, count, &mut back).is_err(), "{count} values");
        }
        for len in 0..out.len() {
            assert!(decode(&out[..len], 5, &mut back).is_err(), "{len} bytes");
        }
    }
}
