//! Line protocol: one line per series and time, with all fields that have a value at that time.
//!
//! The text reads back as the same points. Line protocol cannot represent all names. To detect those, a line with the name
//! is written and parsed; a name that does not come back is reported.

use std::collections::HashMap;
use std::io::Write;

use tsmith_engine::line::{self, AnySchema};
use tsmith_engine::{BatchBuilder, FieldType, LineOptions, Timestamp, Value};

use super::lost::Lost;
use super::out::Out;
use super::text::{Field, key_shown, put_bool, put_float, put_number};
use crate::exit::Result;

/// A string with all characters that are special in quotes.
const PROBE: &[u8] = b"a,b =\n\"\\c";

/// Buffers for names.
#[derive(Debug, Default)]
pub(super) struct Names {
    escaped: Vec<Vec<u8>>,
    next: Vec<i64>,
    places: Vec<usize>,
    /// The current series, and which of its fields line protocol can represent.
    series: Vec<u8>,
    expressible: HashMap<Vec<u8>, bool>,
}

/// Writes the lines of a series.
pub(super) fn series(
    out: &mut Out,
    names: &mut Names,
    lost: &mut Lost,
    series: &[u8],
    fields: &[Field<'_>],
) -> Result<()> {
    let fields: Vec<Field<'_>> =
        fields.iter().filter(|field| names.admit(lost, series, **field)).copied().collect();
    names.escaped.resize_with(names.escaped.len().max(fields.len()), Vec::new);
    for (escaped, field) in names.escaped.iter_mut().zip(&fields) {
        escaped.clear();
        escape_name(field.name, escaped);
        escaped.push(b'=');
    }
    names.places.clear();
    names.places.resize(fields.len(), 0);
    names.next.clear();
    names.next.extend(fields.iter().map(|field| field.column.times().first().copied().unwrap_or(i64::MAX)));
    let mut left: usize = fields.iter().map(|field| field.column.len()).sum();
    while left > 0 {
        let time = names.next.iter().copied().min().unwrap_or(i64::MAX);
        let good_time = (Timestamp::MIN.0..=Timestamp::MAX.0).contains(&time);
        let text = out.text();
        let line = text.len();
        text.extend_from_slice(series);
        let mut between = b' ';
        for (at, field) in fields.iter().enumerate() {
            let place = names.places[at];
            // A finished column also has the greatest time.
            if names.next[at] != time || place == field.column.len() {
                continue;
            }
            left -= 1;
            names.places[at] += 1;
            names.next[at] = field.column.times().get(place + 1).copied().unwrap_or(i64::MAX);
            let value = field.column.values().get(place);
            if !good_time {
                lost.times += 1;
                lost.example(|| {
                    format!("{}: time {time}", key_shown(series, field.name, value.field_type()))
                });
            } else if matches!(value, Value::Float(value) if !value.is_finite()) {
                lost.floats += 1;
                lost.example(|| {
                    format!("{}: time {time}: {value:?}", key_shown(series, field.name, value.field_type()))
                });
            } else {
                text.push(between);
                between = b',';
                text.extend_from_slice(&names.escaped[at]);
                put_value(value, text);
            }
        }
        if between == b' ' {
            text.truncate(line);
        } else {
            text.push(b' ');
            put_number(time, text);
            text.push(b'\n');
        }
        out.spill()?;
    }
    Ok(())
}

fn put_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Float(value) => put_float(value, out),
        Value::Integer(value) => {
            put_number(value, out);
            out.push(b'i');
        }
        Value::Unsigned(value) => {
            put_number(value, out);
            out.push(b'u');
        }
        Value::Boolean(value) => put_bool(value, out),
        Value::String(value) => {
            out.push(b'"');
            escape(value, b"\"\\", out);
            out.push(b'"');
        }
    }
}

fn escape_name(name: &[u8], out: &mut Vec<u8>) {
    escape(name, b",\" =", out);
}

fn escape(text: &[u8], escaped: &[u8], out: &mut Vec<u8>) {
    if !text.iter().any(|byte| escaped.contains(byte)) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        if escaped.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

impl Names {
    /// Whether lines of this series and field read back unchanged. If not, the points are counted and the name is reported
    /// once.
    fn admit(&mut self, lost: &mut Lost, series: &[u8], field: Field<'_>) -> bool {
        if field.column.is_empty() {
            return true;
        }
        if self.series != series {
            self.series.clear();
            self.series.extend_from_slice(series);
            self.expressible.clear();
        }
        let field_type = field.column.field_type();
        let known = self.expressible.get(field.name).copied();
        let admitted = known.unwrap_or_else(|| {
            let admitted = reads_back(series, field.name, field_type);
            self.expressible.insert(field.name.to_vec(), admitted);
            admitted
        });
        if !admitted {
            lost.names += field.column.len() as u64;
            if known.is_none() {
                lost.example(|| {
                    format!(
                        "{}: line protocol cannot represent this name",
                        key_shown(series, field.name, field_type)
                    )
                });
            }
        }
        admitted
    }
}

/// Writes two lines, parses them, and compares.
fn reads_back(series: &[u8], name: &[u8], field_type: FieldType) -> bool {
    let value = if field_type == FieldType::String { Value::String(PROBE) } else { Value::Boolean(true) };
    let mut text = Vec::with_capacity(2 * (series.len() + name.len()) + 64);
    for time in 0..2 {
        text.extend_from_slice(series);
        text.push(b' ');
        escape_name(name, &mut text);
        text.push(b'=');
        put_value(value, &mut text);
        let written = writeln!(text, " {time}");
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
    }
    let mut builder = BatchBuilder::new();
    let rejected = line::parse(&text, &LineOptions::new(Timestamp(0)), &mut AnySchema, &mut builder);
    let batch = builder.finish();
    let mut columns = batch.columns();
    let (Some((key, column)), None) = (columns.next(), columns.next()) else { return false };
    let is_equal = column.times() == [0, 1] && (0..2).all(|at| column.values().get(at) == value);
    rejected.is_empty() && key.series == series && key.field == name && is_equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_read_back_are_detected() {
        let reads = |series: &[u8], name: &[u8]| {
            FieldType::ALL.map(|field_type| reads_back(series, name, field_type))
        };
        for (series, name) in [
            (&b"m"[..], &b"v"[..]),
            (b"m\\ x\\,y,t=a\\=b", b"a b,c=\"d\""),
            (b"m=\"q\",t=\"q\"", b"\xff\xfe"),
            (b"m", b"a\\b"),
        ] {
            assert_eq!(reads(series, name), [true; 5], "{series:?} {name:?}");
        }
        for (series, name) in [
            (&b"m"[..], &b"a\\"[..]),
            (b"m", b"time"),
            (b"m", b""),
            (b"m", b"a\nb"),
            (b"#m", b"v"),
            (b"m,b=1,a=2", b"v"),
            (b"", b"v"),
            (b"m x", b"v"),
        ] {
            assert_eq!(reads(series, name), [false; 5], "{series:?} {name:?}");
        }
    }
}
