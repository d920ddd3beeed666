//! Decodes words of 8 to 15 narrow values with mixed selectors.
//!
//! The loop for one selector is fast as long as the selector stays the same. If values of 4, 5 and 6 bits alternate,
//! the processor mispredicts every other selector, which costs more than decoding the word. Here all these words
//! take the same path, through sixteen lanes of 16 bits:
//!
//! ```text
//! word ──shuffle──> the two bytes around each value ──multiply──> the value on top ──shift──> values
//!      ──zigzag──> steps ──three shifted additions in each half, and the lower half's total──> sums, made 64 bits wide
//! ```
//!
//! A table holds the shuffle, the factors and the shift for each selector. Lanes after the last value are multiplied
//! by zero. Each word writes sixteen slots, and the next word overwrites the slots after the last value.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi64_si128, _mm_srli_si128, _mm256_add_epi16, _mm256_add_epi64,
    _mm256_and_si256, _mm256_broadcastq_epi64, _mm256_castsi256_si128, _mm256_cvtepi16_epi64,
    _mm256_extract_epi64, _mm256_extracti128_si256, _mm256_mullo_epi16, _mm256_permute2x128_si256,
    _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_shuffle_epi8, _mm256_slli_si256,
    _mm256_srl_epi16, _mm256_srli_epi16, _mm256_sub_epi16, _mm256_xor_si256,
};

use super::super::Word;
use super::{COUNTS, SELECTOR_SHIFT, WIDTHS, Word64};

/// The number of slots that each word writes.
const LANES: usize = 16;
/// The first of the four selectors that this path handles. Their words have 15, 12, 10 and 8 values.
const FIRST: usize = 5;
const SHAPES: [Shape; 4] =
    [Shape::of(FIRST), Shape::of(FIRST + 1), Shape::of(FIRST + 2), Shape::of(FIRST + 3)];

/// The sixteen 16-bit lanes of a register, as four 64-bit words.
type Lanes = [i64; 4];

struct Shape {
    /// For each lane, the two bytes of the word that it takes.
    bytes: Lanes,
    /// For each lane, the factor that shifts its value to the top.
    factors: Lanes,
    unused_bits: i64,
    count: usize,
}

impl Shape {
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
    const fn of(selector: usize) -> Self {
        let (count, bits) = (COUNTS[selector], WIDTHS[selector]);
        let mut shape = Self { bytes: [0; 4], factors: [0; 4], unused_bits: 16 - bits as i64, count };
        let mut lane = 0;
        while lane < count {
            let (byte, shift) = (lane as u32 * bits / 8, lane as u32 * bits % 8);
            assert!(shift + bits <= 16, "a value is in two bytes");
            let at = lane as u32 % 4 * 16;
            shape.bytes[lane / 4] |= (((byte + 1) << 8 | byte) as i64) << at;
            shape.factors[lane / 4] |= 1 << (16 - bits - shift + at);
            lane += 1;
        }
        shape
    }
}

/// Whether this path handles words with this selector.
#[inline]
pub(super) fn takes(selector: u8) -> bool {
    usize::from(selector).wrapping_sub(FIRST) < SHAPES.len()
}

/// Decodes leading `words` from zigzag form, adds the steps to the running sum `last`, and writes the sums to
/// `places`. Stops at the first word that [`takes`] does not accept, or when fewer than sixteen slots remain.
/// Returns the number of words and of values, or `None` if the processor lacks AVX2.
pub(super) fn zigzag_sums<T: Word>(
    words: &[Word64],
    last: &mut u64,
    places: &mut [T],
) -> Option<(usize, usize)> {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return None;
    }
    #[expect(unsafe_code, reason = "a kernel; the loops for one selector are its safe twin")]
    // SAFETY: the check above found AVX2.
    Some(unsafe { sums(words, last, places) })
}

#[target_feature(enable = "avx2")]
fn sums<T: Word>(words: &[Word64], last: &mut u64, places: &mut [T]) -> (usize, usize) {
    let (mut read, mut written) = (0, 0);
    let mut sum = _mm256_set1_epi64x(last.cast_signed());
    for word in words {
        let word = u64::from_be_bytes(*word);
        let selector = (word >> SELECTOR_SHIFT) as usize;
        let Some(shape) = SHAPES.get(selector.wrapping_sub(FIRST)) else { break };
        let Some(now) = places.get_mut(written..).and_then(<[T]>::first_chunk_mut::<LANES>) else { break };
        let sums = prefix_sums(zigzag_steps(values(word, shape)));
        let (low, high) = (_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let upper = |half: __m128i| _mm_srli_si128::<8>(half);
        let quarters = [low, upper(low), high, upper(high)].map(|half| _mm256_cvtepi16_epi64(half));
        for (now, steps) in now.as_chunks_mut::<4>().0.iter_mut().zip(quarters) {
            let sums = _mm256_add_epi64(sum, steps);
            *now = [
                _mm256_extract_epi64::<0>(sums),
                _mm256_extract_epi64::<1>(sums),
                _mm256_extract_epi64::<2>(sums),
                _mm256_extract_epi64::<3>(sums),
            ]
            .map(|sum| T::from_bits(sum.cast_unsigned()));
        }
        let [.., total] = quarters;
        let total = _mm_srli_si128::<8>(_mm256_extracti128_si256::<1>(total));
        sum = _mm256_add_epi64(sum, _mm256_broadcastq_epi64(total));
        read += 1;
        written += shape.count;
    }
    *last = _mm256_extract_epi64::<0>(sum).cast_unsigned();
    (read, written)
}

#[inline]
#[target_feature(enable = "avx2")]
fn values(word: u64, shape: &Shape) -> __m256i {
    let word = _mm256_set1_epi64x(word.cast_signed());
    let around = _mm256_shuffle_epi8(word, load(&shape.bytes));
    let on_top = _mm256_mullo_epi16(around, load(&shape.factors));
    _mm256_srl_epi16(on_top, _mm_cvtsi64_si128(shape.unused_bits))
}

#[inline]
#[target_feature(enable = "avx2")]
fn zigzag_steps(values: __m256i) -> __m256i {
    let odd = _mm256_and_si256(values, _mm256_set1_epi16(1));
    let sign = _mm256_sub_epi16(_mm256_set1_epi16(0), odd);
    _mm256_xor_si256(_mm256_srli_epi16::<1>(values), sign)
}

#[inline]
#[target_feature(enable = "avx2")]
fn prefix_sums(steps: __m256i) -> __m256i {
    let sums = _mm256_add_epi16(steps, _mm256_slli_si256::<2>(steps));
    let sums = _mm256_add_epi16(sums, _mm256_slli_si256::<4>(sums));
    let sums = _mm256_add_epi16(sums, _mm256_slli_si256::<8>(sums));
    // Moves the lower half to the upper one and clears the lower one. Then copies the last lane to all lanes.
    let below = _mm256_permute2x128_si256::<0x08>(sums, sums);
    _mm256_add_epi16(sums, _mm256_shuffle_epi8(below, _mm256_set1_epi16(0x0f0e)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(lanes: &Lanes) -> __m256i {
    let [a, b, c, d] = *lanes;
    _mm256_setr_epi64x(a, b, c, d)
}
