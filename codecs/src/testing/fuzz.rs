//! The bodies of the fuzz targets. Ordinary tests run them on the corpus.
//!
//! A payload does not contain its number of values, so there the first two bytes of the input are that number.
//! Decoded values must encode and decode to the same values again. Other bytes must only give an error.

#![expect(clippy::missing_panics_doc, reason = "a check fails by panicking")]

use super::naive;
use crate::column::{Column, FieldType, StringColumn};
use crate::influx::{Form, Tsm1, boolean, float, integer, string, time};
use crate::{BlockDecoder, Decoders};

/// The most values that a target allows in a block.
const LIMIT: usize = 4096;

/// The body of a target. It panics if the bytes break a decoder.
pub type Target = fn(&[u8]);

/// Every target by name: the programs in `fuzz/` and the directories of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode_time", decode_time),
    ("decode_integer", decode_integer),
    ("decode_unsigned", decode_unsigned),
    ("decode_float", decode_float),
    ("decode_boolean", decode_boolean),
    ("decode_string", decode_string),
    ("decode_block", decode_block),
    ("diff_decode", diff_decode),
];

/// Splits off the number of values.
fn split(data: &[u8]) -> Option<(usize, &[u8])> {
    let (count, payload) = data.split_first_chunk()?;
    Some((usize::from(u16::from_le_bytes(*count)).min(LIMIT), payload))
}

/// Timestamps; the number is their limit.
pub fn decode_time(data: &[u8]) {
    let Some((limit, payload)) = split(data) else { return };
    let (mut out, mut again, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    if time::decode(payload, limit, &mut out).is_ok() {
        assert!(out.len() <= limit);
        assert_eq!(time::count(payload), Ok(out.len() as u64));
        for form in [Form::Streaming, Form::Batch] {
            bytes.clear();
            time::encode(form, &out, &mut Vec::new(), &mut bytes);
            time::decode(&bytes, out.len(), &mut again).expect("was just encoded");
            assert_eq!(again, out);
        }
    }
}

/// Signed integers.
pub fn decode_integer(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut again, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    if integer::decode(payload, count, &mut out).is_ok() {
        assert_eq!(out.len(), count);
        for form in [Form::Streaming, Form::Batch] {
            bytes.clear();
            integer::encode(form, &out, &mut Vec::new(), &mut bytes);
            integer::decode(&bytes, count, &mut again).expect("was just encoded");
            assert_eq!(again, out);
        }
    }
}

/// Unsigned integers, which decode like signed integers with the same bits.
pub fn decode_unsigned(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut signed) = (Vec::new(), Vec::new());
    let done = integer::decode_unsigned(payload, count, &mut out);
    assert_eq!(done, integer::decode(payload, count, &mut signed));
    if done.is_ok() {
        assert!(out.iter().map(|&value| value as i64).eq(signed));
    }
}

/// Floats. A NaN other than the end mark can be decoded but not encoded.
pub fn decode_float(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut again, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    if float::decode(payload, count, &mut out).is_ok() {
        assert_eq!(out.len(), count);
        let has_nan = out.iter().any(|value| value.is_nan());
        assert_eq!(float::encode(&out, &mut bytes).is_err(), has_nan);
        if !has_nan {
            float::decode(&bytes, count, &mut again).expect("was just encoded");
            assert!(again.iter().map(|v| v.to_bits()).eq(out.iter().map(|v| v.to_bits())));
        }
    }
}

/// Booleans.
pub fn decode_boolean(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut again, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    if boolean::decode(payload, count, &mut out).is_ok() {
        assert_eq!(out.len(), count);
        boolean::encode(Form::Batch, &out, &mut bytes);
        boolean::decode(&bytes, count, &mut again).expect("was just encoded");
        assert_eq!(again, out);
    }
}

/// Strings.
pub fn decode_string(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut again) = (StringColumn::default(), StringColumn::default());
    let (mut scratch, mut bytes) = (string::Scratch::default(), Vec::new());
    if string::decode(payload, count, &mut scratch, &mut out).is_ok() {
        assert_eq!(out.len(), count);
        string::encode(out.as_ref(), &mut scratch, &mut bytes).expect("short enough");
        string::decode(&bytes, count, &mut scratch, &mut again).expect("was just encoded");
        assert_eq!(again, out);
    }
}

/// A block of any encoder.
pub fn decode_block(data: &[u8]) {
    let (mut any, mut out) = (Decoders::standard(), Column::new(FieldType::Float));
    match any.decode(data, LIMIT, &mut out) {
        Ok(()) => {
            assert!(out.len() <= LIMIT);
            assert_eq!(any.count(data), Ok((out.field_type(), out.len() as u64)));
            assert!(any.string_bytes(data).is_ok_and(|claimed| claimed >= out.as_ref().string_bytes()));
        }
        Err(_) => assert!(out.is_empty()),
    }
    // The previous content of the buffer does not change the result.
    let mut used = Column::new(FieldType::Integer);
    for time in 0..99 {
        used.push(time, crate::Value::Integer(-time)).expect("one type");
    }
    let done = any.decode(data, LIMIT, &mut used);
    assert!(done.is_err() || used == out);
}

/// A `tsm1` block. If it decodes, the naive decoder must return the same column. If it does not, nothing is compared,
/// because the naive decoder has no limit and accepts bytes after the end. Empty blocks are not compared either: no
/// encoder writes them, and some payloads leave them undefined.
pub fn diff_decode(data: &[u8]) {
    let (mut tsm1, mut out) = (Tsm1::default(), Column::new(FieldType::Float));
    if tsm1.decode(data, LIMIT, &mut out).is_ok() && !out.is_empty() {
        assert_eq!(naive::decode(data).as_ref(), Some(&out));
    }
}
