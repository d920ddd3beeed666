//! Decodes eight codes of one window at once, with AVX-512 and VBMI.
//!
//! All codes of one window have the same length, so the place of each code is known before the one in front of it is
//! read. The kernel collects one word per code and shifts it to the bits of the code. Eight codes are a whole number
//! of bytes, so the next eight have the same layout. The kernel computes the byte positions and shifts once per
//! window. The values are the running XOR of the bits.
//!
//! ```text
//! │10│ bits │10│ bits │10│ bits │ ... │10│ bits │     each moved to the place of the window
//!      b0        b1        b2             b7
//!      b0      b0^b1   b0^b1^b2    ...  b0^..^b7      in three steps: ^ one lane up, ^ two lanes up, ^ four lanes up
//! ```

use std::arch::x86_64::{
    __m512i, _mm256_extract_epi64, _mm512_add_epi8, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_and_epi64,
    _mm512_castsi512_si256, _mm512_cmpge_epu8_mask, _mm512_cmplt_epi64_mask, _mm512_extracti64x4_epi64,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mask_cmpneq_epi64_mask, _mm512_maskz_permutex2var_epi8,
    _mm512_mul_epu32, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_permutexvar_epi64,
    _mm512_rolv_epi64, _mm512_set_epi64, _mm512_set1_epi8, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_shldv_epi64, _mm512_shuffle_epi8, _mm512_sllv_epi64, _mm512_srli_epi64, _mm512_srlv_epi64,
    _mm512_xor_epi64,
};

use super::{END, Reach, SAME_WINDOW_BITS, Window};

const LANES: usize = 8;

/// Bytes loaded at once.
const LOAD_BYTES: usize = 64;
/// Bytes loaded for eight codes. The widest codes end in the 68th byte.
const REACH_BYTES: usize = LOAD_BYTES + 8;

const _: () = assert!((7 + LANES * (SAME_WINDOW_BITS + 64)).div_ceil(8) <= REACH_BYTES);

/// Reads codes until the window changes, the end mark comes, or fewer than eight slots or too few bytes remain.
/// Returns the next bit offset, the last value and the number of values written. Slots after them hold unspecified
/// values.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
pub(super) fn follow(
    window: Window,
    bytes: &[u8],
    at: usize,
    value: u64,
    out: &mut [f64],
) -> (usize, u64, usize) {
    let leading = i64::from(window.leading);
    // One rotation moves the bits after the head of the code to their place in the value.
    let turn = _mm512_set1_epi64(SAME_WINDOW_BITS as i64 - leading);
    let turned = |codes: __m512i| (codes, _mm512_rolv_epi64(codes, turn));
    let heads = Lanes::new(&window, at % 8);
    match window.reach() {
        Reach::Word => follow_by(&window, bytes, at, value, out, |bytes| turned(heads.words(bytes))),
        Reach::Whole => follow_by(&window, bytes, at, value, out, |bytes| turned(heads.whole_words(bytes))),
        Reach::Beyond => {
            let behind = Lanes::new(&window, at % 8 + SAME_WINDOW_BITS);
            let leading = _mm512_set1_epi64(leading);
            follow_by(&window, bytes, at, value, out, |bytes| {
                (heads.whole_words(bytes), _mm512_srlv_epi64(behind.whole_words(bytes), leading))
            })
        }
    }
}

/// `codes` returns the heads of eight codes and their differing bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
fn follow_by(
    window: &Window,
    bytes: &[u8],
    mut at: usize,
    value: u64,
    out: &mut [f64],
    codes: impl Fn(&[u8; REACH_BYTES]) -> (__m512i, __m512i),
) -> (usize, u64, usize) {
    let code_bits = SAME_WINDOW_BITS + window.width;
    let mask = _mm512_set1_epi64(window.mask.cast_signed());
    // As signed numbers, those whose upper bits are 10 are below this one.
    let heads_end = _mm512_set1_epi64(-1 << 62);
    let end = _mm512_set1_epi64(END.cast_signed());
    let mut last = _mm512_set1_epi64(value.cast_signed());
    let mut written = 0;
    while let Some(now) = out.get_mut(written..).and_then(<[f64]>::first_chunk_mut::<LANES>)
        && let Some(bytes) = bytes.get(at / 8..).and_then(<[u8]>::first_chunk::<REACH_BYTES>)
    {
        let (heads, differing) = codes(bytes);
        let values = _mm512_xor_epi64(last, running_xor(_mm512_and_epi64(differing, mask)));
        *now = lanes(values).map(f64::from_bits);
        let good = _mm512_mask_cmpneq_epi64_mask(_mm512_cmplt_epi64_mask(heads, heads_end), values, end);
        // A branch, so that the next eight codes need not wait for these.
        if good != u8::MAX {
            let good = good.trailing_ones() as usize;
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

/// The layout of eight codes in the bytes that begin with the first code.
struct Lanes {
    /// For each lane, its bytes among the first 64 and the 64 that begin eight bytes later.
    order: __m512i,
    /// For each lane, the byte after those, in the top byte.
    ninth: __m512i,
    /// For each lane, the bits of its first byte that belong to the previous lane.
    shifts: __m512i,
}

impl Lanes {
    /// The layout if the first code starts at this bit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
    fn new(window: &Window, skipped: usize) -> Self {
        let numbers = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        let code_bits = _mm512_set1_epi64((SAME_WINDOW_BITS + window.width) as i64);
        let places =
            _mm512_add_epi64(_mm512_mul_epu32(numbers, code_bits), _mm512_set1_epi64(skipped as i64));
        let (even, odd) = (0, 0x0808_0808_0808_0808);
        let spread = _mm512_set_epi64(odd, even, odd, even, odd, even, odd, even);
        let firsts = _mm512_shuffle_epi8(_mm512_srli_epi64::<3>(places), spread);
        let order = |from: __m512i| {
            let order = _mm512_add_epi8(firsts, from);
            let beyond = _mm512_cmpge_epu8_mask(order, _mm512_set1_epi8(LOAD_BYTES as i8));
            _mm512_mask_add_epi8(order, beyond, order, _mm512_set1_epi8((LOAD_BYTES - 8) as i8))
        };
        Self {
            order: order(_mm512_set1_epi64(0x0001_0203_0405_0607)),
            ninth: order(_mm512_set1_epi8(8)),
            shifts: _mm512_and_epi64(places, _mm512_set1_epi64(7)),
        }
    }

    /// The bits of each lane, left-aligned; at least 57 are valid. All words must lie in the first 64 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
    fn words(&self, bytes: &[u8; REACH_BYTES]) -> __m512i {
        _mm512_sllv_epi64(_mm512_permutexvar_epi8(self.order, load::<0>(bytes)), self.shifts)
    }

    /// The 64 bits of each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2")]
    fn whole_words(&self, bytes: &[u8; REACH_BYTES]) -> __m512i {
        let (low, high) = (load::<0>(bytes), load::<8>(bytes));
        let words = _mm512_permutex2var_epi8(low, self.order, high);
        let top_bytes = 0x8080_8080_8080_8080;
        let behind = _mm512_maskz_permutex2var_epi8(top_bytes, low, self.ninth, high);
        _mm512_shldv_epi64(words, behind, self.shifts)
    }
}

/// The 64 bytes at offset `AT`.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<const AT: usize>(bytes: &[u8; REACH_BYTES]) -> __m512i {
    const { assert!(AT + LOAD_BYTES <= REACH_BYTES) };
    #[expect(unsafe_code, reason = "the load instruction takes a pointer")]
    // SAFETY: the assertion above checked that 64 bytes are there.
    unsafe {
        _mm512_loadu_si512(bytes.as_ptr().wrapping_add(AT).cast())
    }
}

/// The XOR of each lane and the lanes below it.
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
