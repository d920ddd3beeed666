//! Line protocol to a batch, by the rules of InfluxDB 1.x.
//!
//! Two parsers, one result. [`fast`](self) takes the lines nearly everybody sends: no backslash, sorted tags, single
//! spaces. It reads each byte once, finds the fields where the series' last line had them, and gives up at the first
//! byte that is not plain. [`exact`](self) then reads the line again by the original's rules, quirks and error texts
//! included. A line is good or bad as a whole; bad ones are reported with number and reason, and the rest goes on.

mod exact;
mod fast;
mod number;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use tsmith_codecs::{BatchBuilder, FieldType, KEY_BYTES_MAX, SeriesKey, Timestamp};

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
}

impl LineOptions {
    /// Nanoseconds, unsigned integers, and this time for points without one.
    pub fn new(default_time: Timestamp) -> Self {
        Self { precision: Precision::Nanosecond, default_time, unsigned: true }
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
    /// The first value of a column of this batch. An `Err` with the type the field has already drops the point.
    fn field(&mut self, series: SeriesKey<'_>, field: &[u8], field_type: FieldType) -> Result<(), FieldType>;
}

/// Every field is new and welcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnySchema;

impl Schema for AnySchema {
    fn field(&mut self, _: SeriesKey<'_>, _: &[u8], _: FieldType) -> Result<(), FieldType> {
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
    #[error(
        "field type conflict: input field \"{field}\" on measurement \"{measurement}\" is type {incoming}, \
         already exists as type {existing}"
    )]
    FieldTypeConflict { measurement: String, field: String, incoming: FieldType, existing: FieldType },
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
                | Self::FieldTypeConflict { .. }
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
    let mut parser = Parser { input, options, default_time, schema, builder, fresh };
    parser.lines(Parser::fast_line)
}

/// Length of the first line of `text`, its line end included: for cutting a stream into texts that [`parse`] reads as it
/// would read the whole. `None` when the end of the line may lie beyond `text`; with `complete` nothing lies there.
///
/// The end is exactly the one that [`parse`] takes: a line end inside a string is part of the line.
pub fn first_line(text: &[u8], complete: bool) -> Option<usize> {
    if let Some(end) = plain_line_end(text) {
        return Some(end + 1);
    }
    let end = exact::line_end(text, 0);
    // What a backslash takes with it depends on whether anything follows.
    match text.len() {
        0 => None,
        len if end + 1 < len => Some(end + 1),
        len => complete.then_some(len),
    }
}

/// [`exact::line_end`] of a line without a backslash, by leaps.
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
            let close = memchr::memchr2(b'"', b'\\', inner).filter(|&close| inner[close] == b'"')?;
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
        for (field, field_type) in self.fresh.drain(..) {
            let refused = |existing| Reason::conflict(series, &field, field_type, existing);
            self.schema.field(SeriesKey(series), &field, field_type).map_err(refused)?;
        }
        self.builder.commit(time);
        Ok(())
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Points = Vec<(Vec<u8>, tsmith_codecs::Column)>;

    fn points(input: &[u8], fast: bool) -> (Points, Vec<Rejected>) {
        let options = LineOptions::new(Timestamp(77));
        let mut builder = BatchBuilder::new();
        let (schema, default_time, fresh) = (&mut AnySchema, 77, Vec::new());
        let builder_ref = &mut builder;
        let mut parser =
            Parser { input, options: &options, default_time, schema, builder: builder_ref, fresh };
        let rejected = if fast { parser.lines(Parser::fast_line) } else { parser.lines(|_, _| None) };
        let batch = builder.finish();
        let mut points: Points =
            batch.columns().map(|(key, column)| (key.to_composite(), column.to_column())).collect();
        // The exact parser begins a series later than the fast one: their order is no promise.
        points.sort_by(|a, b| a.0.cmp(&b.0));
        (points, rejected)
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "cpu",
                "m",
                ",",
                " ",
                "=",
                "\n",
                "\"",
                "\\",
                "i",
                "u",
                "-",
                ".",
                "e",
                "t",
                "true",
                "False",
                "#",
                "time",
                "0",
                "12",
                "3.5",
                "\t",
                "\0",
                "host=a",
                "v=1",
                "s=\"a b\"",
                "9223372036854775807",
                " 17",
            ])
            .prop_map(str::to_owned),
            Just("cpu,host=a v=1.5,w=2i,s=\"x y\",b=t 10\n".to_owned()),
            Just("cpu,host=a v=2.5,s=\"\",w=-2i 11\n".to_owned()),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The fast parser is the exact one, only faster.
        #[test]
        fn both_parsers_give_the_same_points_and_errors(text in pieces()) {
            prop_assert_eq!(points(text.as_bytes(), true), points(text.as_bytes(), false));
        }

        #[test]
        fn any_bytes_are_points_or_errors_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(points(&bytes, true), points(&bytes, false));
        }
    }

    proptest! {
        /// Texts that are cut where `first_line` says parse to what the whole parses to, wherever the stream stops.
        #[test]
        fn a_cut_stream_is_the_whole_text(text in pieces(), read in 1_usize..40) {
            let text = text.as_bytes();
            let (mut at, mut have, mut parts) = (0, 0, Vec::new());
            while at < text.len() {
                match first_line(&text[at..have], have == text.len()) {
                    Some(len) => {
                        parts.extend(points(&text[at..at + len], true).0);
                        at += len;
                    }
                    None => have = text.len().min(have + read),
                }
            }
            let sorted = |parts: Points| {
                let mut values: Vec<_> = parts.iter().flat_map(|(key, column)| {
                    (0..column.len()).map(move |i| format!(
                        "{key:?} {} {:?}", column.times()[i], column.values().as_ref().get(i)
                    ))
                }).collect();
                values.sort();
                values
            };
            // A conflict of types is one of the batch, so it may end at a cut.
            let whole = points(text, true);
            if whole.1.iter().all(|bad| !bad.reason.is_of_the_schema()) {
                prop_assert_eq!(sorted(parts), sorted(whole.0));
            }
        }
    }

    proptest! {
        #[test]
        fn leaps_end_where_steps_do(text in pieces()) {
            let text = text.as_bytes();
            if let Some(end) = plain_line_end(text) {
                prop_assert_eq!(end, exact::line_end(text, 0));
            } else {
                let end = exact::line_end(text, 0);
                prop_assert!(end == text.len() || text[..end].contains(&b'\\'));
            }
        }
    }

    #[test]
    fn a_line_ends_where_the_parser_ends_it() {
        assert_eq!(first_line(b"", true), None);
        assert_eq!(first_line(b"m v=1", false), None);
        assert_eq!(first_line(b"m v=1", true), Some(5));
        assert_eq!(first_line(b"m v=1\n", false), Some(6));
        assert_eq!(first_line(b"m s=\"a\nb\"\nm v=1", false), Some(10));
        assert_eq!(first_line(b"m\\\n", false), None, "what follows decides");
        assert_eq!(first_line(b"m\\\nx v=1\n ", false), Some(9));
    }

    #[test]
    fn bad_lines_are_numbered_and_good_ones_kept() {
        let text = b"m v=1 1\n# note\n\nm v= 2\nm s=\"two\nlines\" 3\nm v=x 4\nm v=5 5";
        let (points, rejected) = points(text, true);
        let shown: Vec<String> = rejected.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["line 4: missing field value", "line 7: invalid boolean"]);
        assert_eq!(points.iter().map(|(_, column)| column.len()).sum::<usize>(), 3);
    }
}
