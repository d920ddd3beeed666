//! Parses line protocol into a batch, by the rules of InfluxDB 1.x.
//!
//! Two parsers give one result. [`fast`](self) reads plain lines: no backslash, no line end in a string,
//! sorted tags, single spaces. It reads each byte once, expects the fields of the series' previous line, and
//! gives up at the first byte that is not plain. [`exact`](self) then reads the line again by InfluxDB's
//! rules, including its quirks and error texts. A line is accepted or rejected as a whole. Rejected lines are
//! reported with number and reason; the other lines are written.

mod exact;
mod fast;
mod number;
mod widen;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use tsmith_codecs::{BatchBuilder, FieldType, KEY_BYTES_MAX, SeriesKey, Timestamp};

pub use widen::OnConflict;
use widen::{Widening, is_wider};

/// The unit of times in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 1 ns.
    #[default]
    Nanosecond,
    /// 1,000 ns.
    Microsecond,
    /// 1,000,000 ns.
    Millisecond,
    /// 1,000,000,000 ns.
    Second,
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
}

impl Precision {
    /// Length of the unit in nanoseconds.
    pub fn nanoseconds(self) -> i64 {
        match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    /// Parses `ns` (or `n`), `us` (or `u`), `ms`, `s`, `m` or `h`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ns" | "n" => Self::Nanosecond,
            "us" | "u" => Self::Microsecond,
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            _ => return None,
        })
    }
}

/// How to parse the text.
#[derive(Clone, Copy, Debug)]
pub struct LineOptions {
    /// The unit of its times.
    pub precision: Precision,
    /// The time of points that have none, truncated to the precision.
    pub default_time: Timestamp,
    /// Whether `1u` is an unsigned integer. InfluxDB 1.x as shipped refuses it; the default here is true.
    pub unsigned: bool,
    /// Maximum length of a line that contains a line end, in a string or after a backslash. A longer line
    /// ends at its first line end. So does a line with more than 256 such strings, or with more than 32 such
    /// backslashes outside strings.
    pub string_line_bytes_max: usize,
    /// Whether names of measurements and fields must be UTF-8. InfluxDB shards always require it.
    pub utf8_names: bool,
    /// What happens to a value whose type differs from its field's type.
    pub on_conflict: OnConflict,
}

/// The default of [`LineOptions::string_line_bytes_max`].
pub const STRING_LINE_BYTES_MAX: usize = 1 << 20;

impl LineOptions {
    /// Nanoseconds, unsigned integers accepted, `default_time` for points without a time, no widening.
    pub fn new(default_time: Timestamp) -> Self {
        Self {
            precision: Precision::Nanosecond,
            default_time,
            unsigned: true,
            string_line_bytes_max: STRING_LINE_BYTES_MAX,
            utf8_names: false,
            on_conflict: OnConflict::Reject,
        }
    }

    fn cut_default_time(&self) -> i64 {
        let unit = self.precision.nanoseconds();
        self.default_time.0 - self.default_time.0.rem_euclid(unit)
    }

    /// Scales a time of the text to nanoseconds.
    fn scale(&self, time: i64) -> Result<i64, Reason> {
        let scaled = time.checked_mul(self.precision.nanoseconds()).ok_or(Reason::TimeOutsideRange)?;
        let inside = (Timestamp::MIN.0..=Timestamp::MAX.0).contains(&scaled);
        inside.then_some(scaled).ok_or(Reason::TimeOutsideRange)
    }
}

/// What the caller knows about fields. Called once per batch and column, never once per value.
pub trait Schema {
    /// Checks a point whose `columns`, with name and type, are the first of their series and field in this
    /// batch. The schema accepts all columns or none. On `Err` the point is dropped and the schema keeps
    /// nothing of it.
    ///
    /// # Errors
    /// The columns whose fields already have another type: at least one.
    fn point(
        &mut self,
        series: SeriesKey<'_>,
        columns: &[(Cow<'_, [u8]>, FieldType)],
    ) -> Result<(), Vec<Conflict>>;

    /// Reports that `values` integers of an accepted point became floats; see [`OnConflict::Widen`].
    fn widened(&mut self, _values: u64) {}
}

/// A column whose field has another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its index among the columns.
    pub at: usize,
    /// The type of the field.
    pub existing: FieldType,
}

/// A schema that accepts every field.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnySchema;

impl Schema for AnySchema {
    fn point(&mut self, _: SeriesKey<'_>, _: &[(Cow<'_, [u8]>, FieldType)]) -> Result<(), Vec<Conflict>> {
        Ok(())
    }
}

/// A line that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Line number in the text, from 1. If a string contains line ends, this is the number of the line where
    /// the point begins.
    pub line: usize,
    /// Its position in the text, without leading blanks.
    pub bytes: Range<usize>,
    /// Why it was rejected.
    pub reason: Reason,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Why a line was rejected. Most texts are InfluxDB's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of each variant describes it")]
pub enum Reason {
    #[error("missing measurement")]
    MissingMeasurement,
    #[error("missing tag key")]
    MissingTagKey,
    #[error("missing tag value")]
    MissingTagValue,
    #[error("invalid tag format")]
    InvalidTagFormat,
    #[error("duplicate tags")]
    DuplicateTags,
    #[error("missing fields")]
    MissingFields,
    #[error("missing field key")]
    MissingFieldKey,
    #[error("missing field value")]
    MissingFieldValue,
    #[error("invalid field format")]
    InvalidFieldFormat,
    #[error("invalid number")]
    InvalidNumber,
    #[error("invalid float")]
    InvalidFloat,
    #[error("unable to parse integer {text}: strconv.ParseInt: parsing \"{text}\": value out of range")]
    IntegerOutOfRange { text: String },
    #[error("unable to parse unsigned {text}: strconv.ParseUint: parsing \"{text}\": value out of range")]
    UnsignedOutOfRange { text: String },
    #[error("invalid boolean")]
    InvalidBoolean,
    #[error("unbalanced quotes")]
    UnbalancedQuotes,
    #[error("invalid value: field-key={key}")]
    InvalidValue { key: String },
    #[error("bad timestamp")]
    BadTimestamp,
    #[error("strconv.ParseInt: parsing \"{text}\": {what}")]
    TimeNotAnInteger { text: String, what: &'static str },
    #[error("time outside range {min} - {max}", min = Timestamp::MIN.0, max = Timestamp::MAX.0)]
    TimeOutsideRange,
    #[error("point is invalid")]
    TrailingText,
    #[error("max key length exceeded: {bytes} > {max}", max = KEY_BYTES_MAX)]
    KeyTooLong { bytes: usize },
    #[error("the series key contains `#!~#`, which separates series and field in files: rename the series")]
    SeparatorInKey,
    #[error("invalid tag key: input tag \"time\" on measurement \"{measurement}\" is invalid")]
    TagNamedTime { measurement: String },
    #[error("invalid field name: input field \"time\" on measurement \"{measurement}\" is invalid")]
    OnlyFieldNamedTime { measurement: String },
    #[error(
        "the {what} \"{name}\" is not UTF-8, and influxd cannot open a shard that contains it: rename it"
    )]
    NotUtf8 { what: &'static str, name: String },
    #[error(
        "field type conflict: input field \"{field}\" on measurement \"{measurement}\" is type {incoming}, \
         already exists as type {existing}"
    )]
    FieldTypeConflict { measurement: String, field: String, incoming: FieldType, existing: FieldType },
    #[error(
        "input field \"{field}\" on measurement \"{measurement}\" is type float, and {value} is no exact float: write a float"
    )]
    NotAnExactFloat { measurement: String, field: String, value: String },
    #[error(
        "field type conflict: input field \"{field}\" on measurement \"{measurement}\" is type float, already exists as \
         type {existing}, and stored values are not widened: import the lines with floats first, into a new directory"
    )]
    StoredAsInteger { measurement: String, field: String, existing: FieldType },
}

impl Reason {
    /// Whether the line is valid but the shard refuses the point. InfluxDB reports these as `partial write`.
    pub fn is_of_the_schema(&self) -> bool {
        matches!(
            self,
            Self::SeparatorInKey
                | Self::TagNamedTime { .. }
                | Self::OnlyFieldNamedTime { .. }
                | Self::NotUtf8 { .. }
                | Self::FieldTypeConflict { .. }
                | Self::NotAnExactFloat { .. }
                | Self::StoredAsInteger { .. }
        )
    }

    fn conflict(series: &[u8], field: &[u8], incoming: FieldType, existing: FieldType) -> Self {
        Self::FieldTypeConflict {
            measurement: text(SeriesKey(series).measurement()),
            field: text(field),
            incoming,
            existing,
        }
    }
}

fn check_utf8(measurement: &[u8], field: &[u8]) -> Result<(), Reason> {
    for (what, name) in [("measurement", measurement), ("field", field)] {
        if std::str::from_utf8(name).is_err() {
            return Err(Reason::NotUtf8 { what, name: text(name) });
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    tsmith_codecs::name::to_text(bytes).into_owned()
}

/// Parses every line of `input` into `builder`. Returns the rejected lines.
pub fn parse<'a>(
    input: &'a [u8],
    options: &LineOptions,
    schema: &mut impl Schema,
    builder: &mut BatchBuilder<'a>,
) -> Vec<Rejected> {
    let (default_time, fresh) = (options.cut_default_time(), Vec::new());
    let widening = Widening::default();
    let mut parser = Parser { input, options, default_time, schema, builder, fresh, widening };
    parser.lines(Parser::fast_line)
}

/// The first line of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// Its length, including its line end.
    pub len: usize,
    /// Whether it ends at its first line end only because it is longer than
    /// [`LineOptions::string_line_bytes_max`]. A line with an unclosed string looks the same.
    pub is_cut: bool,
}

/// Finds the first line of `text`. It cuts a stream into texts that [`parse`] reads as it would read the
/// complete stream. Returns `None` if the line may continue after `text`. With `complete`, nothing follows
/// `text`.
///
/// The result agrees with [`parse`] at the same [`LineOptions::string_line_bytes_max`]. A line end inside a
/// string is part of the line if the string closes and the line has the form of a point.
pub fn first_line(text: &[u8], complete: bool, string_line_bytes_max: usize) -> Option<FirstLine> {
    let whole = |len| FirstLine { len, is_cut: false };
    if let Some(end) = plain_line_end(text) {
        return Some(whole(end + 1));
    }
    if memchr::memchr(b'\n', text).is_none() {
        return (complete && !text.is_empty()).then_some(whole(text.len()));
    }
    let spanning = exact::spanning_end(text, 0, string_line_bytes_max);
    // What follows a backslash decides whether it is part of the line.
    if !complete && spanning.is_ok_and(|end| end + 1 >= text.len()) {
        return None;
    }
    let len = text.len().min(exact::choose_end(text, 0, spanning.ok()) + 1);
    Some(FirstLine { len, is_cut: spanning == Err(exact::NoEnd::TooLong) })
}

/// Fast version of [`exact::line_end`] for a line without a backslash and without a line end in a string.
fn plain_line_end(text: &[u8]) -> Option<usize> {
    let mut at = memchr::memchr3(b' ', b'\\', b'\n', text)?;
    let mut open_values = 0;
    loop {
        let rest = &text[at..];
        let step = memchr::memchr3(b'"', b'\\', b'\n', rest)?;
        match rest[step] {
            b'\n' => return Some(at + step),
            b'\\' => return None,
            _ => {}
        }
        // A quote opens a string only after an equals sign that no comma has ended.
        open_values += rest[..step].iter().map(|&b| i64::from(b == b'=') - i64::from(b == b',')).sum::<i64>();
        at += step + 1;
        if open_values > 0 {
            let inner = &text[at..];
            let close = memchr::memchr3(b'"', b'\\', b'\n', inner).filter(|&close| inner[close] == b'"')?;
            at += close + 1;
        }
    }
}

struct Parser<'a, 'p, S> {
    input: &'a [u8],
    options: &'p LineOptions,
    default_time: i64,
    schema: &'p mut S,
    builder: &'p mut BatchBuilder<'a>,
    /// Fields of the current point that are the first of their columns. The schema sees them only if the
    /// point is valid.
    fresh: Vec<(Cow<'a, [u8]>, FieldType)>,
    widening: Widening,
}

impl<S: Schema> Parser<'_, '_, S> {
    /// Parses every line: with `fast` if it accepts the line, else with the exact parser.
    fn lines(&mut self, fast: impl Fn(&mut Self, usize) -> Option<usize>) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let mut count = LineCount { input: self.input, counted: 0, line: 1 };
        let mut at = 0;
        while at < self.input.len() {
            if let Some(next) = fast(self, at) {
                at = next;
                continue;
            }
            self.abort();
            let (next, outcome) = self.exact_line(at);
            if let Err((bytes, reason)) = outcome {
                self.abort();
                rejected.push(Rejected { line: count.at(at), bytes, reason });
            }
            at = next;
        }
        rejected
    }

    /// Commits a valid point unless the schema refuses one of its fields.
    fn commit(&mut self, series: &[u8], time: i64) -> Result<(), Reason> {
        if !self.fresh.is_empty() {
            if self.options.utf8_names {
                let measurement = SeriesKey(series).measurement();
                self.fresh.iter().try_for_each(|(field, _)| check_utf8(measurement, field))?;
            }
            self.schema
                .point(SeriesKey(series), &self.fresh)
                .map_err(|conflicts| self.refuse(series, &conflicts))?;
            self.fresh.clear();
        }
        self.builder.commit(time);
        Ok(())
    }

    /// The reason to refuse a point. If the only conflicts are integers for float fields, the caller may
    /// widen them and retry.
    #[cold]
    fn refuse(&mut self, series: &[u8], conflicts: &[Conflict]) -> Reason {
        let stays = conflicts.iter().find(|conflict| !is_wider(conflict.existing, self.fresh[conflict.at].1));
        if stays.is_none() && self.options.on_conflict == OnConflict::Widen {
            self.widening.floats =
                conflicts.iter().map(|conflict| self.fresh[conflict.at].0.to_vec()).collect();
        }
        let Conflict { at, existing } = *stays.unwrap_or(&conflicts[0]);
        let (field, field_type) = &self.fresh[at];
        Reason::conflict(series, field, *field_type, existing)
    }

    fn abort(&mut self) {
        self.fresh.clear();
        self.builder.abort();
    }
}

/// Numbers lines on demand, so that lines are counted only if one is rejected.
struct LineCount<'a> {
    input: &'a [u8],
    counted: usize,
    line: usize,
}

impl LineCount<'_> {
    fn at(&mut self, offset: usize) -> usize {
        self.line += memchr::memchr_iter(b'\n', &self.input[self.counted..offset]).count();
        self.counted = offset;
        self.line
    }
}

#[cfg(test)]
mod tests;
