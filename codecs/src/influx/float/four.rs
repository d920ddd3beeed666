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
    __m128i, __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_extract_epi64, _mm256_movemask_pd, _mm256_or_si256,
    _mm256_permute4x64_epi64, _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi64x, _mm256_shuffle_epi8,
    _mm256_slli_epi64, _mm256_slli_si256, _mm256_sllv_epi64, _mm256_srl_epi64, _mm256_srlv_epi64,
    _mm256_sub_epi64, _mm256_xor_si256,
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
#[target_feature(enable = "avx2")]
pub(super) fn follow(
    window: &Window,
    bytes: &[u8],
    at: usize,
    value: u64,
    out: &mut [f64],
) -> (usize, u64, usize) {
    let code_bits = SAME_WINDOW_BITS + window.width;
    let lanes = |skipped: usize| {
        let skipped = at % 8 + skipped;
        (Lanes::new(code_bits, skipped), Lanes::new(code_bits, skipped + LANES * code_bits))
    };
    let heads = lanes(0);
    let behind_head = |codes: __m256i| _mm256_slli_epi64::<{ SAME_WINDOW_BITS as i32 }>(codes);
    match window.reach() {
        Reach::Word => follow_by(window, bytes, at, value, out, |half, bytes| {
            let codes = half.of(&heads).words(bytes)?;
            Some((codes, behind_head(codes)))
        }),
        Reach::Whole => follow_by(window, bytes, at, value, out, |half, bytes| {
            let codes = half.of(&heads).whole_words(bytes)?;
            Some((codes, behind_head(codes)))
        }),
        Reach::Beyond => {
            let behind = lanes(SAME_WINDOW_BITS);
            follow_by(window, bytes, at, value, out, |half, bytes| {
                Some((half.of(&heads).words(bytes)?, half.of(&behind).far_words(bytes)?))
            })
        }
    }
}

/// Which four of eight codes.
#[derive(Clone, Copy)]
enum Half {
    First,
    Second,
}

impl Half {
    #[inline]
    fn of(self, (first, second): &(Lanes, Lanes)) -> &Lanes {
        match self {
            Self::First => first,
            Self::Second => second,
        }
    }
}

/// `codes` gives the heads of four codes and the bits behind them, each at the top of its lane.
#[inline]
#[target_feature(enable = "avx2")]
fn follow_by(
    window: &Window,
    bytes: &[u8],
    mut at: usize,
    value: u64,
    out: &mut [f64],
    codes: impl Fn(Half, &[u8; REACH_BYTES]) -> Option<(__m256i, __m256i)>,
) -> (usize, u64, usize) {
    let code_bits = SAME_WINDOW_BITS + window.width;
    let mut last = _mm256_set1_epi64x(value.cast_signed());
    let mut written = 0;
    while let Some(now) = out.get_mut(written..).and_then(<[f64]>::first_chunk_mut::<CODES>)
        && let Some(bytes) = bytes.get(at / 8..).and_then(<[u8]>::first_chunk::<REACH_BYTES>)
        && let (Some(some), Some(others)) = (codes(Half::First, bytes), codes(Half::Second, bytes))
    {
        let (differing, differing_others) = (differing(window, some.1), differing(window, others.1));
        let values = _mm256_xor_si256(last, differing);
        last = _mm256_xor_si256(last, last_lane(differing));
        let values_of_others = _mm256_xor_si256(last, differing_others);
        last = _mm256_xor_si256(last, last_lane(differing_others));
        let ([a, b, c, d], [e, f, g, h]) = (lanes(values), lanes(values_of_others));
        *now = [a, b, c, d, e, f, g, h].map(f64::from_bits);
        let good = good(some.0, values) | good(others.0, values_of_others) << LANES;
        // A branch, so that the next eight need not wait for these.
        if good != u8::MAX {
            let good = good.trailing_ones() as usize;
            at += good * code_bits;
            written += good;
            break;
        }
        at += CODES * code_bits;
        written += CODES;
    }
    let value = written.checked_sub(1).and_then(|last| out.get(last)).map_or(value, |last| last.to_bits());
    (at, value, written)
}

/// The bits in which each value differs from the one before the first.
#[inline]
#[target_feature(enable = "avx2")]
fn differing(window: &Window, bits: __m256i) -> __m256i {
    let bits = _mm256_srl_epi64(bits, _mm_cvtsi32_si128(window.leading.cast_signed()));
    let bits = _mm256_and_si256(bits, _mm256_set1_epi64x(window.mask.cast_signed()));
    let bits = _mm256_xor_si256(bits, _mm256_slli_si256::<8>(bits));
    let upper_half = _mm256_set_epi64x(-1, -1, 0, 0);
    _mm256_xor_si256(bits, _mm256_and_si256(_mm256_permute4x64_epi64::<0b01_01_01_01>(bits), upper_half))
}

#[inline]
#[target_feature(enable = "avx2")]
fn last_lane(lanes: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_11_11_11>(lanes)
}

/// A bit for each code that is one of this window and for a value that is not the end mark.
#[inline]
#[target_feature(enable = "avx2")]
fn good(codes: __m256i, values: __m256i) -> u8 {
    let head_bits = _mm256_set1_epi64x(0b11 << 62);
    let head = _mm256_set1_epi64x(-1 << 63);
    let in_window = _mm256_cmpeq_epi64(_mm256_and_si256(codes, head_bits), head);
    let end = _mm256_cmpeq_epi64(values, _mm256_set1_epi64x(END.cast_signed()));
    _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_andnot_si256(end, in_window))) as u8
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
        let at = [0, 1, 2, 3].map(|lane| skipped + lane * code_bits);
        let [a, b, c, d] = at;
        // The first byte of each lane in its half.
        let firsts = [0, b / 8 - a / 8, 0, d / 8 - c / 8].map(|byte| byte as i64);
        let four = |[a, b, c, d]: [i64; LANES]| _mm256_set_epi64x(d, c, b, a);
        Self {
            from: [a / 8, c / 8],
            order: four(firsts.map(word_at)),
            // Of the ninth the last byte is the first one beyond, the ninth of the other load.
            far: four(firsts.map(|first| if first > 8 { NOTHING & !0xff | 8 } else { NOTHING })),
            ninth: four(firsts.map(|first| NOTHING & !0xff | first)),
            shifts: four(at.map(|at| (at % 8) as i64)),
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

/// Moves no byte to a lane: the highest bits are set.
const NOTHING: i64 = 0x8080_8080_8080_8080_u64.cast_signed();

/// Moves the eight bytes from this one on to a lane, the first of them to the top, but none from beyond a half.
fn word_at(first: i64) -> i64 {
    let bytes = 0x0001_0203_0405_0607 + first * 0x0101_0101_0101_0101;
    bytes | (bytes & 0x1010_1010_1010_1010) << 3
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
