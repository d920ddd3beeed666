//! Packs runs of 64-bit numbers. All columns are encoded with it.
//!
//! ```text
//! block   ┌────────────┬───────────────┬─────────────────────────┬──────────────────────────┐
//!         │ code <1B>  │ base <varint> │ step <varint>, if delta │ the rest, width bits each│   256 numbers, or the last
//!         └────────────┴───────────────┴─────────────────────────┴──────────────────────────┘
//! code      the width, 0 to 64; plus 128 when the differences were packed; none in a block of one number, which is its base
//! ```
//!
//! `base` is the smallest number, or with differences the first number, which is then not packed. `step` is
//! the smallest difference. The packed numbers are the excess over `base` or `step`, so a run of equal
//! numbers or equal differences needs no bits. Varints are zigzag LEB128. Sums wrap.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

/// Numbers of a block.
pub(super) const BLOCK: usize = 256;

const DELTA: u8 = 0x80;

/// Appends unsigned LEB128.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes unsigned LEB128.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        value |= part << shift;
        if byte < 0x80 {
            return (part << shift >> shift == part).then_some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Appends the blocks of `numbers`.
pub(super) fn put(numbers: &[i64], out: &mut Vec<u8>) {
    numbers.chunks(BLOCK).for_each(|block| put_block(block, out));
}

/// Appends one block.
pub(super) fn put_block(block: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = block.split_first() else { return };
    if rest.is_empty() {
        return put_varint(zigzag(first), out);
    }
    let (mut min, mut max) = (first, first);
    let (mut step_min, mut step_max) = (i64::MAX, i64::MIN);
    let mut steps = [0; BLOCK];
    let mut before = first;
    for (step, &number) in steps.iter_mut().zip(rest) {
        (min, max) = (min.min(number), max.max(number));
        *step = number.wrapping_sub(before);
        (step_min, step_max) = (step_min.min(*step), step_max.max(*step));
        before = number;
    }
    let width_of = |min: i64, max: i64| u64::BITS - max.wrapping_sub(min).cast_unsigned().leading_zeros();
    let width = width_of(min, max);
    let step_width = width_of(step_min, step_max);
    // The step itself takes a few bytes.
    if (step_width as usize + 1) * block.len() + 24 < width as usize * block.len() {
        out.push(DELTA | step_width as u8);
        put_varint(zigzag(first), out);
        put_varint(zigzag(step_min), out);
        pack(steps.get(..rest.len()).unwrap_or_default(), step_min, step_width, out);
    } else {
        out.push(width as u8);
        put_varint(zigzag(min), out);
        pack(block, min, width, out);
    }
}

/// Appends the excess of each number over `base` in `width` bits.
fn pack(numbers: &[i64], base: i64, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    // Eight numbers fill `width` complete bytes, so only the end needs a partial byte.
    let (mut bits, mut held): (u128, u32) = (0, 0);
    out.reserve(numbers.len() * width as usize / 8 + 8);
    for &number in numbers {
        bits |= u128::from(number.wrapping_sub(base).cast_unsigned()) << held;
        held += width;
        if held >= u64::BITS {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= u64::BITS;
            held -= u64::BITS;
        }
    }
    let left = bits.to_le_bytes();
    out.extend_from_slice(left.get(..held.div_ceil(8) as usize).unwrap_or_default());
}

/// Takes the blocks of `count` numbers and appends the numbers to `out`. `None` if bytes are missing.
pub(super) fn take(bytes: &mut &[u8], count: usize, out: &mut Vec<i64>) -> Option<()> {
    let mut left = count;
    while left > 0 {
        let len = left.min(BLOCK);
        take_block(bytes, len, out)?;
        left -= len;
    }
    Some(())
}

/// Takes one block of `len` numbers, 1 to [`BLOCK`].
pub(super) fn take_block(bytes: &mut &[u8], len: usize, out: &mut Vec<i64>) -> Option<()> {
    if len == 1 {
        out.push(unzigzag(take_varint(bytes)?));
        return Some(());
    }
    let (&code, rest) = bytes.split_first()?;
    *bytes = rest;
    let width = u32::from(code & !DELTA);
    if width > u64::BITS {
        return None;
    }
    let base = unzigzag(take_varint(bytes)?);
    if code & DELTA == 0 {
        return unpack(bytes, len, base, width, out);
    }
    let step = unzigzag(take_varint(bytes)?);
    out.push(base);
    let from = out.len();
    unpack(bytes, len.checked_sub(1)?, step, width, out)?;
    let mut sum = base;
    for number in out.get_mut(from..)? {
        sum = sum.wrapping_add(*number);
        *number = sum;
    }
    Some(())
}

fn unpack(bytes: &mut &[u8], len: usize, base: i64, width: u32, out: &mut Vec<i64>) -> Option<()> {
    if width == 0 {
        out.resize(out.len() + len, base);
        return Some(());
    }
    let (packed, rest) = bytes.split_at_checked((len * width as usize).div_ceil(8))?;
    *bytes = rest;
    let mask = u64::MAX >> (u64::BITS - width);
    let mut words = packed.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    });
    let (mut bits, mut held): (u128, u32) = (0, 0);
    out.extend((0..len).map(|_| {
        if held < width {
            bits |= u128::from(words.next().unwrap_or(0)) << held;
            held += u64::BITS;
        }
        let number = base.wrapping_add((bits as u64 & mask).cast_signed());
        bits >>= width;
        held -= width;
        number
    }));
    Some(())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a failed test panics")]
mod tests {
    use super::*;

    fn shapes() -> Vec<Vec<i64>> {
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 8).cast_signed() ^ state.cast_signed()
        };
        let mut shapes = vec![vec![i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN]];
        for len in [1, 2, 255, 256, 257, 1000] {
            shapes.push(vec![-7; len]);
            shapes.push((0..len as i64).map(|n| 1_600_000_000 + n * 10).collect());
            shapes.push((0..len as i64).map(|n| n * n).collect());
            for width in [1, 7, 8, 31, 33, 63, 64] {
                shapes.push((0..len).map(|_| next() >> (64 - width)).collect());
            }
        }
        shapes
    }

    #[test]
    fn numbers_round_trip_and_truncated_blocks_fail() {
        for numbers in shapes() {
            let mut out = vec![9];
            put(&numbers, &mut out);
            let (mut bytes, mut back) = (&out[1..], vec![5]);
            take(&mut bytes, numbers.len(), &mut back).expect("a complete block");
            assert!(bytes.is_empty() && back[0] == 5 && back[1..] == numbers);
            for len in 1..out.len().min(300) {
                assert_eq!(take(&mut &out[1..len], numbers.len(), &mut back), None);
            }
        }
    }

    #[test]
    fn regular_numbers_take_no_bits() {
        for (numbers, most) in [(vec![5; 256], 2), ((0..256).map(|n| 100 * n).collect(), 4)] {
            let mut out = Vec::new();
            put(&numbers, &mut out);
            assert!(out.len() <= most, "{} bytes", out.len());
        }
    }

    #[test]
    fn varints_end_and_fit() {
        for value in [0, 127, 128, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(take_varint(&mut &bytes[..]), Some(value));
            assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(take_varint(&mut &[0xff; 11][..]), None);
        let wide = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(take_varint(&mut &wide[..]), None);
    }
}
