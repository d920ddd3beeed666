//! Line protocol to a batch, by the rules of InfluxDB 1.x.
//!
//! Two parsers, one result. [`fast`](self) takes the lines nearly everybody sends: no backslash, no line end in a
//! string, sorted tags, single spaces. It reads each byte once, finds the fields where the series' last line had them, and gives up at the first
//! byte that is not plain. [`exact`](self) then reads the line again by the original's rules, quirks and error texts
//! included. A line is good or bad as a whole; bad ones are reported with number and reason, and the rest goes on.

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

/// The unit of the times in the text.
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

    /// The unit called `ns` (or `n`), `us` (or `u`), `ms`, `s`, `m` or `h`.
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

/// How to read the text.
#[derive(Clone, Copy, Debug)]
pub struct LineOptions {
    /// The unit of its times.
    pub precision: Precision,
    /// The time of points that have none; cut to the precision.
    pub default_time: Timestamp,
    /// Whether `1u` is an unsigned integer. InfluxDB 1.x as shipped refuses it; the engine takes it by default.
    pub unsigned: bool,
    /// Longest line with a line end in it, in a string or behind a backslash. A longer one is cut at its first line end.
    /// So is a line with more than 256 such strings, or with more than 32 such backslashes outside strings.
    pub string_line_bytes_max: usize,
    /// Whether measurements and fields must be UTF-8. A shard of InfluxDB requires it, whatever is set here.
    pub utf8_names: bool,
    /// What becomes of a value whose type is not that of its field.
    pub on_conflict: OnConflict,
}

/// The default of [`LineOptions::string_line_bytes_max`].
pub const STRING_LINE_BYTES_MAX: usize = 1 << 20;

impl LineOptions {
    /// Nanoseconds, unsigned integers, this time for points without one, and no widening.
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

/// What the caller knows of fields and has to say of new ones. Asked once a batch and column, never once a value.
pub trait Schema {
    /// A point whose `columns`, with name and type, are the first of their series and field in this batch. The schema
    /// takes all of them or none: an `Err` drops the point, and nothing of it is remembered.
    ///
    /// # Errors
    /// The columns whose fields have another type already: at least one.
    fn point(
        &mut self,
        series: SeriesKey<'_>,
        columns: &[(Cow<'_, [u8]>, FieldType)],
    ) -> Result<(), Vec<Conflict>>;

    /// So many values of a good point became floats; see [`OnConflict::Widen`].
    fn widened(&mut self, _values: u64) {}
}

/// A column whose field has another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its place among the columns.
    pub at: usize,
    /// The type of the field.
    pub existing: FieldType,
}

/// Every field is new and welcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnySchema;

impl Schema for AnySchema {
    fn point(&mut self, _: SeriesKey<'_>, _: &[(Cow<'_, [u8]>, FieldType)]) -> Result<(), Vec<Conflict>> {
        Ok(())
    }
}

/// A line that did not become a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Number of the line in the text, from 1. A string value may hold line ends: this is the line it begins on.
    pub line: usize,
    /// Where it stands in the text, leading blanks left out.
    pub bytes: Range<usize>,
    /// What was wrong.
    pub reason: Reason,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Why a line was rejected. The texts are InfluxDB's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each text says what its reason is")]
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
    #[error("the series key holds `#!~#`, which separates series and field in files")]
    SeparatorInKey,
    #[error("invalid tag key: input tag \"time\" on measurement \"{measurement}\" is invalid")]
    TagNamedTime { measurement: String },
    #[error("invalid field name: input field \"time\" on measurement \"{measurement}\" is invalid")]
    OnlyFieldNamedTime { measurement: String },
    #[error("the {what} \"{name}\" is not UTF-8, and influxd opens no shard that holds it: rename it")]
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
    /// Whether the text was in order and the point was refused for what the shard holds, as InfluxDB's
    /// `partial write` reports.
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

/// Reads every line of `input` into `builder`, and gives the lines that did not become points.
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

/// Length of the first line of `text`, its line end included: for cutting a stream into texts that [`parse`] reads as it
/// would read the whole. `None` when the end of the line may lie beyond `text`; with `complete` nothing lies there.
///
/// The end is exactly the one that [`parse`] takes with the same [`LineOptions::string_line_bytes_max`]: a line end inside
/// a string is part of the line, if the string closes and the line has the form of a point.
pub fn first_line(text: &[u8], complete: bool, string_line_bytes_max: usize) -> Option<usize> {
    cut_line(text, complete, string_line_bytes_max).map(|line| line.len)
}

/// The first line of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// Its length, its line end included.
    pub len: usize,
    /// Whether it ends at its first line end only because it is longer than [`LineOptions::string_line_bytes_max`]. A
    /// torn line whose string does not close looks the same.
    pub is_cut: bool,
}

/// As [`first_line`], and says whether the limit ends the line.
pub fn cut_line(text: &[u8], complete: bool, string_line_bytes_max: usize) -> Option<FirstLine> {
    let whole = |len| FirstLine { len, is_cut: false };
    if let Some(end) = plain_line_end(text) {
        return Some(whole(end + 1));
    }
    if memchr::memchr(b'\n', text).is_none() {
        return (complete && !text.is_empty()).then_some(whole(text.len()));
    }
    let spanning = exact::spanning_end(text, 0, string_line_bytes_max);
    // What a backslash takes with it depends on whether anything follows.
    if !complete && spanning.is_ok_and(|end| end + 1 >= text.len()) {
        return None;
    }
    let len = text.len().min(exact::choose_end(text, 0, spanning.ok()) + 1);
    Some(FirstLine { len, is_cut: spanning == Err(exact::NoEnd::TooLong) })
}

/// [`exact::line_end`] of a line without a backslash and without a line end in a string, by leaps.
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
        // A quote opens a string behind an equals sign that no comma has ended, and nowhere else.
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
    /// Fields of the present point that are the first of their columns: the schema hears of them when the point is
    /// known to be good.
    fresh: Vec<(Cow<'a, [u8]>, FieldType)>,
    widening: Widening,
}

impl<S: Schema> Parser<'_, '_, S> {
    /// Reads every line, with `fast` where it takes the line and exactly where it does not.
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

    /// Ends a good point, unless the schema refuses one of its fields.
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

    /// Why a point is refused. When it only has integers for fields that are floats, another attempt may widen these.
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

/// Numbers lines on demand, so that good text is not counted twice.
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
