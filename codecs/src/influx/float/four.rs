//! Decodes codes of one window four at a time with AVX2, for processors that lack what [`eight`](super::eight)
//! needs.
//!
//! As in `eight`, each code moves into its own lane. AVX2 moves bytes only inside one half of a register, so each
//! half is loaded from the place of its two codes. Eight codes are a whole number of bytes, so the next eight have
//! the same layout.
//!
//! ```text
//! │10│ bits │10│ bits │     │10│ bits │10│ bits │     a load for each half, then each code moved to the place of the window
//!      b0        b1             b2        b3
//!      b0      b0^b1            b2      b2^b3          one lane up inside the halves,
//!      b0      b0^b1          b0^b1^b2  b0^..^b3       then the second lane over both of the upper half
//! ```

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi8, _mm256_add_epi64,
    _mm256_and_si256, _mm256_andnot_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi8, _mm256_cmpgt_epi64,
    _mm256_extract_epi64, _mm256_movemask_pd, _mm256_mul_epu32, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_permute4x64_epi64, _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi64x,
    _mm256_shuffle_epi8, _mm256_slli_epi64, _mm256_slli_si256, _mm256_sllv_epi64, _mm256_srl_epi64,
    _mm256_srli_epi64, _mm256_srlv_epi64, _mm256_sub_epi64, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

use super::{END, Reach, SAME_WINDOW_BITS, Window};

const LANES: usize = 4;
/// The number of codes that always end at a byte boundary if they start at one.
const CODES: usize = 2 * LANES;
/// Bytes of one load.
const LOAD_BYTES: usize = 16;
/// Bytes needed for eight codes. The last two codes start furthest back, and the second load of their half starts
/// eight bytes later.
const REACH_BYTES: usize =
    (7 + SAME_WINDOW_BITS + (CODES - 2) * (SAME_WINDOW_BITS + 64)) / 8 + 8 + LOAD_BYTES;

/// Reads codes until the window changes, the end mark comes, or fewer than eight slots or too few bytes remain.
/// Returns the next bit offset, the last value and the number of values written. Slots after them hold unspecified
/// values.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) fn follow(
    window: Window,
    bytes: &[u8],
    at: usize,
    value: u64,
    out: &mut [f64],
) -> (usize, u64, usize) {
    let code_bits = SAME_WINDOW_BITS + window.width;
    let lanes = |skipped: usize| {
        let skipped = at % 8 + skipped;
        [Lanes::new(code_bits, skipped), Lanes::new(code_bits, skipped + LANES * code_bits)]
    };
    let [first, second] = lanes(0);
    let count = |bits: u32| _mm_cvtsi32_si128(bits.cast_signed());
    let leading = count(window.leading);
    let behind_head =
        |codes: __m256i| _mm256_srl_epi64(_mm256_slli_epi64::<{ SAME_WINDOW_BITS as i32 }>(codes), leading);
    let written = match (window.reach(), window.leading.checked_sub(SAME_WINDOW_BITS as u32)) {
        (Reach::Word, Some(turn)) => {
            // The head ends up above the window.
            let turn = count(turn);
            let turned = |codes: __m256i| (codes, _mm256_srl_epi64(codes, turn));
            follow_by(&window, bytes, at, value, out, |bytes| {
                Some([turned(first.words(bytes)?), turned(second.words(bytes)?)])
            })
        }
        (Reach::Word | Reach::Whole, _) => {
            let turned = |codes: __m256i| (codes, behind_head(codes));
            follow_by(&window, bytes, at, value, out, |bytes| {
                Some([turned(first.whole_words(bytes)?), turned(second.whole_words(bytes)?)])
            })
        }
        (Reach::Beyond, _) => {
            let [first_behind, second_behind] = lanes(SAME_WINDOW_BITS);
            let differing =
                |lanes: &Lanes, bytes: &_| Some(_mm256_srl_epi64(lanes.far_words(bytes)?, leading));
            follow_by(&window, bytes, at, value, out, |bytes| {
                Some([
                    (first.words(bytes)?, differing(&first_behind, bytes)?),
                    (second.words(bytes)?, differing(&second_behind, bytes)?),
                ])
            })
        }
    };
    let out = out.get(..written).unwrap_or_default();
    let written = if window.may_reach(value, END) { before_end(out) } else { written };
    let value = out.get(..written).and_then(<[f64]>::last).map_or(value, |last| last.to_bits());
    (at + written * code_bits, value, written)
}

/// The number of values before the first end mark.
#[cold]
fn before_end(values: &[f64]) -> usize {
    values.iter().position(|value| value.to_bits() == END).unwrap_or(values.len())
}

/// Counts the codes with this window. End marks among the values do not stop it. `codes` returns the heads of eight
/// codes, left-aligned, and their differing bits at the place of the window.
#[inline]
#[target_feature(enable = "avx2")]
fn follow_by(
    window: &Window,
    bytes: &[u8],
    at: usize,
    value: u64,
    out: &mut [f64],
    codes: impl Fn(&[u8; REACH_BYTES]) -> Option<[(__m256i, __m256i); 2]>,
) -> usize {
    let mask = _mm256_set1_epi64x(window.mask.cast_signed());
    let mut last = _mm256_set1_epi64x(value.cast_signed());
    let mut bytes = bytes.get(at / 8..).unwrap_or_default();
    let mut written = 0;
    for now in out.as_chunks_mut::<CODES>().0 {
        let Some([first, second]) = bytes.first_chunk::<REACH_BYTES>().and_then(&codes) else { break };
        let mut values_of = |differing: __m256i| {
            let (running, all) = running_xor(_mm256_and_si256(differing, mask));
            let values = _mm256_xor_si256(last, running);
            last = _mm256_xor_si256(last, all);
            lanes(values)
        };
        let ([a, b, c, d], [e, f, g, h]) = (values_of(first.1), values_of(second.1));
        *now = [a, b, c, d, e, f, g, h].map(f64::from_bits);
        let (first, second) = (of_window(first.0), of_window(second.0));
        // A branch, so that the next eight codes need not wait for these.
        if ones(_mm256_and_si256(first, second)) < LANES {
            let good = ones(first);
            return written + if good < LANES { good } else { good + ones(second) };
        }
        bytes = bytes.get(SAME_WINDOW_BITS + window.width..).unwrap_or_default();
        written += CODES;
    }
    written
}

/// The XOR of each lane and the lanes below it, and the XOR of all lanes in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn running_xor(lanes: __m256i) -> (__m256i, __m256i) {
    let pairs = _mm256_xor_si256(lanes, _mm256_slli_si256::<8>(lanes));
    // The total of the lower half goes to the upper half.
    let halves = _mm256_unpackhi_epi64(pairs, pairs);
    let running = _mm256_xor_si256(pairs, _mm256_permute2x128_si256::<0x08>(halves, halves));
    (running, _mm256_permute4x64_epi64::<0b11_11_11_11>(running))
}

/// Sets all bits of each lane whose code starts with the head for an unchanged window.
#[inline]
#[target_feature(enable = "avx2")]
fn of_window(codes: __m256i) -> __m256i {
    // As signed numbers, those whose upper bits are 10 are below this one.
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(-1 << 62), codes)
}

/// The number of set lanes before the first one that is not set.
#[inline]
#[target_feature(enable = "avx2")]
fn ones(lanes: __m256i) -> usize {
    _mm256_movemask_pd(_mm256_castsi256_pd(lanes)).trailing_ones() as usize
}

/// The layout of four codes, relative to the first byte of eight codes.
struct Lanes {
    /// Where the first and the third code begin. Their halves are loaded from there.
    from: [usize; 2],
    /// For each lane, its eight bytes in its half.
    order: __m256i,
    /// For each lane, its last byte if that byte is past the first load. The second load begins eight bytes later.
    far: __m256i,
    /// For each lane, the byte after those, in the second load.
    ninth: __m256i,
    /// For each lane, the bits of its first byte that belong to the previous lane.
    shifts: __m256i,
}

impl Lanes {
    /// The layout if the first code starts at this bit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(code_bits: usize, skipped: usize) -> Self {
        let nothing = _mm256_set1_epi8(-128);
        let numbers = _mm256_set_epi64x(3, 2, 1, 0);
        let places = _mm256_add_epi64(
            _mm256_mul_epu32(numbers, _mm256_set1_epi64x(code_bits as i64)),
            _mm256_set1_epi64x(skipped as i64),
        );
        let bytes = _mm256_srli_epi64::<3>(places);
        // For each lane, the index of its first byte in its half.
        let firsts = _mm256_sub_epi64(bytes, _mm256_unpacklo_epi64(bytes, bytes));
        let (even, odd) = (0, 0x0808_0808_0808_0808);
        let firsts = _mm256_shuffle_epi8(firsts, _mm256_set_epi64x(odd, even, odd, even));
        let order = _mm256_add_epi8(firsts, _mm256_set1_epi64x(0x0001_0203_0405_0607));
        let beyond = _mm256_and_si256(order, _mm256_set1_epi8(LOAD_BYTES as i8));
        let ninth = _mm256_cmpeq_epi8(firsts, _mm256_set1_epi8(9));
        Self {
            from: [skipped / 8, (skipped + 2 * code_bits) / 8],
            // An index with the highest bit set moves no byte.
            order: _mm256_or_si256(order, _mm256_slli_epi64::<3>(beyond)),
            far: _mm256_xor_si256(nothing, _mm256_and_si256(ninth, _mm256_set1_epi64x(0x88))),
            ninth: _mm256_or_si256(firsts, _mm256_andnot_si256(_mm256_set1_epi64x(0xff), nothing)),
            shifts: _mm256_and_si256(places, _mm256_set1_epi64x(7)),
        }
    }

    /// The bits of each lane, left-aligned. At least 57 are valid if codes have at most 64 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(&self, bytes: &[u8; REACH_BYTES]) -> Option<__m256i> {
        let [low, high] = self.from;
        let loaded = _mm256_set_m128i(load(bytes, high)?, load(bytes, low)?);
        Some(_mm256_sllv_epi64(_mm256_shuffle_epi8(loaded, self.order), self.shifts))
    }

    /// The 64 bits of each lane, if codes have at most 64 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn whole_words(&self, bytes: &[u8; REACH_BYTES]) -> Option<__m256i> {
        let [low, high] = self.from;
        let loaded = _mm256_set_m128i(load(bytes, high + 8)?, load(bytes, low + 8)?);
        let behind = _mm256_shuffle_epi8(loaded, self.ninth);
        let behind = _mm256_srlv_epi64(behind, _mm256_sub_epi64(_mm256_set1_epi64x(8), self.shifts));
        Some(_mm256_or_si256(self.words(bytes)?, behind))
    }

    /// The 64 bits of each lane.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn far_words(&self, bytes: &[u8; REACH_BYTES]) -> Option<__m256i> {
        let [low, high] = self.from;
        let loaded = _mm256_set_m128i(load(bytes, high + 8)?, load(bytes, low + 8)?);
        let far = _mm256_sllv_epi64(_mm256_shuffle_epi8(loaded, self.far), self.shifts);
        Some(_mm256_or_si256(self.whole_words(bytes)?, far))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; REACH_BYTES], from: usize) -> Option<__m128i> {
    let bytes: &[u8; LOAD_BYTES] = bytes.get(from..)?.first_chunk()?;
    #[expect(unsafe_code, reason = "the load instruction takes a pointer")]
    // SAFETY: the pointer is that of an array with as many bytes as the load reads.
    Some(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(lanes: __m256i) -> [u64; LANES] {
    [
        _mm256_extract_epi64::<0>(lanes),
        _mm256_extract_epi64::<1>(lanes),
        _mm256_extract_epi64::<2>(lanes),
        _mm256_extract_epi64::<3>(lanes),
    ]
    .map(i64::cast_unsigned)
}
