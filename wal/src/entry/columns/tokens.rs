//! Encodes repeated texts: a repeated text is written as its index, a text with a repeated prefix without
//! that prefix.

use std::ops::Range;

use super::TEXT_MAX;
use crate::entry::{common_len, words};

/// A shorter prefix is not worth the byte for its length.
const SHARED_MIN: usize = 2;

/// Looks up a text only in the slot of its hash, so that chosen texts cannot make it slow; they are only
/// repeated.
pub(super) struct TokenWriter<'a> {
    /// Index of the last token in each slot, plus one.
    slots: Vec<u32>,
    written: Vec<&'a [u8]>,
    /// The last token written in full.
    last: &'a [u8],
    /// Total bytes of all tokens, including repeated ones.
    text: usize,
}

impl<'a> TokenWriter<'a> {
    /// A writer for this many series.
    pub(super) fn new(series: usize) -> Self {
        // A single series repeats too little to need a table.
        let slots = if series < 2 { 0 } else { (series * 4).next_power_of_two().clamp(64, 1 << 14) };
        Self { slots: vec![0; slots], written: Vec::new(), last: &[], text: 0 }
    }

    pub(super) fn put(&mut self, token: &'a [u8], out: &mut Vec<u8>) {
        self.text += token.len();
        let mask = self.slots.len().wrapping_sub(1);
        if let Some(slot) = self.slots.get_mut(hash(token) as usize & mask) {
            let place = (*slot as usize).wrapping_sub(1);
            if self.written.get(place) == Some(&token) {
                return words::put_varint(place as u64 * 2 + 1, out);
            }
            *slot = self.written.len() as u32 + 1;
            self.written.push(token);
        }
        let shared = common_len(self.last, token);
        self.last = token;
        if let Some(rest) = token.get(shared..).filter(|_| shared >= SHARED_MIN) {
            words::put_varint(rest.len() as u64 * 4 + 2, out);
            words::put_varint(shared as u64, out);
            out.extend_from_slice(rest);
        } else {
            words::put_varint(token.len() as u64 * 4, out);
            out.extend_from_slice(token);
        }
    }

    /// Total bytes of all tokens, including repeated ones.
    pub(super) fn text(&self) -> usize {
        self.text
    }
}

/// Hashes eight bytes at a time with a multiplication, folding down its high half.
fn hash(token: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    };
    let (words, rest) = token.as_chunks();
    let state = words.iter().fold(token.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(1, |last, &byte| last << 8 | u64::from(byte));
    mix(state, last)
}

/// A list of texts in one buffer.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// Ends the text appended to `bytes`.
    pub(super) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn span(&self, at: usize) -> Option<Range<usize>> {
        let from = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        Some(from..*self.ends.get(at)?)
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        self.bytes.get(self.span(at)?)
    }
}

/// Reads what a [`TokenWriter`] wrote.
pub(super) struct TokenReader {
    /// The tokens written in full.
    spelled: Texts,
    /// How many more bytes may be read.
    left: usize,
}

impl TokenReader {
    /// A reader for a payload of this size.
    pub(super) fn new(bytes: usize) -> Self {
        // Reserves once what a single point needs.
        let (text, ends) = (Vec::with_capacity(bytes.min(512)), Vec::with_capacity(bytes.min(32)));
        Self { spelled: Texts { bytes: text, ends }, left: TEXT_MAX }
    }

    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<&[u8]> {
        let code = words::take_varint(bytes)?;
        let place = if code & 1 == 1 { usize::try_from(code >> 1).ok()? } else { self.spell(bytes, code)? };
        let token = self.spelled.get(place)?;
        self.left = self.left.checked_sub(token.len())?;
        Some(token)
    }

    /// Reads a token written in full and returns its index.
    fn spell(&mut self, bytes: &mut &[u8], code: u64) -> Option<usize> {
        let place = self.spelled.ends.len();
        if code & 2 != 0 {
            let shared = usize::try_from(words::take_varint(bytes)?).ok()?;
            let last = self.spelled.span(place.checked_sub(1)?)?;
            if shared > last.len().min(self.left) {
                return None;
            }
            self.spelled.bytes.extend_from_within(last.start..last.start + shared);
        }
        let (rest, behind) = bytes.split_at_checked(usize::try_from(code >> 2).ok()?)?;
        *bytes = behind;
        self.spelled.bytes.extend_from_slice(rest);
        self.spelled.end();
        Some(place)
    }
}
