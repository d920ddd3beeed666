//! Which keys and times are wanted.

use clap::Args;
use tsmith_engine::{FieldKey, TimeRange};

use crate::clock;
use crate::exit::{Failure, Result};

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only this measurement
    #[arg(long, value_name = "M")]
    measurement: Option<String>,
    /// Only series with this tag, or without it where V is empty; may be given several times, and all must fit
    #[arg(long, value_name = "K=V", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// Only this field
    #[arg(long, value_name = "F")]
    field: Option<String>,
    /// From this time on: 2013-01-31T12:00:00Z, 1359633600s, -1h; a number without a unit is nanoseconds
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    start: Option<i64>,
    /// Up to and including this time
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = clock::parse)]
    end: Option<i64>,
}

/// Reads the value of a flag `--tag`. An equals sign in the name has a backslash, as in a series key.
pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    let name = split_bare(text.as_bytes(), b'=').next().unwrap_or_default().len();
    let (key, value) = text.split_at_checked(name).unwrap_or_default();
    let value = value.strip_prefix('=').filter(|_| !key.is_empty()).ok_or("expected KEY=VALUE")?;
    Ok((key.replace("\\=", "="), value.to_owned()))
}

impl FilterArgs {
    /// The times that are wanted.
    pub(crate) fn range(&self) -> Result<TimeRange> {
        range(self.start, self.end)
    }

    /// Whether the key is wanted. Names are compared without their escapes.
    pub(crate) fn wants(&self, key: FieldKey<'_>) -> bool {
        if self.field.as_ref().is_some_and(|field| field.as_bytes() != key.field) {
            return false;
        }
        if self.measurement.as_ref().is_some_and(|wanted| wanted.as_bytes() != measurement(key)) {
            return false;
        }
        has_tags(key, &self.tag)
    }
}

/// The times between two flags, both included. No range ends before it starts: the flags are swapped, or one is wrong.
pub(crate) fn range(start: Option<i64>, end: Option<i64>) -> Result<TimeRange> {
    let range = TimeRange::new(start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX));
    if range.min > range.max {
        let [start, end] = [range.min, range.max].map(clock::rfc3339_text);
        return Err(Failure::Usage(format!("--start ({start}) is later than --end ({end}): swap them")));
    }
    Ok(range)
}

/// Whether the series of a key has all of these tags, names and values without their escapes. An empty value is that of a
/// series without the tag, as `InfluxDB` has it.
pub(crate) fn has_tags(key: FieldKey<'_>, wanted: &[(String, String)]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let tags: Vec<_> = split_bare(key.series, b',')
        .skip(1)
        .map(|tag| {
            let mut sides = split_bare(tag, b'=');
            let name = sides.next().unwrap_or_default();
            let value = tag.get(name.len() + 1..).unwrap_or_default();
            (unescape(name, b",= "), unescape(value, b",= "))
        })
        .collect();
    wanted.iter().all(|(name, value)| {
        let found = tags.iter().find(|(known, _)| known == name.as_bytes());
        found.map_or(&b""[..], |(_, value)| value) == value.as_bytes()
    })
}

/// The measurement of a key, without its escapes.
pub(crate) fn measurement(key: FieldKey<'_>) -> Vec<u8> {
    unescape(split_bare(key.series, b',').next().unwrap_or_default(), b", ")
}

/// The parts of `text` between those `separator`s that no backslash precedes.
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
        assert!(wants(&["--measurement", "my cpu,x", "--tag", "host=a b", "--field", "v"], series));
        assert!(wants(&["--tag", "host=a b"], series));
        assert!(!wants(&["--measurement", "my"], series));
        assert!(!wants(&["--tag", "host=a"], series));
        assert!(!wants(&["--field", "w"], series));
        assert!(wants(&[], series));
        assert!(wants(&["--tag", "host=a b", "--tag", r"k\=1=v,2"], series));
        assert!(!wants(&["--tag", "host=a b", "--tag", r"k\=1=v"], series));
        assert!(wants(&["--tag", "rack="], series) && !wants(&["--tag", "host="], series));
    }
}
