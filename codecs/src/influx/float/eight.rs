//! Eight codes of one window at once, where the processor has AVX-512.
//!
//! Codes of one window are equally long, so it is known where each begins before the one in front of it was read: eight
//! words are gathered from there, and each is shifted to its bits. The values are the running XOR of these.
//!
//! ```text
//! │10│ bits │10│ bits │10│ bits │ ... │10│ bits │     gathered, and moved to where the window is
//!      b0        b1        b2             b7
//!      b0      b0^b1   b0^b1^b2    ...  b0^..^b7      in three steps: ^ one lane up, ^ two lanes up, ^ four lanes up
//! ```

use std::arch::x86_64::{
    __m512i, _mm256_extract_epi64, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_and_epi64,
    _mm512_castsi512_si256, _mm512_cmpeq_epi64_mask, _mm512_cmplt_epi64_mask, _mm512_extracti64x4_epi64,
    _mm512_i64gather_epi64, _mm512_or_epi64, _mm512_permutexvar_epi64, _mm512_rolv_epi64, _mm512_set_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_sllv_epi64, _mm512_srli_epi64,
    _mm512_srlv_epi64, _mm512_sub_epi64, _mm512_xor_epi64,
};

use super::{END, Reach, SAME_WINDOW_BITS, Window};

const LANES: usize = 8;

/// Bytes that are read from the beginning of a code on, at most.
const REACH_BYTES: usize = 10;

/// Reads codes as long as they are in this window and not the end mark, and there are places and bytes for eight. The
/// place after them, the last value, and how many values were written; those behind them are of no use.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn follow(
    window: &Window,
    bytes: &[u8],
    at: usize,
    value: u64,
    out: &mut [f64],
) -> (usize, u64, usize) {
    let leading = i64::from(window.leading);
    // One rotation moves the bits from behind the head of the code to where they differ.
    let turn = _mm512_set1_epi64(SAME_WINDOW_BITS as i64 - leading);
    let turned = |codes: __m512i| (codes, _mm512_rolv_epi64(codes, turn));
    match window.reach() {
        Reach::Word => follow_by(window, bytes, at, value, out, |bytes, places| turned(words(bytes, places))),
        Reach::Whole => {
            follow_by(window, bytes, at, value, out, |bytes, places| turned(whole_words(bytes, places)))
        }
        Reach::Beyond => follow_by(window, bytes, at, value, out, |bytes, places| {
            let behind = _mm512_add_epi64(places, _mm512_set1_epi64(SAME_WINDOW_BITS as i64));
            let differing = _mm512_srlv_epi64(whole_words(bytes, behind), _mm512_set1_epi64(leading));
            (words(bytes, places), differing)
        }),
    }
}

/// `codes` gives the heads of the codes at eight places and their differing bits. It reads no more than [`REACH_BYTES`]
/// from each place on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn follow_by(
    window: &Window,
    bytes: &[u8],
    mut at: usize,
    value: u64,
    out: &mut [f64],
    codes: impl Fn(&[u8], __m512i) -> (__m512i, __m512i),
) -> (usize, u64, usize) {
    let code_bits = SAME_WINDOW_BITS + window.width;
    let steps = {
        let step = |lane: usize| (lane * code_bits) as i64;
        _mm512_set_epi64(step(7), step(6), step(5), step(4), step(3), step(2), step(1), 0)
    };
    let mask = _mm512_set1_epi64(window.mask.cast_signed());
    // Taken as signed, the numbers whose upper bits are 10 are those below this one.
    let heads_end = _mm512_set1_epi64(-1 << 62);
    let end = _mm512_set1_epi64(END.cast_signed());
    let mut last = _mm512_set1_epi64(value.cast_signed());
    let mut written = 0;
    while let Some(now) = out.get_mut(written..).and_then(<[f64]>::first_chunk_mut::<LANES>)
        && let Some(bytes) = bytes.get(at / 8..)
        && bytes.len() >= ((LANES - 1) * code_bits).div_ceil(8) + REACH_BYTES
    {
        let (heads, differing) = codes(bytes, _mm512_add_epi64(_mm512_set1_epi64((at % 8) as i64), steps));
        let values = _mm512_xor_epi64(last, running_xor(_mm512_and_epi64(differing, mask)));
        *now = lanes(values).map(f64::from_bits);
        let bad = !_mm512_cmplt_epi64_mask(heads, heads_end) | _mm512_cmpeq_epi64_mask(values, end);
        // A branch, so that the next eight need not wait for these.
        if bad != 0 {
            let good = bad.trailing_zeros() as usize;
            at += good * code_bits;
            written += good;
            break;
        }
        at += LANES * code_bits;
        written += LANES;
        last = _mm512_permutexvar_epi64(_mm512_set1_epi64(7), values);
    }
    let value = written.checked_sub(1).and_then(|last| out.get(last)).map_or(value, |last| last.to_bits());
    (at, value, written)
}

/// The bits from each of `places` on, at the top; 57 of them at least.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn words(bytes: &[u8], places: __m512i) -> __m512i {
    let firsts = _mm512_srli_epi64::<3>(places);
    #[expect(unsafe_code, reason = "a gather takes a pointer")]
    // SAFETY: the caller has seen that there are eight bytes from each of these on.
    let words: __m512i = unsafe { _mm512_i64gather_epi64::<1>(firsts, bytes.as_ptr().cast()) };
    let (low, high) = (0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let swap = _mm512_set_epi64(high, low, high, low, high, low, high, low);
    _mm512_sllv_epi64(_mm512_shuffle_epi8(words, swap), _mm512_and_epi64(places, _mm512_set1_epi64(7)))
}

/// The 64 bits from each of `places` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn whole_words(bytes: &[u8], places: __m512i) -> __m512i {
    let firsts = _mm512_srli_epi64::<3>(places);
    #[expect(unsafe_code, reason = "a gather takes a pointer")]
    // SAFETY: the caller has seen that there are nine bytes from each of these on; these are the last eight.
    let nexts: __m512i =
        unsafe { _mm512_i64gather_epi64::<1>(firsts, bytes.as_ptr().wrapping_add(1).cast()) };
    let ninth = _mm512_srli_epi64::<56>(nexts);
    let rest = _mm512_sub_epi64(_mm512_set1_epi64(8), _mm512_and_epi64(places, _mm512_set1_epi64(7)));
    _mm512_or_epi64(words(bytes, places), _mm512_srlv_epi64(ninth, rest))
}

/// Of each lane and those below it.
#[inline]
#[target_feature(enable = "avx512f")]
fn running_xor(lanes: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let lanes = _mm512_xor_epi64(lanes, _mm512_alignr_epi64::<7>(lanes, zero));
    let lanes = _mm512_xor_epi64(lanes, _mm512_alignr_epi64::<6>(lanes, zero));
    _mm512_xor_epi64(lanes, _mm512_alignr_epi64::<4>(lanes, zero))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(lanes: __m512i) -> [u64; LANES] {
    let (low, high) = (_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    [
        _mm256_extract_epi64::<0>(low),
        _mm256_extract_epi64::<1>(low),
        _mm256_extract_epi64::<2>(low),
        _mm256_extract_epi64::<3>(low),
        _mm256_extract_epi64::<0>(high),
        _mm256_extract_epi64::<1>(high),
        _mm256_extract_epi64::<2>(high),
        _mm256_extract_epi64::<3>(high),
    ]
    .map(i64::cast_unsigned)
}
