//! Writes values in the format that the user chose.

use clap::ValueEnum;

use super::lost::Lost;
use super::out::{Destination, Out};
use super::text::{Field, shown};
use super::{csv, jsonl, lp, table};
use crate::exit::{Failure, Result};

/// How values are written: line protocol, CSV, JSON lines, or a table for people. See the module of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Lp,
    Csv,
    Jsonl,
    Table,
}

/// The writer of values.
pub(crate) struct Rows {
    out: Out,
    format: Format,
    exact: bool,
    lost: Lost,
    series_width: usize,
    field_width: usize,
    names: lp::Names,
    header: bool,
    is_empty: bool,
    /// The current key, in formats that write something at the end of a key.
    open: Option<Vec<u8>>,
}

impl Rows {
    /// Writes `format` to `destination`. With `exact`, floats are the hex digits of their bits, and strings are hex.
    ///
    /// # Errors
    /// The format has no exact form.
    pub(crate) fn new(destination: &Destination, format: Format, exact: bool) -> Result<Self> {
        if exact && !matches!(format, Format::Jsonl | Format::Csv) {
            return Err(Failure::Usage(
                "--exact works with --format jsonl and csv; lp is always exact".to_owned(),
            ));
        }
        let out = Out::open(destination)?;
        let (lost, names) = (Lost::default(), lp::Names::default());
        Ok(Self {
            out,
            format,
            exact,
            lost,
            series_width: 0,
            field_width: 0,
            names,
            header: false,
            is_empty: true,
            open: None,
        })
    }

    /// Whether no value was passed to [`Self::series`].
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether the format needs all columns of a series at once.
    pub(crate) fn joins_fields(&self) -> bool {
        self.format == Format::Lp
    }

    /// Sets the widths of the columns for the keys that follow.
    pub(crate) fn announce<'k>(&mut self, keys: impl Iterator<Item = tsmith_engine::FieldKey<'k>>) {
        (self.series_width, self.field_width) = ("series".len(), "field".len());
        for key in keys {
            self.series_width = self.series_width.max(shown(key.series).chars().count());
            self.field_width = self.field_width.max(shown(key.field).chars().count());
        }
    }

    /// Writes the columns of one series. A key with many points comes in several parts.
    pub(crate) fn series(&mut self, series: &[u8], fields: &[Field<'_>]) -> Result<()> {
        self.is_empty &= fields.iter().all(|field| field.column.is_empty());
        if !self.header {
            self.header = true;
            self.write_header();
        }
        if self.format == Format::Lp {
            return lp::series(&mut self.out, &mut self.names, &mut self.lost, series, fields);
        }
        for field in fields.iter().filter(|field| !field.column.is_empty()) {
            match self.format {
                Format::Csv => csv::column(&mut self.out, self.exact, series, *field)?,
                Format::Jsonl => self.jsonl(series, *field)?,
                Format::Table | Format::Lp => {
                    table::column(&mut self.out, [self.series_width, self.field_width], series, *field)?;
                }
            }
        }
        Ok(())
    }

    fn jsonl(&mut self, series: &[u8], field: Field<'_>) -> Result<()> {
        let key = tsmith_engine::FieldKey::new(series, field.name);
        let goes_on = self.open.as_deref() == Some(&key.to_composite());
        if !goes_on {
            self.close_key()?;
            jsonl::begin(&mut self.out, key, field.column.field_type());
            self.open = Some(key.to_composite());
        }
        jsonl::values(&mut self.out, self.exact, &mut self.lost, field.column, goes_on)
    }

    fn close_key(&mut self) -> Result<()> {
        if self.open.take().is_some() { jsonl::end(&mut self.out) } else { Ok(()) }
    }

    fn write_header(&mut self) {
        match self.format {
            Format::Csv => self.out.text().extend_from_slice(csv::HEADER),
            Format::Table => table::header(&mut self.out, [self.series_width, self.field_width]),
            Format::Lp | Format::Jsonl => {}
        }
    }

    /// Writes the rest, and reports the values that the format cannot represent. Returns true if there are any.
    pub(crate) fn finish(mut self) -> Result<bool> {
        if !self.header {
            self.write_header();
        }
        self.close_key()?;
        self.out.finish()?;
        Ok(self.lost.report())
    }
}
