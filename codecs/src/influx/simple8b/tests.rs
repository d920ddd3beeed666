//! Tests which words the encoder chooses, and which values do not fit into one.

use super::*;

fn words(values: &[u64], ones: Ones) -> Vec<u64> {
    let mut out = Vec::new();
    encode(values, ones, &mut out).expect("all fit");
    let mut back = Vec::new();
    decode(&out, values.len(), &mut back).expect("decodes");
    assert_eq!(back, values);
    out.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word)).collect()
}

fn selectors(values: &[u64], ones: Ones) -> Vec<u64> {
    words(values, ones).iter().map(|word| word >> SELECTOR_SHIFT).collect()
}

#[test]
fn the_largest_full_word_is_chosen() {
    assert_eq!(words(&[5], Ones::Rest), [15 << 60 | 5]);
    assert_eq!(words(&[1, 2, 3], Ones::Rest), [13 << 60 | 3 << 40 | 2 << 20 | 1]);
    // Nine small values: seven fill a word, then two.
    assert_eq!(selectors(&[3; 9], Ones::Rest), [8, 15]);
    // The wide value comes after five narrow values, which fill a word without it.
    assert_eq!(selectors(&[1, 1, 1, 1, 1, VALUE_MAX, 0], Ones::Rest), [11, 15, 15]);
    assert_eq!(selectors(&[0; 60], Ones::Rest), [2]);
    assert_eq!(selectors(&[0; 61], Ones::Rest), [2, 15]);
}

/// For a run of ones, InfluxDB 1.6 looks at all remaining values, and compactions of 1.7 look only at the run. So a
/// snapshot and a compaction write different bytes for the same values.
#[test]
fn each_rule_for_runs_of_ones() {
    let mut values = vec![1; 250];
    assert_eq!(selectors(&values, Ones::Window)[..1], [0]);
    assert_eq!(selectors(&values, Ones::Rest)[..1], [0]);
    values.push(2);
    assert_eq!(selectors(&values, Ones::Window)[..1], [0]);
    assert_eq!(selectors(&values, Ones::Rest)[..1], [2]);
    assert_eq!(selectors(&values, Ones::Prefix)[..1], [0]);
    let short = &values[100..];
    assert_eq!(selectors(short, Ones::Window)[..1], [2]);
    assert_eq!(selectors(short, Ones::Prefix)[..1], [1]);
    assert_eq!(selectors(&[1; 120], Ones::Window), [1]);
}

/// Zigzag without the kernel for mixed selectors.
#[derive(Clone, Copy)]
struct BySelector;

impl Step for BySelector {
    fn ready<const COUNT: usize, const BITS: u32>(self, word: u64) -> u64 {
        Zigzag.ready::<COUNT, BITS>(word)
    }
    fn lowest<const BITS: u32>(self, word: u64) -> u64 {
        Zigzag.lowest::<BITS>(word)
    }
    fn one(self) -> u64 {
        Zigzag.one()
    }
}

#[test]
fn kernel_and_loops_agree_on_mixed_selectors() {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..2_000u64 {
        // Mostly the selectors that the kernel handles, sometimes others, with random bits after them.
        let word = |random: &mut dyn FnMut() -> u64| {
            let selector = if random().is_multiple_of(16) { random() % 16 } else { 5 + random() % 4 };
            selector << SELECTOR_SHIFT | (random() << 31 ^ random()) & VALUE_MAX
        };
        let words: Vec<u64> = (0..round % 40).map(|_| word(&mut random)).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let count = count(&bytes).expect("complete words") as usize;
        let first = (random() << 40).wrapping_neg();
        // Slots for exactly all values, and for more or fewer. A wrong number must give the same error.
        for count in [count, count + 1, count.saturating_sub(1), count / 2] {
            let (mut one_way, mut other) = (vec![0u64; count], vec![0u64; count]);
            let result = unpack(&bytes, first, Zigzag, &mut one_way);
            assert_eq!(result, unpack(&bytes, first, BySelector, &mut other), "{words:x?}");
            if result.is_ok() {
                assert_eq!(one_way, other, "{words:x?}");
            }
        }
    }
}

#[test]
fn values_above_sixty_bits_are_refused() {
    let mut out = vec![9];
    let error = encode(&[1, VALUE_MAX + 1], Ones::Rest, &mut out).expect_err("too wide");
    assert_eq!(error, Error::unsupported(1, "above 2^60 - 1"));
    assert_eq!(out, [9]);
}
