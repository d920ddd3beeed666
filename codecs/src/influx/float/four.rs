//! Codes of one window, four at a time in AVX2: for processors without what [`eight`](super::eight) needs.
//!
//! As there, each code is moved into a lane of its own. Bytes move only inside the halves of a register here, so a half is
//! loaded from where its two codes begin. Twice four codes are whole bytes: what is found out about eight of them holds for
//! the next eight.
//!
//! ```text
//! │10│ bits │10│ bits │     │10│ bits │10│ bits │     a load for each half, then each code moved to where the window is
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
/// Codes that end where a byte does, if they begin there.
const CODES: usize = 2 * LANES;
/// Bytes of a load.
const LOAD_BYTES: usize = 16;
/// Bytes that are looked at for eight codes: the last two begin so far behind, and loads go on behind eight bytes of them.
const REACH_BYTES: usize =
    (7 + SAME_WINDOW_BITS + (CODES - 2) * (SAME_WINDOW_BITS + 64)) / 8 + 8 + LOAD_BYTES;

/// Reads codes as long as they are in this window and not the end mark, and there are places and bytes for eight. The
/// place after them, the last value, and how many values were written; those behind them are of no use.
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
            // The head comes to lie above the window.
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

/// How many values there are before the first end mark.
#[cold]
fn before_end(values: &[f64]) -> usize {
    values.iter().position(|value| value.to_bits() == END).unwrap_or(values.len())
}

/// How many codes are in this window; the end mark among the values does not stop it. `codes` gives the heads of twice
/// four codes, at the top, and their differing bits where the window is.
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
        // A branch, so that the next eight need not wait for these.
        if ones(_mm256_and_si256(first, second)) < LANES {
            let good = ones(first);
            return written + if good < LANES { good } else { good + ones(second) };
        }
        bytes = bytes.get(SAME_WINDOW_BITS + window.width..).unwrap_or_default();
        written += CODES;
    }
    written
}

/// Of each lane and those below it; and of all, in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn running_xor(lanes: __m256i) -> (__m256i, __m256i) {
    let pairs = _mm256_xor_si256(lanes, _mm256_slli_si256::<8>(lanes));
    // The whole of each half: that of the lower one goes to the upper one.
    let halves = _mm256_unpackhi_epi64(pairs, pairs);
    let running = _mm256_xor_si256(pairs, _mm256_permute2x128_si256::<0x08>(halves, halves));
    (running, _mm256_permute4x64_epi64::<0b11_11_11_11>(running))
}

/// All bits of a lane are set where its code has the head of the window before it.
#[inline]
#[target_feature(enable = "avx2")]
fn of_window(codes: __m256i) -> __m256i {
    // Taken as signed, the numbers whose upper bits are 10 are those below this one.
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(-1 << 62), codes)
}

/// How many lanes are set before one that is not.
#[inline]
#[target_feature(enable = "avx2")]
fn ones(lanes: __m256i) -> usize {
    _mm256_movemask_pd(_mm256_castsi256_pd(lanes)).trailing_ones() as usize
}

/// Where four codes are, behind the first byte of eight.
struct Lanes {
    /// Where the first and the third begin: their halves are loaded from there.
    from: [usize; 2],
    /// The eight bytes of each lane, in its half.
    order: __m256i,
    /// The last of them where it is beyond, in a load that begins eight bytes later.
    far: __m256i,
    /// The byte behind them, in the same load.
    ninth: __m256i,
    /// Bits of the first byte that are not the lane's.
    shifts: __m256i,
}

impl Lanes {
    /// The first begins behind so many bits.
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
        // The first byte of each lane in its half.
        let firsts = _mm256_sub_epi64(bytes, _mm256_unpacklo_epi64(bytes, bytes));
        let (even, odd) = (0, 0x0808_0808_0808_0808);
        let firsts = _mm256_shuffle_epi8(firsts, _mm256_set_epi64x(odd, even, odd, even));
        let order = _mm256_add_epi8(firsts, _mm256_set1_epi64x(0x0001_0203_0405_0607));
        let beyond = _mm256_and_si256(order, _mm256_set1_epi8(LOAD_BYTES as i8));
        let ninth = _mm256_cmpeq_epi8(firsts, _mm256_set1_epi8(9));
        Self {
            from: [skipped / 8, (skipped + 2 * code_bits) / 8],
            // The highest bit of a byte set, none is moved there.
            order: _mm256_or_si256(order, _mm256_slli_epi64::<3>(beyond)),
            far: _mm256_xor_si256(nothing, _mm256_and_si256(ninth, _mm256_set1_epi64x(0x88))),
            ninth: _mm256_or_si256(firsts, _mm256_andnot_si256(_mm256_set1_epi64x(0xff), nothing)),
            shifts: _mm256_and_si256(places, _mm256_set1_epi64x(7)),
        }
    }

    /// The bits of each lane, at the top; of codes of at most 64 bits these are 57 at least.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(&self, bytes: &[u8; REACH_BYTES]) -> Option<__m256i> {
        let [low, high] = self.from;
        let loaded = _mm256_set_m128i(load(bytes, high)?, load(bytes, low)?);
        Some(_mm256_sllv_epi64(_mm256_shuffle_epi8(loaded, self.order), self.shifts))
    }

    /// The 64 bits of each lane, of codes of at most 64 bits.
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
    #[expect(unsafe_code, reason = "a load takes a pointer")]
    // SAFETY: it is that of as many bytes as are loaded.
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
