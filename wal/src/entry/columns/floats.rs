//! Encodes floats as multiples of a power of ten where possible.

use crate::entry::words::{self, BLOCK};

/// All powers are exact as floats, so the division is correctly rounded.
const POWERS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];
/// Higher powers are decoded but not tried.
const TRIED: usize = 11;
/// The block holds the bits of the floats.
const BITS: u8 = 255;
/// Added to the power if exceptions follow.
const MISSES: u8 = 32;
/// Adding this to a float below half of it leaves the nearest integer in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const ROUNDED_MAX: f64 = 2_251_799_813_685_248.0;
/// Number of floats sampled to choose the power.
const SAMPLES: usize = 16;
/// A block with more exceptions (in eighths) stores bits instead.
const EXCEPTIONS_MAX: usize = 2;

/// The integer `n` with `value == n / power`, if there is one.
fn multiple(value: f64, power: f64) -> Option<i64> {
    let shifted = value * power + ROUND;
    let rounded = shifted - ROUND;
    let exact = rounded.abs() < ROUNDED_MAX && (rounded / power).to_bits() == value.to_bits();
    exact.then(|| (shifted.to_bits().cast_signed()).wrapping_sub(ROUND.to_bits().cast_signed()))
}

/// The smallest power that fits a sample of the block.
fn power_for(block: &[f64]) -> Option<usize> {
    let samples = || block.iter().step_by(block.len().div_ceil(SAMPLES));
    let wanted = samples().count() - samples().count() / 8;
    (0..TRIED).find(|&at| {
        let Some(&power) = POWERS.get(at) else { return false };
        // Stop at the first misfits: most powers do not fit at all.
        let mut misses = samples().count() - wanted;
        samples().all(|&value| {
            multiple(value, power).is_some() || {
                let forgiven = misses > 0;
                misses = misses.saturating_sub(1);
                forgiven
            }
        })
    })
}

/// Appends the blocks of `values`. `numbers` is a buffer that is empty before and after.
pub(super) fn put(values: &[f64], numbers: &mut Vec<i64>, out: &mut Vec<u8>) {
    for block in values.chunks(BLOCK) {
        numbers.clear();
        let from = out.len();
        let fits = power_for(block).is_some_and(|power| put_multiples(block, power, numbers, out));
        if !fits {
            out.truncate(from);
            out.push(BITS);
            numbers.clear();
            if let [value] = block {
                // A number would take a byte or two more.
                out.extend_from_slice(&value.to_le_bytes());
                continue;
            }
            numbers.extend(block.iter().map(|value| value.to_bits().cast_signed()));
        }
        words::put_block(numbers, out);
        numbers.clear();
    }
}

/// False if there are too many exceptions.
fn put_multiples(block: &[f64], at: usize, numbers: &mut Vec<i64>, out: &mut Vec<u8>) -> bool {
    let Some(&power) = POWERS.get(at) else { return false };
    let mut misses = 0;
    numbers.extend(block.iter().map(|&value| {
        let number = multiple(value, power);
        misses += usize::from(number.is_none());
        number.unwrap_or(i64::MIN)
    }));
    if misses > block.len() * EXCEPTIONS_MAX / 8 {
        return false;
    }
    if misses == 0 {
        out.push(at as u8);
    } else {
        out.extend_from_slice(&[at as u8 | MISSES, misses as u8]);
        // In the block, an exception repeats the number before it, which costs least.
        let mut before = numbers.iter().copied().find(|&number| number != i64::MIN).unwrap_or(0);
        for (place, (number, value)) in numbers.iter_mut().zip(block).enumerate() {
            if *number == i64::MIN {
                *number = before;
                out.push(place as u8);
                out.extend_from_slice(&value.to_le_bytes());
            }
            before = *number;
        }
    }
    true
}

/// Takes the blocks of `count` floats and appends them to `out`. `None` if bytes are missing.
pub(super) fn take(bytes: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let mut left = count;
    let mut numbers = Vec::with_capacity(BLOCK.min(count));
    while left > 0 {
        let len = left.min(BLOCK);
        left -= len;
        numbers.clear();
        let (&code, rest) = bytes.split_first()?;
        *bytes = rest;
        if code == BITS && len == 1 {
            let (value, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            out.push(f64::from_le_bytes(*value));
            continue;
        }
        if code == BITS {
            words::take_block(bytes, len, &mut numbers)?;
            out.extend(numbers.iter().map(|bits| f64::from_bits(bits.cast_unsigned())));
            continue;
        }
        let power = *POWERS.get(usize::from(code & !MISSES))?;
        let (misses, rest) = if code & MISSES == 0 { (&0, *bytes) } else { bytes.split_first()? };
        let (exceptions, rest) = rest.split_at_checked(9 * usize::from(*misses))?;
        *bytes = rest;
        words::take_block(bytes, len, &mut numbers)?;
        let from = out.len();
        out.extend(numbers.iter().map(|&number| number as f64 / power));
        let block = out.get_mut(from..)?;
        for &[place, a, b, c, d, e, f, g, h] in exceptions.as_chunks().0 {
            *block.get_mut(usize::from(place))? = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
        }
    }
    Some(())
}
