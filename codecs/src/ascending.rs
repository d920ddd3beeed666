//! Checks whether times ascend. Every batch that is written and every block that is read needs this check.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

/// For fewer times, checking the features of the processor does not pay.
#[cfg(target_arch = "x86_64")]
const MANY: usize = 32;

/// Whether the times strictly ascend.
pub(crate) fn is_strictly_ascending(times: &[i64]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if times.len() >= MANY && std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "makes the same comparisons four at a time; `compare` is its safe twin"
        )]
        // SAFETY: the check above found AVX2.
        return unsafe { compare_with_avx2(times) };
    }
    compare(times)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn compare_with_avx2(times: &[i64]) -> bool {
    compare(times)
}

#[expect(clippy::inline_always, reason = "compiled once for each instruction set")]
#[inline(always)]
fn compare(times: &[i64]) -> bool {
    let later = times.get(1..).unwrap_or_default();
    // No early exit and no `bool`, so that the compiler can use vector registers.
    times.iter().zip(later).fold(0, |wrong, (before, time)| wrong | i64::from(before >= time)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_found_at_every_place() {
        for len in 0..100 {
            let mut times: Vec<i64> = (0..len).map(|i| i64::MIN + i).collect();
            if let Some(last) = times.last_mut() {
                *last = i64::MAX;
            }
            assert!(is_strictly_ascending(&times) && compare(&times), "{len}");
            for at in 1..times.len() {
                for earlier in [times[at - 1], times[at - 1].wrapping_sub(1), i64::MIN] {
                    let time = std::mem::replace(&mut times[at], earlier);
                    let expected = times.is_sorted_by(|a, b| a < b);
                    assert_eq!(is_strictly_ascending(&times), expected, "{len}, {at}");
                    assert_eq!(compare(&times), expected);
                    times[at] = time;
                }
            }
        }
    }
}
