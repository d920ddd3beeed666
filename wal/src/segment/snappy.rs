//! Checks that bytes are a valid snappy block without unpacking it.

use crate::scan::Work;

/// The cost of examining one element.
const ELEMENT_WORK: usize = 8;

/// Whether the elements of `block` are valid: they fill it, copy only from earlier output, and produce the
/// stated length. `None` if there are too many to examine. The first few elements usually reveal bytes that
/// are not a snappy block.
pub(super) fn is_whole(block: &[u8], work: &mut Work) -> Option<bool> {
    let Some((plain_len, mut rest)) = uvarint(block) else { return Some(false) };
    let mut made = 0_u64;
    while !rest.is_empty() {
        if !work.pay(ELEMENT_WORK) {
            return None;
        }
        let Some((len, behind)) = element(rest, made) else { return Some(false) };
        made += len;
        if made > plain_len {
            return Some(false);
        }
        rest = behind;
    }
    Some(made == plain_len)
}

/// The output length of the first element, and the bytes after it.
fn element(bytes: &[u8], made: u64) -> Option<(u64, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let upper = tag >> 2;
    let (len, offset, rest) = match tag & 3 {
        0 => {
            let width = usize::from(upper.saturating_sub(59));
            let (len, rest) = rest.split_at_checked(width)?;
            let len = if width == 0 { upper.into() } else { little_endian(len) } + 1;
            return Some((len, rest.get(usize::try_from(len).ok()?..)?));
        }
        1 => {
            let (&low, rest) = rest.split_first()?;
            (4 + u64::from(upper & 7), u64::from(tag >> 5) << 8 | u64::from(low), rest)
        }
        width => {
            let (offset, rest) = rest.split_at_checked(if width == 2 { 2 } else { 4 })?;
            (u64::from(upper) + 1, little_endian(offset), rest)
        }
    };
    (1..=made).contains(&offset).then_some((len, rest))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The 32-bit length at the beginning of a block.
fn uvarint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().take(5).position(|byte| *byte < 0x80)?;
    let (number, rest) = bytes.split_at_checked(last + 1)?;
    let number = number.iter().rev().fold(0, |number, &byte| number << 7 | u64::from(byte & 0x7f));
    (number <= u32::MAX.into()).then_some((number, rest))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn whole(block: &[u8]) -> bool {
        is_whole(block, &mut Work::of(block.len())).expect("within the limit")
    }

    /// The snappy library unpacks exactly the blocks that pass the check.
    #[test]
    fn the_check_agrees_with_the_snappy_library() {
        let text: Vec<u8> = (0..70_000_u32).flat_map(|n| (n / 7 * 3).to_be_bytes()).collect();
        for plain in
            [Vec::new(), b"a".to_vec(), noise(1, 59), noise(2, 61), noise(3, 300), noise(4, 70_000), text]
        {
            let block = snap::raw::Encoder::new().compress_vec(&plain).expect("packs");
            assert!(whole(&block));
            for seed in 0..300 {
                let dice = noise(seed, 9);
                let at = little_endian(&dice[..4]) as usize % block.len();
                let mut bad = block.clone();
                if seed % 3 == 0 {
                    bad.truncate(at);
                } else {
                    bad[at] ^= dice[8].max(1);
                }
                assert_eq!(whole(&bad), snap::raw::Decoder::new().decompress_vec(&bad).is_ok(), "{seed}");
            }
        }
    }

    #[test]
    fn noise_fails_at_its_first_elements() {
        for seed in 0..1000 {
            let mut work = Work::of(0);
            assert!(!is_whole(&noise(seed, 4 << 10), &mut work).expect("within the limit"));
        }
    }
}
