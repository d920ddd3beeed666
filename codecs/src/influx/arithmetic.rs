//! Numbers with a constant step, such as the times of most columns and some integers.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use super::Word;

/// Replaces `out` with `count` numbers that begin with `first` and are `step` apart. All sums wrap.
pub(super) fn fill<T: Word>(out: &mut Vec<T>, first: u64, step: u64, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "computes the same sums four at a time; `sums` is its safe twin")]
        // SAFETY: the check above found AVX2.
        return unsafe { sums_with_avx2(out, first, step, count) };
    }
    sums(out, first, step, count);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_with_avx2<T: Word>(out: &mut Vec<T>, first: u64, step: u64, count: usize) {
    sums(out, first, step, count);
}

#[expect(clippy::inline_always, reason = "compiled once for each instruction set")]
#[inline(always)]
fn sums<T: Word>(out: &mut Vec<T>, first: u64, step: u64, count: usize) {
    out.resize(count, T::from_bits(0));
    let mut sum = first;
    for number in out {
        *number = T::from_bits(sum);
        sum = sum.wrapping_add(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_step_apart() {
        let (mut out, mut plain) = (vec![7_i64; 50], Vec::<i64>::new());
        for count in (0..100).chain([0, 1000]) {
            for (first, step) in [(0, 0), (5, 10), (u64::MAX - 30, 7), (1 << 63, u64::MAX)] {
                fill(&mut out, first, step, count);
                sums(&mut plain, first, step, count);
                let expected = (0..count as u64).map(|i| first.wrapping_add(i.wrapping_mul(step)) as i64);
                assert!(out.iter().copied().eq(expected), "{count} from {first}");
                assert_eq!(plain, out);
            }
        }
    }
}
