//! CSV as in RFC 4180, one row per value. Text that is not UTF-8 is written unchanged. An empty string is `""`, because many
//! readers treat an empty field as a missing value.

use tsmith_engine::Value;

use super::out::Out;
use super::text::{Field, not_a_number, put_bool, put_float, put_hex, put_number};
use crate::exit::Result;

pub(super) const HEADER: &[u8] = b"series,field,time,type,value\n";

/// Writes the rows of a column.
pub(super) fn column(out: &mut Out, exact: bool, series: &[u8], field: Field<'_>) -> Result<()> {
    let mut name = Vec::new();
    put_text(series, &mut name);
    name.push(b',');
    put_text(field.name, &mut name);
    name.push(b',');
    let values = field.column.values();
    for (at, time) in field.column.times().iter().enumerate() {
        let text = out.text();
        text.extend_from_slice(&name);
        put_number(time, text);
        text.push(b',');
        text.extend_from_slice(values.field_type().name().as_bytes());
        text.push(b',');
        match values.get(at) {
            Value::Float(value) if exact => put_hex(&value.to_bits().to_be_bytes(), text),
            Value::String(value) if exact && !value.is_empty() => put_hex(value, text),
            Value::Float(value) => match not_a_number(value) {
                Some(name) => text.extend_from_slice(name.as_bytes()),
                None => put_float(value, text),
            },
            Value::Integer(value) => put_number(value, text),
            Value::Unsigned(value) => put_number(value, text),
            Value::Boolean(value) => put_bool(value, text),
            Value::String(value) => put_text(value, text),
        }
        text.push(b'\n');
        out.spill()?;
    }
    Ok(())
}

fn put_text(value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() && !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &byte in value {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
