//! Values as text: line protocol, CSV, JSON lines, and a table to look at.
//!
//! A writer gets columns of one series at a time and keeps account of what its format could not say.

mod csv;
mod file;
mod jsonl;
mod lp;
mod table;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::{ColumnRef, FieldType};

use self::file::OutputFile;
use crate::exit::{Failure, Result, complain};

/// Text is handed on in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 18;

/// Things of one kind that are named before they are only counted.
const EXAMPLES_MAX: usize = 10;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Line protocol, times in nanoseconds; `tsmith import` reads it back.
    Lp,
    /// One row a value: series,field,time,type,value; an empty string is "".
    Csv,
    /// One object a key: `{"key":"cpu,host=a#!~#v","type":"float","values":[[time,value],...]}`.
    Jsonl,
    /// Columns that line up.
    Table,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    /// Write to this file instead of stdout; it must not exist, and appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// Text on its way out.
pub(crate) struct Out {
    buffer: Vec<u8>,
    to: To,
    name: PathBuf,
}

enum To {
    Stdout(io::StdoutLock<'static>),
    File(OutputFile),
}

impl Out {
    /// Stdout.
    pub(crate) fn stdout() -> Self {
        Self { buffer: Vec::new(), to: To::Stdout(io::stdout().lock()), name: "stdout".into() }
    }

    /// The destination.
    pub(crate) fn open(destination: &Destination) -> Result<Self> {
        let Some(path) = destination.output.as_deref().filter(|path| *path != Path::new("-")) else {
            return Ok(Self::stdout());
        };
        let file = OutputFile::create(path, destination.force)?;
        Ok(Self { buffer: Vec::new(), to: To::File(file), name: path.to_owned() })
    }

    /// Where to append text.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands text on when there is much of it.
    pub(crate) fn spill(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Hands all text on.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let to: &mut dyn Write = match &mut self.to {
            To::Stdout(stdout) => stdout,
            To::File(file) => file,
        };
        let written = to.write_all(&self.buffer).and_then(|()| to.flush());
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::io(&self.name, &error),
        })
    }

    /// Hands all text on; an output file gets its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.to {
            To::Stdout(_) => Ok(()),
            To::File(file) => file.finish(),
        }
    }
}

/// One column of the series that is being written.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Name of the field, as it is.
    pub(crate) name: &'a [u8],
    /// Its points, or the next of them.
    pub(crate) column: ColumnRef<'a>,
}

/// Values as text.
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
    /// The key whose points are being written, in formats that begin and end it.
    open: Option<Vec<u8>>,
}

impl Rows {
    /// Writes `format` to `destination`; with `exact` floats as the hex digits of their bits, strings as those of their
    /// bytes.
    ///
    /// # Errors
    /// `exact` with a format that has no such form.
    pub(crate) fn new(destination: &Destination, format: Format, exact: bool) -> Result<Self> {
        if exact && !matches!(format, Format::Jsonl | Format::Csv) {
            return Err(Failure::Usage(
                "--exact is for --format jsonl and csv; lp is exact as it is".to_owned(),
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

    /// Whether no value was handed over to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether all columns of a series are wanted at once.
    pub(crate) fn joins_fields(&self) -> bool {
        self.format == Format::Lp
    }

    /// Says how long series and fields are at most, for formats whose columns line up.
    pub(crate) fn announce<'k>(&mut self, keys: impl Iterator<Item = tsmith_engine::FieldKey<'k>>) {
        (self.series_width, self.field_width) = ("series".len(), "field".len());
        for key in keys {
            self.series_width = self.series_width.max(shown(key.series).chars().count());
            self.field_width = self.field_width.max(shown(key.field).chars().count());
        }
    }

    /// Writes the columns of one series; of a key with many points one part after the other.
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

    /// Writes what is left, and reports what could not be said. True when there was something.
    pub(crate) fn finish(mut self) -> Result<bool> {
        if !self.header {
            self.write_header();
        }
        self.close_key()?;
        self.out.finish()?;
        Ok(self.lost.report())
    }
}

/// What a format could not say.
#[derive(Debug, Default)]
struct Lost {
    floats: u64,
    times: u64,
    names: u64,
    strings: u64,
    examples: usize,
}

impl Lost {
    /// Names one, if not too many were named.
    fn example(&mut self, text: impl FnOnce() -> String) {
        self.examples += 1;
        if self.examples <= EXAMPLES_MAX {
            complain(&text());
        }
    }

    fn report(&self) -> bool {
        let exact = "`--format jsonl --exact` writes them";
        for (count, what) in [
            (
                self.floats,
                format!("NaN or infinite values left out: line protocol has no form for them; {exact}"),
            ),
            (self.times, format!("values left out for times that line protocol does not take; {exact}")),
            (self.names, format!("values left out for names that line protocol cannot hold; {exact}")),
            (
                self.strings,
                "strings that are not UTF-8, written with U+FFFD; --exact or --format lp keeps them"
                    .to_owned(),
            ),
        ] {
            if count > 0 {
                complain(&format!("{count} {what}"));
            }
        }
        self.floats + self.times + self.names + self.strings > 0
    }
}

/// Appends the shortest text that reads back as the same float. Not for NaN and infinities.
fn put_float(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    let plain = size == 0.0 || (1e-5..1e16).contains(&size);
    let written = if plain { write!(out, "{value}") } else { write!(out, "{value:e}") };
    debug_assert!(written.is_ok(), "vectors take all");
}

/// Appends a number as its digits.
fn put_number(value: impl fmt::Display, out: &mut Vec<u8>) {
    let written = write!(out, "{value}");
    debug_assert!(written.is_ok(), "vectors take all");
}

fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

fn put_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `NaN`, `Infinity`, `-Infinity`; `None` for numbers.
fn not_a_number(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// The composite key and its type, for messages.
fn key_shown(series: &[u8], field: &[u8], field_type: FieldType) -> String {
    format!("{} ({field_type})", tsmith_engine::FieldKey::new(series, field))
}

/// A name, key or string as people read it. As a name it is also what the filters take.
pub(crate) fn shown(name: &[u8]) -> String {
    printable(&to_text(name)).into_owned()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: impl fmt::Display + PartialEq + From<u8> + Copy, thing: &str) -> String {
    let plural = if number == 1.into() { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
