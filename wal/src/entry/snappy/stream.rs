//! Writes Snappy element by element.
//!
//! Source: `format_description.txt` of google/snappy: literals, and copies with one and two bytes of offset.

/// Largest distance of a copy.
const OFFSET_MAX: usize = 65_535;
/// Shorter copies would save nothing.
pub(super) const COPY_MIN: usize = 4;
/// Like [`COPY_MIN`], for any distance.
pub(super) const FAR_COPY_MIN: usize = 6;
/// A copy with a one-byte offset is shorter than this, and its distance is below [`NEAR`].
const SHORT: usize = 12;
const NEAR: u32 = 2048;
/// Longest copy.
pub(super) const COPY_MAX: usize = 64;
/// Longest literal with a one-byte header.
const LITERAL_MAX: usize = 60;

/// The copy elements for one length, with any distance. Computed once for all columns that begin with the
/// same key.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopiesOf {
    len: usize,
    /// Elements of three bytes each, without offsets.
    elements: u128,
    /// Ones at the places of the offsets.
    offsets: u128,
    bytes: usize,
}

impl CopiesOf {
    /// `None` if the elements do not fit in one store.
    pub(super) fn new(len: usize) -> Option<Self> {
        const AT_ONCE: usize = size_of::<u128>() / 3;
        if len > AT_ONCE * COPY_MAX {
            return None;
        }
        let mut copies = Self { len, elements: 0, offsets: 0, bytes: 0 };
        let mut left = len;
        while left > 0 {
            let part = left.min(COPY_MAX);
            copies.elements |= u128::from(copy_element(part, 0)) << (8 * copies.bytes);
            copies.offsets |= 1 << (8 * copies.bytes + 8);
            copies.bytes += 3;
            left -= part;
        }
        Some(copies)
    }

    pub(super) fn len(self) -> usize {
        self.len
    }
}

/// A copy element with a two-byte offset.
fn copy_element(len: usize, offset: u32) -> u32 {
    offset << 8 | (len as u32 - 1) << 2 | 2
}

/// A copy that fits in one element, and the length of that element.
#[inline]
fn last_copy(len: usize, distance: u32) -> (u32, usize) {
    if (COPY_MIN..SHORT).contains(&len) && distance < NEAR {
        let (high, low) = (distance >> 8, distance & 0xff);
        (low << 8 | high << 5 | ((len - COPY_MIN) as u32) << 2 | 1, 2)
    } else {
        (copy_element(len, distance), 3)
    }
}

/// A Snappy stream under construction, of literals and copies.
#[derive(Debug)]
pub(super) struct Stream<'o> {
    out: &'o mut [u8],
    /// Where the current literal, which may be empty, begins in `out`. The byte before it is reserved for its
    /// header.
    literal: usize,
    end: usize,
    at: usize,
}

impl<'o> Stream<'o> {
    /// Compresses `len` bytes, less than 4 GiB, into `out` from byte `from` on. Bytes of `out` beyond the end
    /// are undefined, so it need not be cleared.
    pub(super) fn new(out: &'o mut Vec<u8>, from: usize, len: usize) -> Self {
        // At most one extra byte per 44 bytes of a literal. A copy costs one too, but saves at least that.
        let room = from + snap::raw::max_compress_len(len) + 2 * COPY_MAX;
        if out.len() < room {
            out.resize(room, 0);
        }
        let mut stream = Self { out, literal: from, end: from, at: 0 };
        let mut left = len as u32;
        while left >= 0x80 {
            stream.put([left as u8 | 0x80]);
            left >>= 7;
        }
        stream.put([left as u8]);
        stream.begin_literal();
        stream
    }

    /// Number of input bytes so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The end of the output in `out`.
    pub(super) fn finish(mut self) -> usize {
        self.end_literal();
        self.end
    }

    /// Writes a few literal bytes. The first `known` of them were already written.
    #[inline]
    pub(super) fn rest<const N: usize>(&mut self, bytes: [u8; N], known: usize) {
        const { assert!(N <= 8) };
        let mut word = [0; 8];
        word[..N].copy_from_slice(&bytes);
        let word = u64::from_le_bytes(word).unbounded_shr(8 * known as u32);
        let len = N - known;
        self.make_room_in_literal(len);
        *self.room() = word.to_le_bytes();
        self.end += len;
        self.at += len;
    }

    /// Writes literal bytes.
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        let long = bytes.len() > LITERAL_MAX;
        if long {
            self.end_literal();
            match (bytes.len() as u32 - 1).to_le_bytes() {
                [a, 0, 0, 0] => self.put([60 << 2, a]),
                [a, b, 0, 0] => self.put([61 << 2, a, b]),
                [a, b, c, 0] => self.put([62 << 2, a, b, c]),
                [a, b, c, d] => self.put([63 << 2, a, b, c, d]),
            }
        } else {
            self.make_room_in_literal(bytes.len());
        }
        self.out[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        self.at += bytes.len();
        if long {
            self.begin_literal();
        }
    }

    /// Copies `len` input bytes from `from`: at least [`FAR_COPY_MIN`], or [`COPY_MIN`] at a near distance.
    /// Returns false, without writing, if the distance is too large.
    #[must_use = "bytes that were not copied must be written"]
    #[inline]
    pub(super) fn copy(&mut self, from: usize, len: usize) -> bool {
        let reached = self.will_reach(from, 0);
        if reached {
            self.copy_reached(from, len);
        }
        reached
    }

    /// Whether bytes at `from` can still be copied after `more` further input bytes.
    #[inline]
    pub(super) fn will_reach(&self, from: usize, more: usize) -> bool {
        self.at + more - from <= OFFSET_MAX
    }

    fn copy_reached(&mut self, from: usize, mut len: usize) {
        let distance = (self.at - from) as u32;
        self.at += len;
        self.end_literal();
        while len > COPY_MAX {
            let part = if len < COPY_MAX + COPY_MIN { COPY_MAX - COPY_MIN } else { COPY_MAX };
            self.element(copy_element(part, distance), 3);
            len -= part;
        }
        let (element, bytes) = last_copy(len, distance);
        self.element(element, bytes);
        self.begin_literal();
    }

    /// Writes a few literal bytes, then a copy of `key` from `key_at`, then a copy of `name_len` bytes from
    /// `name_at` as one element. All distances must be within reach.
    #[inline]
    pub(super) fn head(
        &mut self,
        first: [u8; 3],
        (key_at, key): (usize, CopiesOf),
        (name_at, name_len): (usize, usize),
    ) {
        self.make_room_in_literal(first.len());
        self.at += first.len();
        let key_copies = key.elements | (key.offsets * (self.at - key_at) as u128);
        self.at += key.len;
        let name_copy = copy_element(name_len, (self.at - name_at) as u32);
        self.at += name_len;
        let room: &mut [u8; 32] = self.room();
        room[..first.len()].copy_from_slice(&first);
        room[first.len()..][..16].copy_from_slice(&key_copies.to_le_bytes());
        room[first.len() + key.bytes..][..4].copy_from_slice(&name_copy.to_le_bytes());
        self.end += first.len();
        self.end_literal();
        self.end += key.bytes + 3;
        self.begin_literal();
    }

    /// Writes a word. If `end` is within reach, all but its first two bytes are copied from there.
    #[inline]
    pub(super) fn word(&mut self, word: [u8; 8], end: Option<usize>) {
        self.make_room_in_literal(word.len());
        let Some(distance) = end.map(|end| self.at + 2 - end).filter(|distance| *distance <= OFFSET_MAX)
        else {
            return self.rest(word, 0);
        };
        let (element, bytes) = last_copy(word.len() - 2, distance as u32);
        let room: &mut [u8; 8] = self.room();
        room[..2].copy_from_slice(&word[..2]);
        room[2..6].copy_from_slice(&element.to_le_bytes());
        self.at += word.len();
        self.end += 2;
        self.end_literal();
        self.end += bytes;
        self.begin_literal();
    }

    /// Appends elements for `len` input bytes that reference nothing earlier.
    pub(super) fn elements(&mut self, elements: &[u8], len: usize) {
        self.end_literal();
        self.out[self.end..][..elements.len()].copy_from_slice(elements);
        self.end += elements.len();
        self.at += len;
        self.begin_literal();
    }

    #[inline]
    fn begin_literal(&mut self) {
        self.end += 1;
        self.literal = self.end;
    }

    /// Ends the literal. An empty literal is omitted.
    #[inline]
    fn end_literal(&mut self) {
        let len = self.end - self.literal;
        self.out[self.literal - 1] = (len as u8).wrapping_sub(1) << 2;
        self.end -= usize::from(len == 0);
    }

    /// Makes space for `len` more bytes in a literal. `len` is at most the longest literal.
    #[inline]
    fn make_room_in_literal(&mut self, len: usize) {
        if self.end - self.literal + len > LITERAL_MAX {
            self.end_literal();
            self.begin_literal();
        }
    }

    /// Writes an element of this many bytes, lowest byte first, in one store. Bytes beyond it are undefined.
    #[inline]
    fn element(&mut self, element: u32, bytes: usize) {
        *self.room() = element.to_le_bytes();
        self.end += bytes;
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
