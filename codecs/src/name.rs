//! Converts names to text and back. Names are measurements, tags, fields and keys; texts are messages, reports and
//! arguments.
//!
//! A name may hold any bytes. In the text, `\xNN` stands for the byte with the hex digits NN. There are no other
//! escapes: any other backslash stands for itself, and the escapes of line protocol stay unchanged. [`from_text`]
//! reads what [`to_text`] and [`printable`] write, so different names have different texts.

use std::borrow::Cow;
use std::fmt::Write;

/// The length of an escape, `\xNN`.
const ESCAPE_BYTES: usize = 4;

/// Converts a name to text. It escapes only bytes that are not UTF-8, and a backslash that would read as an escape.
///
/// ```
/// use tsmith_codecs::name;
///
/// assert_eq!(name::to_text(b"caf\xe9"), r"caf\xe9");
/// assert_eq!(name::from_text(br"caf\xe9"), b"caf\xe9");
/// assert_eq!(name::to_text(br"C:\dir\x41"), r"C:\dir\x5cx41");
/// assert_eq!(name::printable("a\tb"), r"a\x09b");
/// ```
pub fn to_text(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) if !(0..name.len()).any(|at| escaped_byte(&name[at..]).is_some()) => return text.into(),
        _ => {}
    }
    let mut out = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        let valid = chunk.valid();
        for (at, char) in valid.char_indices() {
            match escaped_byte(&valid.as_bytes()[at..]) {
                Some(_) => push_bytes(b"\\", &mut out),
                None => out.push(char),
            }
        }
        push_bytes(chunk.invalid(), &mut out);
    }
    out.into()
}

/// Escapes control characters and characters without width, so that a terminal shows all of the text.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_hidden(char) {
            push_bytes(char.encode_utf8(&mut [0; 4]).as_bytes(), &mut out);
        } else {
            out.push(char);
        }
    }
    out.into()
}

/// Converts a text back to the name. It also accepts raw names, except those that contain `\xNN`.
pub fn from_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (byte, length) = escaped_byte(rest).map_or((first, 1), |byte| (byte, ESCAPE_BYTES));
        out.push(byte);
        rest = &rest[length..];
    }
    out
}

/// The byte of the escape at the start of `text`.
fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = *text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

fn push_bytes(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let written = write!(out, "\\x{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a string never fails");
    }
}

/// Control characters, and Unicode characters without width or that change the text direction.
fn is_hidden(char: char) -> bool {
    let has_no_width = matches!(
        char,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    char.is_control() || has_no_width
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that could be read in two ways when they follow each other.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\\".to_vec()),
            Just(b"x".to_vec()),
            Just(b"4".to_vec()),
            Just(b"F".to_vec()),
            Just(b"\\x5c".to_vec()),
            Just(b"\\x0".to_vec()),
            Just(b"\xff".to_vec()),
            Just(b"\xef\xbb\xbf".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\\,".to_vec()),
            Just("日".as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Law: a name reads back from its text and from its printable text. So no two names have the same text.
        #[test]
        fn every_name_reads_back(name in name()) {
            let text = to_text(&name);
            prop_assert_eq!(&from_text(text.as_bytes()), &name);
            let shown = printable(&text);
            prop_assert_eq!(&from_text(shown.as_bytes()), &name);
            prop_assert!(!shown.contains(is_hidden));
            prop_assert_eq!(printable(&shown), shown.clone());
        }

        /// Law: the text of a name is the joined texts of its parts, wherever line protocol separates them.
        #[test]
        fn parts_have_the_same_text(parts in prop::collection::vec(name(), 1..4)) {
            let texts: Vec<_> = parts.iter().map(|part| to_text(part).into_owned()).collect();
            let name = parts.join(&b',');
            prop_assert_eq!(to_text(&name), texts.join(","));
        }
    }
}
