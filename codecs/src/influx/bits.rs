//! Bits in big-endian order, 64 at a time.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

/// The number of words that are buffered before they are appended.
const WORDS: usize = 64;

/// Appends bits to a vector.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Complete words that are not appended yet, and their number.
    words: [[u8; 8]; WORDS],
    whole: usize,
    /// The bits after those words, left-aligned and followed by zeros.
    pending: u64,
    /// The number of used bits in `pending`, less than 64.
    used: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, words: [[0; 8]; WORDS], whole: 0, pending: 0, used: 0 }
    }

    /// Appends the low `count` bits of `bits`, 1 to 64. The other bits must be zero. The code has no branch except
    /// for the rare flush, because processors cannot predict where a word ends.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        let word = self.pending | bits << (64 - count) >> self.used;
        if let Some(place) = self.words.get_mut(self.whole % WORDS) {
            *place = word.to_be_bytes();
        }
        let used = self.used + count;
        let is_whole = used >= 64;
        self.used = used % 64;
        // Two shifts, because a word that ends exactly here would need a shift by 64.
        let rest = bits << (63 - self.used) << 1;
        self.pending = if is_whole { rest } else { word };
        self.whole += usize::from(is_whole);
        if self.whole == WORDS {
            self.flush();
        }
    }

    /// Appends one zero bit. It is faster than [`BitWriter::put`] for many zeros in a row.
    #[inline]
    pub(super) fn put_zero(&mut self) {
        if self.used == 63 {
            self.put(0, 1);
        } else {
            self.used += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        self.out.extend_from_slice(self.words.get(..self.whole).unwrap_or_default().as_flattened());
        self.whole = 0;
    }

    /// Appends two numbers with these bit counts, in one step if they fit into a word.
    #[inline]
    pub(super) fn put_two(&mut self, (head, head_bits): (u64, u32), (tail, tail_bits): (u64, u32)) {
        if head_bits + tail_bits <= 64 {
            self.put(head << tail_bits | tail, head_bits + tail_bits);
        } else {
            self.put_apart((head, head_bits), (tail, tail_bits));
        }
    }

    /// Not inlined: codes of more than 64 bits are rare, and inlining this path slows the others down by half.
    #[cold]
    #[inline(never)]
    fn put_apart(&mut self, (head, head_bits): (u64, u32), (tail, tail_bits): (u64, u32)) {
        self.put(head, head_bits);
        self.put(tail, tail_bits);
    }

    /// Writes the pending bits, padded with zeros to a full byte.
    pub(super) fn finish(mut self) {
        self.flush();
        let bytes = self.used.div_ceil(8) as usize;
        self.out.extend(self.pending.to_be_bytes().iter().take(bytes));
    }
}

/// Reads bits at any place. Past the end it returns zeros, so the reader must compare its final place with the
/// length.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
}

impl<'a> BitReader<'a> {
    /// The number of valid bits that a load of eight bytes always gives, at any bit offset.
    pub(super) const PEEK_BITS: usize = 57;

    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes that it reads.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// A lower bound of the number of zero bits from `at` on, at most [`BitReader::PEEK_BITS`].
    #[inline]
    pub(super) fn zeros(self, at: usize) -> usize {
        (self.peek(at).leading_zeros() as usize).min(Self::PEEK_BITS)
    }

    /// The bits from `at` on, left-aligned. Only the first [`BitReader::PEEK_BITS`] bits are valid. The others may
    /// be zeros instead.
    #[inline]
    pub(super) fn peek(self, at: usize) -> u64 {
        self.whole_peek(at).unwrap_or_else(|| self.tail(at / 8) << (at % 8))
    }

    /// The 64 bits from `at` on.
    #[inline]
    pub(super) fn peek_64(self, at: usize) -> u64 {
        let next = || self.tail(at / 8 + 8) >> 8 >> (56 - at % 8);
        self.whole_64(at).unwrap_or_else(|| self.tail(at / 8) << (at % 8) | next())
    }

    /// Like [`BitReader::peek`], but `None` if fewer than eight bytes remain.
    #[inline]
    pub(super) fn whole_peek(self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at / 8..at / 8 + 8)?;
        bytes.first_chunk().map(|word| u64::from_be_bytes(*word) << (at % 8))
    }

    /// Like [`BitReader::peek_64`], but `None` if fewer than nine bytes remain.
    #[inline]
    pub(super) fn whole_64(self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at / 8..at / 8 + 9)?;
        let (word, next) = (bytes.first_chunk()?, bytes.last()?);
        Some(u64::from_be_bytes(*word) << (at % 8) | u64::from(*next) >> (8 - at % 8))
    }

    #[cold]
    fn tail(self, byte: usize) -> u64 {
        let tail = self.bytes.get(byte..).unwrap_or_default();
        tail.iter().zip(0..8).fold(0, |word, (&byte, at)| word | u64::from(byte) << (56 - 8 * at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_round_trip_at_every_width_and_place() {
        for lead in 1..=64 {
            for width in 1..=64 {
                let mut out = Vec::new();
                let mut writer = BitWriter::new(&mut out);
                let value = 0xa5a5_5a5a_c3c3_9697 >> (64 - width);
                writer.put(1, lead);
                writer.put(value, width);
                writer.put(1, 1);
                writer.finish();
                let reader = BitReader::new(&out);
                assert_eq!(out.len(), (lead + width + 1).div_ceil(8) as usize);
                assert_eq!(reader.peek_64(0) >> (64 - lead), 1);
                assert_eq!(reader.peek_64(lead as usize) >> (64 - width), value);
                assert_eq!(reader.peek((lead + width) as usize) >> 63, 1);
                assert_eq!(reader.peek(1000), 0);
            }
        }
    }
}
