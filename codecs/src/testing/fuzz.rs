//! What the fuzz targets do with their bytes, so that ordinary tests can do it with the corpus too.
//!
//! A payload does not say how many values it has: there, the first two bytes are the count. Whatever decodes must come
//! back from the encoder and be the same; whatever does not must only be an error.

#![expect(clippy::missing_panics_doc, reason = "to panic is what a check is for")]

use super::naive;
use crate::column::{Column, FieldType, StringColumn};
use crate::influx::{Form, Tsm1, boolean, float, integer, string, time};
use crate::{BlockDecoder, Decoders};

/// Most values a target lets a block have.
const LIMIT: usize = 4096;

/// What a target does with its bytes; it panics if they break a decoder.
pub type Target = fn(&[u8]);

/// Every target by name: the programs under `fuzz/`, and the folders of its corpus.
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

/// The count and the payload.
fn split(data: &[u8]) -> Option<(usize, &[u8])> {
    let (count, payload) = data.split_first_chunk()?;
    Some((usize::from(u16::from_le_bytes(*count)).min(LIMIT), payload))
}

/// Timestamps, at most so many as the count.
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

/// Unsigned integers, which are the signed ones of the same bits.
pub fn decode_unsigned(data: &[u8]) {
    let Some((count, payload)) = split(data) else { return };
    let (mut out, mut signed) = (Vec::new(), Vec::new());
    let done = integer::decode_unsigned(payload, count, &mut out);
    assert_eq!(done, integer::decode(payload, count, &mut signed));
    if done.is_ok() {
        assert!(out.iter().map(|&value| value as i64).eq(signed));
    }
}

/// Floats. NaNs of other bits than the end mark can be decoded, and not encoded.
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

/// A whole block of whatever encoder.
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
    // A buffer that held something else before does not change what comes out.
    let mut used = Column::new(FieldType::Integer);
    for time in 0..99 {
        assert!(used.push(time, crate::Value::Integer(-time)));
    }
    let done = any.decode(data, LIMIT, &mut used);
    assert!(done.is_err() || used == out);
}

/// A block of tsm1: what decodes, the decoder that goes bit by bit reads as the same column. What does not is not
/// compared: the naive decoder has no limit, and does not mind bytes after the end. Nor are blocks of nothing, which no
/// encoder makes and some payloads leave open.
pub fn diff_decode(data: &[u8]) {
    let (mut tsm1, mut out) = (Tsm1::default(), Column::new(FieldType::Float));
    if tsm1.decode(data, LIMIT, &mut out).is_ok() && !out.is_empty() {
        assert_eq!(naive::decode(data).as_ref(), Some(&out));
    }
}
