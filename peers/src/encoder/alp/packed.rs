//! Numbers of a few bits each, 1,024 at a time, as `fastlanes` packs them. A shorter chunk is padded.

use fastlanes::BitPacking;

/// Numbers of one packed chunk.
pub(super) const CHUNK: usize = 1024;

/// An unsigned integer that can be packed.
pub(super) trait Word: BitPacking + Default + Copy {
    const BITS: usize;
    fn put(self, out: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! word {
    ($($number:ty),+) => {
        $(impl Word for $number {
            const BITS: usize = <$number>::BITS as usize;
            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(0, |bytes| Self::from_le_bytes(*bytes))
            }
        })+
    };
}

word!(u16, u64);

/// Appends at most [`CHUNK`] numbers, each below `2^width`.
pub(super) fn put<T: Word>(numbers: &[T], width: usize, out: &mut Vec<u8>) {
    let (mut chunk, mut words) = ([T::default(); CHUNK], [T::default(); CHUNK]);
    chunk[..numbers.len()].copy_from_slice(numbers);
    let words = &mut words[..CHUNK * width / T::BITS];
    if width > 0 {
        assert!(width <= T::BITS);
        // SAFETY: `chunk` has 1,024 numbers, `words` has as many words as they take with `width` bits, and `width` is at
        // most that of a word.
        #[expect(
            unsafe_code,
            reason = "the width is known only at run time, and fastlanes has no checked function for it"
        )]
        unsafe {
            T::unchecked_pack(width, &chunk, words);
        }
    }
    for word in words {
        word.put(out);
    }
}

/// Reads a chunk from the start of `bytes`, and returns the rest. `None` if there are too few bytes.
pub(super) fn get<'b, T: Word>(bytes: &'b [u8], width: usize, chunk: &mut [T; CHUNK]) -> Option<&'b [u8]> {
    if width > T::BITS {
        return None;
    }
    let (packed, rest) = bytes.split_at_checked(CHUNK * width / 8)?;
    if width == 0 {
        chunk.fill(T::default());
        return Some(rest);
    }
    let mut words = [T::default(); CHUNK];
    let words = &mut words[..CHUNK * width / T::BITS];
    words.iter_mut().zip(packed.chunks_exact(T::BITS / 8)).for_each(|(word, bytes)| *word = T::get(bytes));
    // SAFETY: `words` has as many words as 1,024 numbers take with `width` bits, `chunk` has 1,024 numbers, and `width` is at
    // most that of a word.
    #[expect(
        unsafe_code,
        reason = "the width is known only at run time, and fastlanes has no checked function for it"
    )]
    unsafe {
        T::unchecked_unpack(width, words, chunk);
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back() {
        for width in 0..=64 {
            let mask = u64::MAX.checked_shr(64 - width as u32).unwrap_or(0);
            let numbers: Vec<u64> =
                (0..1000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask).collect();
            let (mut bytes, mut back) = (Vec::new(), [7; CHUNK]);
            put(&numbers, width, &mut bytes);
            assert_eq!(bytes.len(), CHUNK * width / 8);
            assert_eq!(get(&bytes, width, &mut back), Some(&[][..]));
            assert_eq!(back[..1000], numbers);
            assert_eq!(get(&bytes[..bytes.len().saturating_sub(1)], width, &mut back).is_some(), width == 0);
        }
    }
}
