//! Texts that repeat, whole or at their beginning: written once, then by their place or without what they share.

use std::ops::Range;

use super::TEXT_MAX;
use crate::entry::{common_len, words};

/// A shorter beginning is not worth the byte that says how long it is.
const SHARED_MIN: usize = 2;

/// Looks a text up where its hash points, and nowhere else: no chosen texts make that slow, they only repeat then.
pub(super) struct TokenWriter<'a> {
    /// Place of the last token of each hash, plus one.
    slots: Vec<u32>,
    written: Vec<&'a [u8]>,
    /// The last one that was spelled out.
    last: &'a [u8],
    /// Bytes of all that was put, as often as it was.
    text: usize,
}

impl<'a> TokenWriter<'a> {
    /// For so many series.
    pub(super) fn new(series: usize) -> Self {
        // A lone series repeats nothing worth a table.
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

    /// How long all tokens are together, those that were put again too.
    pub(super) fn text(&self) -> usize {
        self.text
    }
}

/// Eight bytes at a time, each mixed in by a multiplication whose high half comes down.
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

/// Texts, end to end.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// Ends the text that was appended to `bytes`.
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
    /// What was spelled out.
    spelled: Texts,
    /// How much more may be read.
    left: usize,
}

impl TokenReader {
    /// For a payload of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        // What a point of its own needs, at once.
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

    /// Reads one that is spelled out, and gives its place.
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
