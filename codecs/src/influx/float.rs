//! Floats: the bits that differ from the previous value. This is InfluxDB's variant of Facebook's Gorilla encoding.
//!
//! ```text
//! ┌─────────┬─────────────┬──────────────────────────────────────────┬─────────┐
//! │ 10 <1B> │ first <64b> │ one code for each further value, and end │ padding │   most significant bits first
//! └─────────┴─────────────┴──────────────────────────────────────────┴─────────┘
//! 0                                       the same value again
//! 1 0 <bits>                              differing bits, in the window of the previous code
//! 1 1 <leading 5b> <width 6b> <bits>      a new window: the zeros above it and its width (0 means 64)
//! end = the code of the NaN 7ff8000000000001
//! ```
//!
//! The end mark is a NaN, so no NaN can be encoded. Two details of InfluxDB's encoder affect the bytes. It takes the
//! number of leading zeros modulo 32 instead of limiting it to 31. And it keeps a window as long as the bits fit
//! into it, even if a narrower one would save space. Like InfluxDB, the decoder ignores the first byte.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

#[cfg(target_arch = "x86_64")]
mod eight;
#[cfg(target_arch = "x86_64")]
mod four;

use std::ops::Range;

use super::bits::{BitReader, BitWriter};
use crate::error::{Error, Result};

const HEADER: u8 = 0x10;
/// Written after the last value.
const END: u64 = 0x7ff8_0000_0000_0001;
const LEADING_MASK: u32 = 31;
/// Slots that are written at once for a repeated value.
const RUN: usize = 16;
/// After this many codes with one window, more are likely to follow.
const FEW: usize = 8;
/// Bits in a code before its differing bits.
const SAME_WINDOW_BITS: usize = 2;
const NEW_WINDOW_BITS: usize = 13;

/// Appends the payload of `values`.
///
/// # Errors
/// A value is NaN. Nothing is appended.
pub fn encode(values: &[f64], out: &mut Vec<u8>) -> Result<()> {
    // No early exit, so that the common case runs in vector registers.
    if values.iter().fold(false, |nan, value| nan | value.is_nan()) {
        let index = values.iter().position(|value| value.is_nan()).unwrap_or(0);
        return Err(Error::unsupported(index, "NaN"));
    }
    out.push(HEADER);
    // The widest code has 77 bits.
    out.reserve(values.len() * 10 + 32);
    write_at_best(values, out);
    Ok(())
}

/// Calls the fastest version of [`write`] for this processor.
fn write_at_best(values: &[f64], out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("bmi1") && has!("bmi2") && has!("lzcnt") {
            #[expect(
                unsafe_code,
                reason = "writes the same bits with faster instructions; `write` is its safe twin"
            )]
            // SAFETY: the check above found all three instruction sets.
            return unsafe { write_with_bmi2(values, out) };
        }
    }
    write(values, out);
}

/// [`write`], compiled with shifts that do not change the flags and with an instruction that counts zeros.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi1,bmi2,lzcnt")]
fn write_with_bmi2(values: &[f64], out: &mut Vec<u8>) {
    write(values, out);
}

/// Appends the codes of `values` and the end mark. The values must not contain NaN.
#[expect(clippy::inline_always, reason = "compiled once for each instruction set")]
#[inline(always)]
fn write(values: &[f64], out: &mut Vec<u8>) {
    let mut writer = BitWriter::new(out);
    let Some((first, rest)) = values.split_first() else {
        writer.put(END, 64);
        return writer.finish();
    };
    let mut before = first.to_bits();
    writer.put(before, 64);
    // An empty window: no differing bits fit into it.
    let (mut leading, mut trailing) = (64, 64);
    for bits in rest.iter().map(|value| value.to_bits()).chain([END]) {
        let differing = bits ^ before;
        before = bits;
        if differing == 0 {
            writer.put_zero();
            continue;
        }
        let zeros_above = differing.leading_zeros() & LEADING_MASK;
        let zeros_below = differing.trailing_zeros();
        if zeros_above >= leading && zeros_below >= trailing {
            let width = 64 - leading - trailing;
            writer.put_two((0b10, SAME_WINDOW_BITS as u32), (differing >> trailing, width));
        } else {
            (leading, trailing) = (zeros_above, zeros_below);
            let width = 64 - leading - trailing;
            let window = 0b11 << 11 | u64::from(leading) << 6 | u64::from(width % 64);
            writer.put_two((window, NEW_WINDOW_BITS as u32), (differing >> trailing, width));
        }
    }
    writer.finish();
}

/// Replaces `out` with the values of the payload, which must hold exactly `count`.
///
/// # Errors
/// The payload does not hold exactly `count` values. The content of `out` is then unspecified.
pub fn decode(payload: &[u8], count: usize, out: &mut Vec<f64>) -> Result<()> {
    decode_first(payload, count, count, out)
}

/// Replaces `out` with the values at `places`. The payload must hold exactly `count` values. If the last value is
/// not among `places`, the rest of the payload is not checked.
///
/// # Errors
/// The part that was read is corrupt. The content of `out` is then unspecified.
pub(crate) fn decode_part(
    payload: &[u8],
    places: Range<usize>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<()> {
    decode_first(payload, places.end, count, out)?;
    if places.start > 0 {
        out.drain(..places.start.min(out.len()));
    }
    Ok(())
}

fn decode_first(payload: &[u8], wanted: usize, count: usize, out: &mut Vec<f64>) -> Result<()> {
    let Some((_, body)) = payload.split_first() else {
        out.clear();
        return match count {
            0 => Ok(()),
            _ => Err(Error::corrupt(0, "the encoding of floats")),
        };
    };
    // Each value after the first takes at least one bit.
    if count > body.len() * 8 {
        return Err(Error::corrupt(payload.len(), "as many floats as timestamps"));
    }
    let wanted = wanted.min(count);
    out.resize(wanted, 0.0);
    if wanted == 0 && count > 0 {
        return Ok(());
    }
    let whole = wanted == count;
    let end = read_at_best(BitReader::new(body), out, whole).map_err(|e| e.shifted(1))?;
    if !whole && end <= body.len() * 8 {
        return Ok(());
    }
    match (body.len() * 8).checked_sub(end) {
        None => Err(Error::corrupt(payload.len(), "the end mark of floats")),
        Some(padding) if padding >= 8 => {
            Err(Error::corrupt(1 + end / 8, "nothing after the end mark of floats"))
        }
        Some(_) => Ok(()),
    }
}

/// Calls the fastest version of [`read`] for this processor.
fn read_at_best(bits: BitReader<'_>, out: &mut [f64], whole: bool) -> Result<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(done) = eight_at_once(bits, out, whole).or_else(|| four_at_once(bits, out, whole)) {
        return done;
    }
    read(bits, out, whole, one_by_one)
}

/// [`read`] with the kernel of [`eight`]. Returns `None` if the processor lacks the instructions.
#[cfg(target_arch = "x86_64")]
fn eight_at_once(bits: BitReader<'_>, out: &mut [f64], whole: bool) -> Option<Result<usize>> {
    use std::arch::is_x86_feature_detected as has;
    let has_it = has!("bmi2")
        && has!("lzcnt")
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512vbmi")
        && has!("avx512vbmi2");
    #[expect(
        unsafe_code,
        reason = "a kernel, three times as fast as shifts; `read` without a kernel is its safe twin"
    )]
    // SAFETY: the check above found all six instruction sets.
    has_it.then(|| unsafe { read_by_eight(bits, out, whole) })
}

/// [`read`] with the kernel of [`four`]. Returns `None` if the processor lacks the instructions.
#[cfg(target_arch = "x86_64")]
fn four_at_once(bits: BitReader<'_>, out: &mut [f64], whole: bool) -> Option<Result<usize>> {
    use std::arch::is_x86_feature_detected as has;
    let has_it = has!("bmi2") && has!("lzcnt") && has!("avx2");
    #[expect(
        unsafe_code,
        reason = "a kernel, a third faster than shifts; `read` without a kernel is its safe twin"
    )]
    // SAFETY: the check above found all three instruction sets.
    has_it.then(|| unsafe { read_by_four(bits, out, whole) })
}

/// [`read`] with the AVX-512 kernel for runs of codes with one window.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi2,lzcnt,avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
fn read_by_eight(bits: BitReader<'_>, out: &mut [f64], whole: bool) -> Result<usize> {
    read(bits, out, whole, |window, at, value, out| eight::follow(window, bits.bytes(), at, value, out))
}

/// [`read`] with the AVX2 kernel for runs of codes with one window.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi2,lzcnt,avx2")]
fn read_by_four(bits: BitReader<'_>, out: &mut [f64], whole: bool) -> Result<usize> {
    read(bits, out, whole, |window, at, value, out| four::follow(window, bits.bytes(), at, value, out))
}

/// Used where the processor has no faster way.
#[expect(clippy::inline_always, reason = "the function does nothing")]
#[inline(always)]
fn one_by_one(_: Window, at: usize, value: u64, _: &mut [f64]) -> (usize, u64, usize) {
    (at, value, 0)
}

/// Fills `out` and returns the bit offset after the end mark. If `whole` is false, the end mark need not follow.
///
/// `many` reads further codes with the same window, as long as it has a faster way. It gets a bit offset, the
/// previous value and the slots to fill. It returns the next bit offset, the last value and the number of values
/// written.
#[expect(clippy::inline_always, reason = "compiled once for each instruction set")]
#[inline(always)]
fn read(
    bits: BitReader<'_>,
    mut out: &mut [f64],
    whole: bool,
    many: impl Fn(Window, usize, u64, &mut [f64]) -> (usize, u64, usize),
) -> Result<usize> {
    let mut at = 64;
    let mut value = bits.peek_64(0);
    let mut window = Window::whole();
    // Whether the last window had many codes. Then the next one is likely to have many too.
    let mut long = false;
    // Each iteration starts with a value that is new: the first one, or one that a code has changed. It ends at a
    // code that starts a new window.
    while value != END {
        let Some((slot, rest)) = std::mem::take(&mut out).split_first_mut() else { break };
        *slot = f64::from_bits(value);
        out = rest;
        loop {
            let before = out.len();
            if !long {
                let few = before.min(FEW);
                let (end, last, left) =
                    window.follow(bits, at, value, out.get_mut(..few).unwrap_or_default());
                let taken = few - left.len();
                (at, value) = (end, last);
                out = std::mem::take(&mut out).get_mut(taken..).unwrap_or_default();
                long = taken == FEW;
            }
            if long {
                let written;
                (at, value, written) = many(window, at, value, out);
                out = std::mem::take(&mut out).get_mut(written..).unwrap_or_default();
                (at, value, out) = window.follow(bits, at, value, out);
                long = before - out.len() >= FEW;
            }
            let run = bits.zeros(at).min(out.len());
            if run == 0 {
                break;
            }
            out = repeat(value, run, out);
            at += run;
        }
        if out.is_empty() && !whole {
            return Ok(at);
        }
        match bits.peek(at) >> 62 {
            0b11 => {
                window =
                    Window::of(bits.peek(at)).ok_or(Error::corrupt(at / 8, "a window of at most 64 bits"))?;
                at += NEW_WINDOW_BITS;
            }
            0b10 => at += SAME_WINDOW_BITS,
            _ => return Err(Error::corrupt(at / 8, "the end mark of floats")),
        }
        value ^= bits.peek_64(at) >> window.leading & window.mask;
        at += window.width;
    }
    if value == END && out.is_empty() {
        Ok(at)
    } else {
        Err(Error::corrupt(at / 8, "as many floats as timestamps"))
    }
}

/// A source of all bits of a code at any bit offset.
enum Reach {
    /// A load of eight bytes.
    Word,
    /// A load of eight bytes and the byte after it.
    Whole,
    /// Neither fits.
    Beyond,
}

/// The position of the differing bits in a value.
#[derive(Clone, Copy)]
struct Window {
    leading: u32,
    width: usize,
    mask: u64,
}

impl Window {
    fn whole() -> Self {
        Self { leading: 0, width: 64, mask: u64::MAX }
    }

    /// The window at the start of a code.
    fn of(code: u64) -> Option<Self> {
        let leading = (code >> 57) as u32 & LEADING_MASK;
        let width = match (code >> 51) as u32 & 63 {
            0 => 64,
            width => width,
        };
        let below = 64u32.checked_sub(leading + width)?;
        Some(Self { leading, width: width as usize, mask: u64::MAX >> (64 - width) << below })
    }

    /// Reads codes until the window changes or the end mark comes. Nearly all values of a noisy column take this
    /// path. It stops before the last bytes.
    #[inline]
    fn follow<'o>(
        &self,
        bits: BitReader<'_>,
        at: usize,
        value: u64,
        out: &'o mut [f64],
    ) -> (usize, u64, &'o mut [f64]) {
        // One rotation moves the bits after the head of the code to their place in the value.
        let turn = (SAME_WINDOW_BITS as u32).wrapping_sub(self.leading);
        let turned = |code: u64| (code, code.rotate_left(turn));
        match self.reach() {
            Reach::Word => self.follow_by(at, value, out, |at| bits.whole_peek(at).map(turned)),
            Reach::Whole => self.follow_by(at, value, out, |at| bits.whole_64(at).map(turned)),
            Reach::Beyond => self.follow_by(at, value, out, |at| {
                Some((bits.whole_peek(at)?, bits.whole_64(at + SAME_WINDOW_BITS)? >> self.leading))
            }),
        }
    }

    /// Whether codes with this window can change one value into the other.
    #[cfg(target_arch = "x86_64")]
    fn may_reach(&self, from: u64, to: u64) -> bool {
        (from ^ to) & !self.mask == 0
    }

    fn reach(&self) -> Reach {
        match SAME_WINDOW_BITS + self.width {
            0..=BitReader::PEEK_BITS => Reach::Word,
            code_bits if code_bits <= 64 => Reach::Whole,
            _ => Reach::Beyond,
        }
    }

    /// `peek` returns the head of the code at a bit offset and its differing bits. Reading stops when it returns
    /// `None`.
    #[inline]
    fn follow_by<'o>(
        &self,
        mut at: usize,
        mut value: u64,
        mut out: &'o mut [f64],
        peek: impl Fn(usize) -> Option<(u64, u64)>,
    ) -> (usize, u64, &'o mut [f64]) {
        while let Some((head, differing)) = peek(at) {
            let next = value ^ differing & self.mask;
            if head >> 62 != 0b10 || next == END {
                break;
            }
            let Some((slot, rest)) = std::mem::take(&mut out).split_first_mut() else { break };
            *slot = f64::from_bits(next);
            (at, value, out) = (at + SAME_WINDOW_BITS + self.width, next, rest);
        }
        (at, value, out)
    }
}

/// Writes `value` to the first `run` slots and returns the slots after them.
#[inline]
fn repeat(value: u64, run: usize, out: &mut [f64]) -> &mut [f64] {
    let value = f64::from_bits(value);
    if let Some(chunks) = out.get_mut(..run.next_multiple_of(RUN)) {
        // Writes full chunks, so some slots after the run are written too. Later values overwrite them.
        chunks.as_chunks_mut::<RUN>().0.iter_mut().for_each(|chunk| *chunk = [value; RUN]);
        out.get_mut(run..).unwrap_or_default()
    } else {
        let (repeated, rest) = out.split_at_mut(run);
        repeated.fill(value);
        rest
    }
}

#[cfg(test)]
mod tests;
