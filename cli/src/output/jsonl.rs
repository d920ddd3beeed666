//! JSON lines: one object per key.
//!
//! `{"key":"cpu,host=a#!~#v","type":"float","values":[[time,value],...]}`. NaN and infinities are strings. With `exact`,
//! floats are the 16 hex digits of their bits, and strings are hex. If a key is not UTF-8, `key` has `\xNN` for the invalid
//! bytes, and `key_hex` has all bytes.

use std::borrow::Cow;

use tsmith_codecs::name::to_text;
use tsmith_engine::{ColumnRef, FieldKey, FieldType, Value};

use super::lost::Lost;
use super::out::Out;
use super::text::{not_a_number, put_bool, put_float, put_hex, put_number};
use crate::exit::Result;

/// Begins the object of a key.
pub(super) fn begin(out: &mut Out, key: FieldKey<'_>, field_type: FieldType) {
    let key = key.to_composite();
    let text = out.text();
    text.extend_from_slice(b"{\"key\":");
    if !put_string(&key, to_text, text) {
        text.extend_from_slice(b",\"key_hex\":\"");
        put_hex(&key, text);
        text.push(b'"');
    }
    text.extend_from_slice(b",\"type\":\"");
    text.extend_from_slice(field_type.name().as_bytes());
    text.extend_from_slice(b"\",\"values\":[");
}

/// Ends the object.
pub(super) fn end(out: &mut Out) -> Result<()> {
    out.text().extend_from_slice(b"]}\n");
    out.spill()
}

/// Writes points of the key. With `goes_on`, earlier points of the key are already written.
pub(super) fn values(
    out: &mut Out,
    exact: bool,
    lost: &mut Lost,
    column: ColumnRef<'_>,
    goes_on: bool,
) -> Result<()> {
    let values = column.values();
    for (at, time) in column.times().iter().enumerate() {
        let text = out.text();
        text.extend_from_slice(if at == 0 && !goes_on { b"[" } else { b",[" });
        put_number(time, text);
        text.push(b',');
        match values.get(at) {
            Value::Float(value) if exact => {
                put_quoted(|out| put_hex(&value.to_bits().to_be_bytes(), out), text);
            }
            Value::String(value) if exact => put_quoted(|out| put_hex(value, out), text),
            Value::Float(value) => match not_a_number(value) {
                Some(name) => put_quoted(|out| out.extend_from_slice(name.as_bytes()), text),
                None => put_float(value, text),
            },
            Value::Integer(value) => put_number(value, text),
            Value::Unsigned(value) => put_number(value, text),
            Value::Boolean(value) => put_bool(value, text),
            Value::String(value) => {
                if !put_string(value, String::from_utf8_lossy, text) {
                    lost.strings += 1;
                }
            }
        }
        text.push(b']');
        out.spill()?;
    }
    Ok(())
}

fn put_quoted(inner: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'"');
    inner(out);
    out.push(b'"');
}

/// Appends a JSON string. Returns false if the bytes are not UTF-8; then `replace` converts them.
fn put_string(value: &[u8], replace: fn(&[u8]) -> Cow<'_, str>, out: &mut Vec<u8>) -> bool {
    let exact = str::from_utf8(value);
    let text = exact.map_or_else(|_| replace(value), Cow::Borrowed);
    let written = serde_json::to_writer(out, &*text);
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
    exact.is_ok()
}
