//! Formats numbers, names and keys as text.

use std::fmt;
use std::io::Write;

use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::{ColumnRef, FieldType};

/// One column of a series.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Name of the field, without escapes.
    pub(crate) name: &'a [u8],
    /// Its points, or the next part of them.
    pub(crate) column: ColumnRef<'a>,
}

/// Appends the shortest text that parses to the same float. The value must be finite.
pub(super) fn put_float(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    let plain = size == 0.0 || (1e-5..1e16).contains(&size);
    let written = if plain { write!(out, "{value}") } else { write!(out, "{value:e}") };
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

/// Appends a number as its digits.
pub(super) fn put_number(value: impl fmt::Display, out: &mut Vec<u8>) {
    let written = write!(out, "{value}");
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

pub(super) fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

pub(super) fn put_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `NaN`, `Infinity`, `-Infinity`; `None` for numbers.
pub(super) fn not_a_number(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// The composite key and its type, for messages.
pub(super) fn key_shown(series: &[u8], field: &[u8], field_type: FieldType) -> String {
    format!("{} ({field_type})", tsmith_engine::FieldKey::new(series, field))
}

/// A name, key or string for display. The filters accept names in this form.
pub(crate) fn shown(name: &[u8]) -> String {
    printable(&to_text(name)).into_owned()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: impl fmt::Display + PartialEq + From<u8> + Copy, thing: &str) -> String {
    let plural = if number == 1.into() { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
