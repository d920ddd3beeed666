//! Texts that repeat: written once, then by their place.

use crate::entry::words;

/// Looks a text up where its hash points, and nowhere else: no chosen texts make that slow, they only repeat then.
pub(super) struct TokenWriter<'a> {
    /// Place of the last token of each hash, plus one.
    slots: Vec<u32>,
    written: Vec<&'a [u8]>,
}

impl<'a> TokenWriter<'a> {
    /// For so many series.
    pub(super) fn new(series: usize) -> Self {
        // A lone series repeats nothing worth a table.
        let slots = if series < 2 { 0 } else { (series * 4).next_power_of_two().clamp(64, 1 << 14) };
        Self { slots: vec![0; slots], written: Vec::new() }
    }

    pub(super) fn put(&mut self, token: &'a [u8], out: &mut Vec<u8>) {
        let mask = self.slots.len().wrapping_sub(1);
        if let Some(slot) = self.slots.get_mut(hash(token) as usize & mask) {
            let place = (*slot as usize).wrapping_sub(1);
            if self.written.get(place) == Some(&token) {
                return words::put_varint(place as u64 * 2 + 1, out);
            }
            *slot = self.written.len() as u32 + 1;
            self.written.push(token);
        }
        words::put_varint(token.len() as u64 * 2, out);
        out.extend_from_slice(token);
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

/// Reads what a [`TokenWriter`] wrote.
#[derive(Default)]
pub(super) struct TokenReader<'a> {
    read: Vec<&'a [u8]>,
}

impl<'a> TokenReader<'a> {
    pub(super) fn take(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let code = words::take_varint(bytes)?;
        let number = usize::try_from(code >> 1).ok()?;
        if code & 1 == 1 {
            return self.read.get(number).copied();
        }
        let (token, rest) = bytes.split_at_checked(number)?;
        *bytes = rest;
        self.read.push(token);
        Some(token)
    }
}
