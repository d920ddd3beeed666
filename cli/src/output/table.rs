//! A table for people: time, series, field, value.

use std::io::Write;

use tsmith_engine::Value;

use super::out::Out;
use super::text::{Field, not_a_number, put_bool, put_float, put_number, shown};
use crate::clock;
use crate::exit::Result;

const TIME_WIDTH: usize = "2013-01-31T12:00:00.000000000Z".len();

/// Writes the names of the columns.
pub(super) fn header(out: &mut Out, [series, field]: [usize; 2]) {
    let written =
        writeln!(out.text(), "{:TIME_WIDTH$}  {:series$}  {:field$}  value", "time", "series", "field");
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

/// Writes the rows of a column.
pub(super) fn column(out: &mut Out, widths: [usize; 2], series: &[u8], field: Field<'_>) -> Result<()> {
    let [series_width, field_width] = widths;
    let (series, name) = (shown(series), shown(field.name));
    let middle = format!("  {series:series_width$}  {name:field_width$}  ");
    let values = field.column.values();
    let mut time_text = String::new();
    for (at, &time) in field.column.times().iter().enumerate() {
        time_text.clear();
        clock::write_rfc3339(time, &mut time_text);
        let text = out.text();
        text.extend_from_slice(time_text.as_bytes());
        text.extend_from_slice(middle.as_bytes());
        match values.get(at) {
            Value::Float(value) => match not_a_number(value) {
                Some(name) => text.extend_from_slice(name.as_bytes()),
                None => put_float(value, text),
            },
            Value::Integer(value) => put_number(value, text),
            Value::Unsigned(value) => put_number(value, text),
            Value::Boolean(value) => put_bool(value, text),
            Value::String(value) => text.extend_from_slice(shown(value).as_bytes()),
        }
        text.push(b'\n');
        out.spill()?;
    }
    Ok(())
}
