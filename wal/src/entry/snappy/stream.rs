//! Snappy, element by element.
//!
//! Source: `format_description.txt` of google/snappy: literals, and copies with one and two bytes of offset.

/// Copies reach no further back.
const OFFSET_MAX: usize = 65_535;
/// A copy is never shorter: it would take as much room as it saves.
pub(super) const COPY_MIN: usize = 4;
/// As [`COPY_MIN`], wherever the copy is from.
pub(super) const FAR_COPY_MIN: usize = 6;
/// A copy of one byte of offset is shorter than this, and reaches back less than [`NEAR`].
const SHORT: usize = 12;
const NEAR: u32 = 2048;
/// Longest copy.
const COPY_MAX: usize = 64;
/// Longest literal with a head of one byte.
const LITERAL_MAX: usize = 60;

/// Bytes on their way into Snappy, as literals and as copies of those before.
#[derive(Debug)]
pub(super) struct Stream<'o> {
    out: &'o mut [u8],
    end: usize,
    /// How long the literal at the end of `out` is so far; 0 when there is none to be continued.
    literal: usize,
    at: usize,
}

impl<'o> Stream<'o> {
    /// Will compress `len` bytes, less than 4 GiB, into `out` from its byte `from` on. What `out` holds beyond its end
    /// means nothing: it is not cleared each time.
    pub(super) fn new(out: &'o mut Vec<u8>, from: usize, len: usize) -> Self {
        // At most one byte more for 44 of a literal, and for each copy, which saves it.
        let room = from + snap::raw::max_compress_len(len) + 2 * COPY_MAX;
        if out.len() < room {
            out.resize(room, 0);
        }
        let mut stream = Self { out, end: from, literal: 0, at: 0 };
        let mut left = len as u32;
        while left >= 0x80 {
            stream.put([left as u8 | 0x80]);
            left >>= 7;
        }
        stream.put([left as u8]);
        stream
    }

    /// How many bytes went in.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where it ends in `out`.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// A few bytes as they are, of which as many as `known` at the beginning went in before.
    #[inline]
    pub(super) fn rest<const N: usize>(&mut self, bytes: [u8; N], known: usize) {
        const { assert!(N <= 8) };
        let mut word = [0; 8];
        word[..N].copy_from_slice(&bytes);
        let word = u64::from_le_bytes(word).unbounded_shr(8 * known as u32);
        let len = N - known;
        if len == 0 {
            return;
        }
        if self.literal == 0 || self.literal + len > LITERAL_MAX {
            self.end += 1;
            self.literal = 0;
        }
        let head = self.end - self.literal - 1;
        *self.room() = word.to_le_bytes();
        self.end += len;
        self.literal += len;
        self.at += len;
        self.out[head] = (self.literal as u8).wrapping_sub(1) << 2;
    }

    /// Bytes as they are.
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let all = self.literal + bytes.len();
        if self.literal > 0 && all <= LITERAL_MAX {
            let head = self.end - self.literal - 1;
            self.out[head] = (all as u8 - 1) << 2;
            self.literal = all;
        } else {
            match (bytes.len() as u32 - 1).to_le_bytes() {
                [a, 0, 0, 0] if bytes.len() <= LITERAL_MAX => self.put([a << 2]),
                [a, 0, 0, 0] => self.put([60 << 2, a]),
                [a, b, 0, 0] => self.put([61 << 2, a, b]),
                [a, b, c, 0] => self.put([62 << 2, a, b, c]),
                [a, b, c, d] => self.put([63 << 2, a, b, c, d]),
            }
            self.literal = if bytes.len() <= LITERAL_MAX { bytes.len() } else { 0 };
        }
        self.out[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        self.at += bytes.len();
    }

    /// As many bytes as went in at `from`: at least [`FAR_COPY_MIN`], or [`COPY_MIN`] that are near. False if that is out of
    /// reach; then nothing was done.
    #[must_use = "what was not copied is to be said"]
    #[inline]
    pub(super) fn copy(&mut self, from: usize, mut len: usize) -> bool {
        if self.at - from > OFFSET_MAX {
            return false;
        }
        let distance = (self.at - from) as u32;
        let element = |len: usize| distance << 8 | (len as u32 - 1) << 2 | 2;
        self.at += len;
        self.literal = 0;
        if len > COPY_MAX {
            len = self.long_copies(element(COPY_MAX), len);
            if len > COPY_MAX {
                self.element(element(COPY_MAX - COPY_MIN), 3);
                len -= COPY_MAX - COPY_MIN;
            }
        }
        if (COPY_MIN..SHORT).contains(&len) && distance < NEAR {
            let (high, low) = (distance >> 8, distance & 0xff);
            self.element(low << 8 | high << 5 | ((len - COPY_MIN) as u32) << 2 | 1, 2);
        } else {
            self.element(element(len), 3);
        }
        true
    }

    /// The longest copies of `len` bytes, each of them `element`; what is left is not less than a copy may be.
    fn long_copies(&mut self, element: u32, len: usize) -> usize {
        let copies = (len - COPY_MIN) / COPY_MAX;
        // Four at once: most keys have no more.
        let four = (0..4).fold(0, |four, place| four | u128::from(element) << (24 * place));
        for _ in 0..copies.div_ceil(4) {
            *self.room() = four.to_le_bytes();
            self.end += 12;
        }
        self.end -= (copies.div_ceil(4) * 4 - copies) * 3;
        len - copies * COPY_MAX
    }

    /// An element of so many bytes, the first one lowest. One store for all of them: what is beyond means nothing yet.
    #[inline]
    fn element(&mut self, element: u32, bytes: usize) {
        *self.room() = element.to_le_bytes();
        self.end += bytes;
    }

    /// Elements that somebody else made of `len` bytes, and that refer to none before.
    pub(super) fn elements(&mut self, elements: &[u8], len: usize) {
        self.out[self.end..][..elements.len()].copy_from_slice(elements);
        self.end += elements.len();
        self.at += len;
        self.literal = 0;
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        *self.room() = bytes;
        self.end += N;
    }

    #[inline]
    fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        self.out[self.end..].first_chunk_mut().expect("`new` made room for the worst case")
    }
}
