//! simple8b: packs as many small numbers as possible into each 64-bit word.
//!
//! ```text
//! ┌───────────────┬─────────────────────────────────────────────┐
//! │ selector <4b> │ values, the first one in the lowest bits    │   words are big-endian
//! └───────────────┴─────────────────────────────────────────────┘
//! selector   0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15
//! values   240 120  60  30  20  15  12  10   8   7   6   5   4   3   2   1
//! bits       0   0   1   2   3   4   5   6   7   8  10  12  15  20  30  60
//! ```
//!
//! Selectors 0 and 1 stand for runs of the value 1. The encoder takes the first selector whose word the next values
//! fill. Words are never padded, so the last values of a stream go into words with fewer values.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

#[cfg(target_arch = "x86_64")]
mod mixed;

use super::Word;
use crate::error::{Error, Result};

/// The largest value a word can hold.
pub const VALUE_MAX: u64 = (1 << VALUE_BITS_MAX) - 1;
const VALUE_BITS_MAX: u32 = 60;

/// When a run of ones becomes a word with selector 0 or 1. The versions of InfluxDB differ in this, so their bytes
/// differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ones {
    /// All of the next 240 values are ones, or all remaining values if fewer: timestamps in the streaming form.
    Window,
    /// All remaining values are ones: integers in the streaming form.
    Rest,
    /// The next 240 or 120 values are ones: the batch form.
    Prefix,
}

const WORD_BYTES: usize = 8;
type Word64 = [u8; WORD_BYTES];
/// The remaining words, or as an error the remaining words whose values did not fit.
type Unread<'w> = std::result::Result<&'w [Word64], &'w [Word64]>;
const SELECTOR_SHIFT: u32 = 60;
const SELECTOR_BITS: u32 = 4;
const LONG_RUN: usize = 240;
const SHORT_RUN: usize = 120;

/// Values per word, by selector.
const COUNTS: [usize; 16] = [240, 120, 60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];
/// Bits per value, by selector.
const WIDTHS: [u32; 16] = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60];
/// The largest value that fits into a word after this many other values.
const LIMITS: [u64; 60] = limits();
/// The selector of the largest word that this many values fill.
const FILLED: [u8; 61] = filled();

const _: () = assert!(LIMITS[0] == VALUE_MAX && LIMITS[1] == (1 << 30) - 1 && LIMITS[59] == 1);
const _: () = assert!(FILLED[60] == 2 && FILLED[9] == 8 && FILLED[1] == 15);

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn limits() -> [u64; 60] {
    let mut limits = [0; 60];
    let mut selector = 2;
    while selector < 16 {
        let mut before = 0;
        while before < COUNTS[selector] {
            limits[before] = (1 << WIDTHS[selector]) - 1;
            before += 1;
        }
        selector += 1;
    }
    limits
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn filled() -> [u8; 61] {
    let mut filled = [15; 61];
    let mut selector = 16;
    while selector > 2 {
        selector -= 1;
        let mut count = COUNTS[selector];
        while count <= 60 {
            filled[count] = selector as u8;
            count += 1;
        }
    }
    filled
}

/// Runs `$call::<COUNT, BITS>($args)` for a selector of 2 or more. The compiler knows both constants.
macro_rules! by_selector {
    ($selector:expr, $($call:ident).+($($arg:expr),*)) => {
        match $selector {
            2 => $($call).+::<60, 1>($($arg),*),
            3 => $($call).+::<30, 2>($($arg),*),
            4 => $($call).+::<20, 3>($($arg),*),
            5 => $($call).+::<15, 4>($($arg),*),
            6 => $($call).+::<12, 5>($($arg),*),
            7 => $($call).+::<10, 6>($($arg),*),
            8 => $($call).+::<8, 7>($($arg),*),
            9 => $($call).+::<7, 8>($($arg),*),
            10 => $($call).+::<6, 10>($($arg),*),
            11 => $($call).+::<5, 12>($($arg),*),
            12 => $($call).+::<4, 15>($($arg),*),
            13 => $($call).+::<3, 20>($($arg),*),
            14 => $($call).+::<2, 30>($($arg),*),
            _ => $($call).+::<1, 60>($($arg),*),
        }
    };
}

/// Appends the words of `values`.
///
/// # Errors
/// A value is above [`VALUE_MAX`]. Nothing is appended.
pub fn encode(values: &[u64], ones: Ones, out: &mut Vec<u8>) -> Result<()> {
    if let Some(index) = values.iter().position(|&v| v > VALUE_MAX) {
        return Err(Error::unsupported(index, "above 2^60 - 1"));
    }
    pack(values, ones, out);
    Ok(())
}

/// Replaces `out` with all values of `words`.
///
/// # Errors
/// The last word is incomplete, or there are more values than `limit`.
pub fn decode(words: &[u8], limit: usize, out: &mut Vec<u64>) -> Result<()> {
    let count = count(words)?;
    if count > limit as u64 {
        return Err(Error::too_many(count, limit));
    }
    out.clear();
    out.resize(count as usize, 0);
    // Unpacking adds the steps up. Subtracting each value from the next one restores the values.
    unpack(words, 0, Plain, out)?;
    for at in (1..out.len()).rev() {
        if let Some([before, value]) = out.get_mut(at - 1..=at) {
            *value = value.wrapping_sub(*before);
        }
    }
    Ok(())
}

/// The number of values in `words`.
///
/// # Errors
/// The last word is incomplete.
pub fn count(words: &[u8]) -> Result<u64> {
    let (words, part) = words.as_chunks::<WORD_BYTES>();
    if !part.is_empty() {
        return Err(Error::corrupt(words.len() * WORD_BYTES, "a complete simple8b word"));
    }
    Ok(words.iter().map(|word| COUNTS.get(usize::from(word[0] >> 4)).copied().unwrap_or(0) as u64).sum())
}

/// Appends the words of values that are all at most [`VALUE_MAX`].
#[expect(clippy::indexing_slicing, reason = "the tables cover every number of values in a word")]
pub(super) fn pack(values: &[u64], ones: Ones, out: &mut Vec<u8>) {
    let mut runs = Runs { values, ones, end: 0 };
    let mut at = 0;
    while let Some(rest @ [first, ..]) = values.get(at..) {
        if *first == 1
            && rest.len() >= SHORT_RUN
            && let Some((count, word)) = runs.word(at)
        {
            out.extend_from_slice(&word.to_be_bytes());
            at += count;
            continue;
        }
        // All values of a word have one width. So a value that is too wide is too wide in any word with more values,
        // too.
        let mut union = 0;
        let fits = |(value, limit): &(&u64, &u64)| {
            union |= **value;
            union <= **limit
        };
        let count = rest.iter().zip(&LIMITS).take_while(fits).count();
        let selector = FILLED[count];
        let word = by_selector!(selector, join(rest)) | u64::from(selector) << SELECTOR_SHIFT;
        out.extend_from_slice(&word.to_be_bytes());
        at += COUNTS[usize::from(selector)];
    }
}

/// Packs the first `COUNT` values.
#[inline]
fn join<const COUNT: usize, const BITS: u32>(values: &[u64]) -> u64 {
    let Some(values) = values.first_chunk::<COUNT>() else { return 0 };
    values.iter().zip(0..).fold(0, |word, (value, at)| word | value << (at * BITS))
}

/// Finds runs of ones. Looks at each value once.
struct Runs<'a> {
    values: &'a [u64],
    ones: Ones,
    /// The end of the last run that was found.
    end: usize,
}

impl Runs<'_> {
    /// The run word for the values at `at`, of which at least 120 remain and the first is a one.
    fn word(&mut self, at: usize) -> Option<(usize, u64)> {
        let rest = self.values.get(at..)?;
        if self.end <= at {
            self.end = at + rest.iter().take_while(|&&v| v == 1).count();
        }
        let run = self.end - at;
        let needed = match self.ones {
            Ones::Window => rest.len().min(LONG_RUN),
            Ones::Rest => rest.len(),
            Ones::Prefix => SHORT_RUN,
        };
        if run < needed {
            None
        } else if run >= LONG_RUN {
            Some((LONG_RUN, 0))
        } else {
            Some((SHORT_RUN, 1 << SELECTOR_SHIFT))
        }
    }
}

/// How the values of a stream become steps between consecutive sums.
///
/// A word is first converted as a whole, so that all its values are converted at once.
pub(super) trait Step: Copy {
    /// Converts a word with `COUNT` values of `BITS` bits for [`Step::lowest`].
    fn ready<const COUNT: usize, const BITS: u32>(self, word: u64) -> u64;
    /// The step of the value in the lowest `BITS` bits.
    fn lowest<const BITS: u32>(self, word: u64) -> u64;
    /// Writes the sums of the first words if their selectors are mixed, and returns the remaining words. Returns
    /// `None` if the loop over one selector is the fastest way.
    #[inline]
    fn mixed<'w, T: Word>(self, _sums: &mut Sums<'_, T>, _words: &'w [Word64]) -> Option<&'w [Word64]> {
        None
    }
    /// The step of each value in a run.
    fn one(self) -> u64;
}

/// The values are the steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Step for Plain {
    #[inline]
    fn ready<const COUNT: usize, const BITS: u32>(self, word: u64) -> u64 {
        word
    }
    #[inline]
    fn lowest<const BITS: u32>(self, word: u64) -> u64 {
        word & ((1 << BITS) - 1)
    }
    fn one(self) -> u64 {
        1
    }
}

/// The values are the steps divided by a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled(pub(super) u64);

impl Step for Scaled {
    #[inline]
    fn ready<const COUNT: usize, const BITS: u32>(self, word: u64) -> u64 {
        word
    }
    #[inline]
    fn lowest<const BITS: u32>(self, word: u64) -> u64 {
        Plain.lowest::<BITS>(word).wrapping_mul(self.0)
    }
    fn one(self) -> u64 {
        self.0
    }
}

/// The values are the steps in zigzag form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zigzag;

impl Step for Zigzag {
    /// Converts each value to two's complement of `BITS` bits, or of 64 bits if there is one value: half the value,
    /// inverted if it was odd.
    #[inline]
    fn ready<const COUNT: usize, const BITS: u32>(self, word: u64) -> u64 {
        let lowest = const { lowest_bits(COUNT, BITS) };
        if BITS == VALUE_BITS_MAX {
            return word << SELECTOR_BITS >> (SELECTOR_BITS + 1) ^ (word & 1).wrapping_neg();
        }
        let odd = word & lowest;
        word >> 1 & !(lowest << (BITS - 1)) ^ ((odd << BITS) - odd)
    }
    #[inline]
    fn lowest<const BITS: u32>(self, word: u64) -> u64 {
        if BITS == VALUE_BITS_MAX {
            return word;
        }
        ((word << (64 - BITS)) as i64 >> (64 - BITS)) as u64
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn mixed<'w, T: Word>(self, sums: &mut Sums<'_, T>, words: &'w [Word64]) -> Option<&'w [Word64]> {
        if !mixed::takes(words.first()?[0] >> 4) {
            return None;
        }
        let (read, written) = mixed::zigzag_sums(words, &mut sums.last, sums.places)?;
        sums.places = std::mem::take(&mut sums.places).get_mut(written..)?;
        words.get(read..).filter(|_| read > 0)
    }
    fn one(self) -> u64 {
        u64::MAX
    }
}

/// The selector for this many values, shifted to its place in the word.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn selector_of(count: usize) -> u64 {
    (FILLED[count] as u64) << SELECTOR_SHIFT
}

/// The lowest bit of each value in a word.
const fn lowest_bits(count: usize, bits: u32) -> u64 {
    let (mut lowest, mut at) = (0, 0);
    while at < count as u32 {
        lowest |= 1 << (at * bits);
        at += 1;
    }
    lowest
}

/// Fills `out` with running sums. The sum starts at `sum`, and each value of `words` adds its `step`.
///
/// # Errors
/// The words do not hold exactly as many values as `out`.
pub(super) fn unpack<T: Word>(words: &[u8], sum: u64, step: impl Step, out: &mut [T]) -> Result<()> {
    let (words, part) = words.as_chunks::<WORD_BYTES>();
    let begin_of = |rest: &[Word64]| (words.len() - rest.len()) * WORD_BYTES;
    let mut sums = Sums { last: sum, places: out };
    let mut rest = words;
    while let Some(word) = rest.first() {
        let read = match word[0] >> 4 {
            0 => sums.run::<LONG_RUN>(rest, step.one()),
            1 => sums.run::<SHORT_RUN>(rest, step.one()),
            selector => match step.mixed(&mut sums, rest) {
                Some(unread) => Ok(unread),
                None => by_selector!(selector, sums.split(rest, step)),
            },
        };
        match read {
            Ok(unread) => rest = unread,
            Err(unread) => return Err(Error::corrupt(begin_of(unread), "no more values than timestamps")),
        }
    }
    if !part.is_empty() {
        return Err(Error::corrupt(begin_of(rest), "a complete simple8b word"));
    }
    if !sums.places.is_empty() {
        return Err(Error::corrupt(begin_of(rest), "as many values as timestamps"));
    }
    Ok(())
}

/// The current sum and the slots that remain.
pub(super) struct Sums<'o, T> {
    last: u64,
    places: &'o mut [T],
}

impl<T: Word> Sums<'_, T> {
    /// Writes the sums of consecutive words that have one selector.
    #[inline]
    fn split<'w, const COUNT: usize, const BITS: u32>(
        &mut self,
        mut words: &'w [Word64],
        step: impl Step,
    ) -> Unread<'w> {
        /// Words of a few wide values are read in groups of this size, because the checks for one word cost as much
        /// as its values.
        const TOGETHER: usize = 4;
        const WIDE_BITS: u32 = 10;
        let selector = const { selector_of(COUNT) };
        // Local variables, so that the loop keeps them in registers.
        let (mut last, mut places) = (self.last, std::mem::take(&mut self.places));
        let mut sums = |word: u64, now: &mut [T; COUNT]| {
            let mut bits = step.ready::<COUNT, BITS>(word);
            for value in now {
                last = last.wrapping_add(step.lowest::<BITS>(bits));
                *value = T::from_bits(last);
                bits >>= BITS;
            }
        };
        while BITS >= WIDE_BITS
            && let Some((together, rest)) = words.split_first_chunk::<TOGETHER>()
            && places.len() >= TOGETHER * COUNT
        {
            let together = together.map(u64::from_be_bytes);
            if together.iter().fold(0, |others, word| others | (word ^ selector)) >> SELECTOR_SHIFT != 0 {
                break;
            }
            let (now, later) = std::mem::take(&mut places).split_at_mut(TOGETHER * COUNT);
            for (word, now) in together.iter().zip(now.as_chunks_mut().0) {
                sums(*word, now);
            }
            (words, places) = (rest, later);
        }
        while let Some((word, rest)) = words.split_first()
            && let word = u64::from_be_bytes(*word)
            && (word ^ selector) >> SELECTOR_SHIFT == 0
        {
            let (now, later) = places.split_first_chunk_mut::<COUNT>().ok_or(words)?;
            sums(word, now);
            (words, places) = (rest, later);
        }
        (self.last, self.places) = (last, places);
        Ok(words)
    }

    /// Writes the sums of the run of equal steps in the first word.
    fn run<'w, const COUNT: usize>(&mut self, words: &'w [Word64], step: u64) -> Unread<'w> {
        let (now, later) = std::mem::take(&mut self.places).split_first_chunk_mut::<COUNT>().ok_or(words)?;
        for value in now {
            self.last = self.last.wrapping_add(step);
            *value = T::from_bits(self.last);
        }
        self.places = later;
        Ok(words.get(1..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
