//! The filters of `query`, `export` and `delete`: which keys and times are selected.

use std::ffi::OsString;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use tsmith_codecs::SeriesKey;
use tsmith_codecs::name::from_text;
use tsmith_engine::{FieldKey, TimeRange};

use crate::clock;
use crate::exit::{Failure, Result, complain};
use crate::output::shown;

/// Bytes that a backslash can escape in a measurement, and in a tag.
const MEASUREMENT_ESCAPES: &[u8] = b", ";
const TAG_ESCAPES: &[u8] = b",= ";

/// The filter flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters (names are written as `query` prints them, see docs/filters.md)")]
pub(crate) struct FilterArgs {
    /// Only this measurement
    #[arg(long, value_name = "M", value_parser = name(MEASUREMENT_ESCAPES))]
    measurement: Option<Name>,
    /// Only series with this tag; repeat to require several tags
    #[arg(long, value_name = "K=V", value_parser = tag())]
    tag: Vec<Tag>,
    /// Only this field; repeat to select several fields
    #[arg(long, value_name = "F", value_parser = name(b""))]
    field: Vec<Name>,
    /// From this time on: 2013-01-31T12:00:00Z, 1359633600s, nanoseconds, or -1h
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    start: Option<i64>,
    /// Up to and including this time
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    end: Option<i64>,
}

/// A name from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    /// With the backslashes of line protocol, as given.
    given: Vec<u8>,
    /// Without those backslashes.
    plain: Vec<u8>,
}

/// A tag from the command line. Name and value are without the backslashes of line protocol.
#[derive(Clone, Debug)]
struct Tag {
    name: Vec<u8>,
    value: Vec<u8>,
    given: Vec<u8>,
}

/// Parses a name in which a backslash escapes the bytes of `escaped`.
pub(crate) fn name(escaped: &'static [u8]) -> impl TypedValueParser<Value = Name> {
    OsStringValueParser::new().try_map(|text| match argument(text) {
        given if given.is_empty() => Err("the name is empty"),
        given => Ok(Name { plain: unescape(&given, escaped), given }),
    })
}

/// Parses the value of `--tag`. An equals sign in the name is escaped, as in a series key.
fn tag() -> impl TypedValueParser<Value = Tag> {
    OsStringValueParser::new().try_map(|text| {
        let given = argument(text);
        match split_tag(&given) {
            (name, Some(value)) if !name.is_empty() => Ok(Tag { name, value, given }),
            _ => Err("expected KEY=VALUE"),
        }
    })
}

/// The bytes of an argument, with `\xNN` decoded. On Unix an argument may contain any bytes.
fn argument(text: OsString) -> Vec<u8> {
    from_text(&text.into_encoded_bytes())
}

impl Name {
    /// The bytes of the name.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.plain
    }

    /// The name as it is printed.
    pub(crate) fn shown(&self) -> String {
        shown(&self.given)
    }
}

impl FilterArgs {
    /// The selected times.
    ///
    /// # Errors
    /// The start is after the end.
    pub(crate) fn range(&self) -> Result<TimeRange> {
        let range = TimeRange::new(self.start.unwrap_or(i64::MIN), self.end.unwrap_or(i64::MAX));
        if range.min > range.max {
            let [start, end] = [range.min, range.max].map(clock::rfc3339_text);
            return Err(Failure::Usage(format!("--start ({start}) is later than --end ({end}); swap them")));
        }
        Ok(range)
    }

    /// Whether the key is selected. Names are compared without escapes.
    pub(crate) fn wants(&self, key: FieldKey<'_>) -> bool {
        let is_field = self.field.is_empty() || self.field.iter().any(|field| field.plain == key.field);
        is_field
            && self.measurement.as_ref().is_none_or(|wanted| {
                wanted.plain == unescape(SeriesKey(key.series).measurement(), MEASUREMENT_ESCAPES)
            })
            && has_tags(key, &self.tag)
    }

    /// Reports on stderr that the flags, if there are any, match nothing.
    pub(crate) fn report_no_match(&self) {
        let names = self.measurement.iter().map(|name| format!("--measurement {}", name.shown()));
        let tags = self.tag.iter().map(|tag| format!("--tag {}", shown(&tag.given)));
        let fields = self.field.iter().map(|name| format!("--field {}", name.shown()));
        let times = [("--start", self.start), ("--end", self.end)].into_iter().filter_map(|(flag, time)| {
            let time = clock::rfc3339_text(time?);
            Some(format!("{flag} {time}"))
        });
        let flags: Vec<String> = names.chain(tags).chain(fields).chain(times).collect();
        if !flags.is_empty() {
            report_no_match(&flags.join(" "));
        }
    }
}

/// Reports on stderr that these flags match nothing.
pub(crate) fn report_no_match(flags: &str) {
    complain(&format!("no value matches {flags}; `tsmith query` without filters shows what exists"));
}

/// Whether the series of a key has all of these tags. Names and values are compared without escapes. As in InfluxDB, an
/// empty value matches a series without the tag.
fn has_tags(key: FieldKey<'_>, wanted: &[Tag]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let rest = &key.series[SeriesKey(key.series).measurement().len()..];
    let tags: Vec<_> = split_bare(rest, b',').skip(1).map(split_tag).collect();
    wanted.iter().all(|Tag { name, value, .. }| {
        let found = tags.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref()).unwrap_or_default() == value
    })
}

/// Name and value of a tag, without escapes. The value is `None` if there is no equals sign.
fn split_tag(tag: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let name = split_bare(tag, b'=').next().unwrap_or_default();
    let value = tag.get(name.len() + 1..);
    (unescape(name, TAG_ESCAPES), value.map(|value| unescape(value, TAG_ESCAPES)))
}

/// Splits `text` at each `separator` that has no backslash before it.
fn split_bare(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = (0..text.len()).find(|&at| text[at] == separator && (at == 0 || text[at - 1] != b'\\'));
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn unescape(text: &[u8], escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        let escapes = byte == b'\\' && text.get(at + 1).is_some_and(|next| escaped.contains(next));
        if !escapes {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn wants(flags: &[&str], series: &[u8]) -> bool {
        let line = Line::parse_from(std::iter::once("x").chain(flags.iter().copied()));
        line.filter.wants(FieldKey::new(series, b"v"))
    }

    #[test]
    fn names_are_compared_without_escapes() {
        let series = br"my\ cpu\,x,host=a\ b,k\=1=v\,2";
        for measurement in ["my cpu,x", r"my\ cpu\,x", r"my\x20cpu\,x"] {
            assert!(wants(&["--measurement", measurement], series), "{measurement}");
        }
        for tag in ["host=a b", r"host=a\ b", r"k\=1=v,2", r"k\=1=v\,2", r"\x68ost=a b"] {
            assert!(wants(&["--tag", tag, "--tag", "host=a b"], series), "{tag}");
        }
        assert!(wants(&["--field", "v"], series) && wants(&["--field", "w", "--field", "v"], series));
        assert!(!wants(&["--measurement", "my"], series));
        assert!(!wants(&["--tag", "host=a"], series));
        assert!(!wants(&["--field", "w"], series));
        assert!(wants(&[], series));
        assert!(!wants(&["--tag", "host=a b", "--tag", r"k\=1=v"], series));
        assert!(wants(&["--tag", "rack="], series) && !wants(&["--tag", "host="], series));
    }

    #[test]
    fn other_backslashes_are_literal() {
        let series = br"C:\dir,p=C:\new\x,q=\\host\=1";
        assert!(wants(&["--measurement", r"C:\dir"], series));
        assert!(wants(&["--tag", r"p=C:\new\x", "--tag", r"q=\\host=1"], series));
        assert!(wants(&["--measurement", r"\\,"], br"\\,,host=s"));
        assert!(!wants(&["--measurement", r"\,"], br"\\,,host=s"));
    }

    #[test]
    fn empty_names_are_refused() {
        for flags in
            [["--measurement", ""], ["--field", ""], ["--tag", "=v"], ["--tag", "k"], ["--tag", r"k\=1"]]
        {
            assert!(Line::try_parse_from(["x"].into_iter().chain(flags)).is_err(), "{flags:?}");
        }
    }

    /// Law: each printed part of a series, used as a filter, matches that series, whatever bytes it contains.
    #[test]
    fn printed_names_match_as_filters() {
        let pieces: [&[u8]; 12] = [
            b"\\",
            b"x",
            b"41",
            b"\\x41",
            b"\\,",
            b"\\ ",
            b"\\=",
            b"\xff",
            b"\r",
            b"\xef\xbb\xbf",
            b"\"",
            b"a",
        ];
        let pair = |a: &[u8]| pieces.map(|b| [a, b].concat());
        let names = pieces.into_iter().flat_map(pair).flat_map(|name| pair(&name));
        for name in names {
            let name = [&name[..], b"_"].concat();
            let series = [&name[..], b",k", &name, b"=v", &name].concat();
            let shown = shown(&series);
            let part = shown.split_once(",k").expect("a tag").0;
            let tag = format!("k{part}=v{part}");
            assert!(wants(&["--measurement", part, "--tag", &tag], &series), "{shown}");
        }
    }
}
