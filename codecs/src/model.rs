//! The types that all layers share: times, keys and log positions.

use std::cmp::Ordering;
use std::fmt;

use crate::name::{printable, to_text};

/// Separates the series and the field in a composite key, as in InfluxDB's TSM files.
pub const KEY_SEPARATOR: &[u8] = b"#!~#";

/// The longest composite key. TSM files store its length in 16 bits.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Nanoseconds since 1970-01-01T00:00:00Z. Earlier times are negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest time that line protocol accepts.
    pub const MIN: Self = Self(-9_223_372_036_854_775_806);
    /// The latest time that line protocol accepts.
    pub const MAX: Self = Self(9_223_372_036_854_775_806);
}

/// A range of times in nanoseconds, including both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time in the range.
    pub min: i64,
    /// The last time in the range.
    pub max: i64,
}

impl TimeRange {
    /// Every time an `i64` can hold.
    pub const ALL: Self = Self { min: i64::MIN, max: i64::MAX };

    /// The range `min ..= max`. It is empty if `min > max`.
    pub fn new(min: i64, max: i64) -> Self {
        Self { min, max }
    }

    /// Whether `time` is in the range.
    pub fn contains(self, time: i64) -> bool {
        self.min <= time && time <= self.max
    }

    /// Whether the ranges share a time.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// Whether all of `other` is in this range.
    pub fn covers(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }
}

/// A place in a log. Positions strictly increase. Only the log that made a position knows its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position before every record.
    pub const ZERO: Self = Self(0);
}

/// The key of a series in line-protocol form: the measurement and the sorted tags, with escapes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey<'a>(pub &'a [u8]);

impl<'a> SeriesKey<'a> {
    /// The measurement, with escapes. It ends at the first comma that has no backslash before it.
    pub fn measurement(self) -> &'a [u8] {
        let is_bare = |at: usize| at == 0 || self.0[at - 1] != b'\\';
        let end = memchr::memchr_iter(b',', self.0).find(|at| is_bare(*at));
        &self.0[..end.unwrap_or(self.0.len())]
    }

    /// Whether a composite key of this series splits into the same series again. The series must not contain the
    /// separator, and its end must not form one with the separator that follows.
    pub fn is_separable(self) -> bool {
        let holds = self.0.windows(KEY_SEPARATOR.len()).any(|window| window == KEY_SEPARATOR);
        !holds && !self.0.ends_with(b"#!~")
    }

    /// xxHash64 with seed 0, the hash of InfluxDB's ring.
    pub fn hash64(self) -> u64 {
        xxhash_rust::xxh64::xxh64(self.0, 0)
    }
}

impl fmt::Debug for SeriesKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SeriesKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&to_text(self.0)))
    }
}

/// One field of one series. Its composite key is `series#!~#field`, and it is ordered by the bytes of that key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldKey<'a> {
    /// The series, with escapes.
    pub series: &'a [u8],
    /// The name of the field, without escapes.
    pub field: &'a [u8],
}

impl<'a> FieldKey<'a> {
    /// The field `field` of `series`.
    pub fn new(series: &'a [u8], field: &'a [u8]) -> Self {
        Self { series, field }
    }

    /// Splits a composite key at its first separator. Returns `None` if there is none.
    pub fn parse(composite: &'a [u8]) -> Option<Self> {
        let mut from = 0;
        while let Some(found) = memchr::memchr(KEY_SEPARATOR[0], composite.get(from..)?) {
            let at = from + found;
            let tail = composite.get(at..)?;
            if let Some(field) = tail.strip_prefix(KEY_SEPARATOR) {
                return Some(Self { series: composite.get(..at)?, field });
            }
            from = at + 1;
        }
        None
    }

    /// The length of the composite key in bytes.
    pub fn composite_len(self) -> usize {
        self.series.len() + KEY_SEPARATOR.len() + self.field.len()
    }

    /// Appends the composite key.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.series);
        out.extend_from_slice(KEY_SEPARATOR);
        out.extend_from_slice(self.field);
    }

    /// The composite key as a new vector.
    pub fn to_composite(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.composite_len());
        self.write_to(&mut out);
        out
    }
}

impl Ord for FieldKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.series == other.series {
            return self.field.cmp(other.field);
        }
        let bytes = |key: Self| [key.series, KEY_SEPARATOR, key.field].into_iter().flatten();
        bytes(*self).cmp(bytes(*other))
    }
}

impl PartialOrd for FieldKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for FieldKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FieldKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&to_text(&self.to_composite())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_key_splits_at_its_first_separator() {
        let key = FieldKey::parse(b"cpu,h=#a#!~#us#!~#age").expect("has a separator");
        assert_eq!((key.series, key.field), (&b"cpu,h=#a"[..], &b"us#!~#age"[..]));
        assert_eq!(key.to_composite(), b"cpu,h=#a#!~#us#!~#age");
        assert_eq!(FieldKey::parse(b"no separator #!~"), None);
    }

    #[test]
    fn separable_series_survive_the_composite_key() {
        let series: [&[u8]; 8] = [b"", b"a", b"#!~#", b"a#!~#b", b"a#!~", b"a#!", b"a#", b"#!~a"];
        for name in series {
            let composite = FieldKey::new(name, b"f").to_composite();
            let same = FieldKey::parse(&composite).is_some_and(|key| key.series == name);
            assert_eq!(SeriesKey(name).is_separable(), same, "{}", SeriesKey(name));
        }
    }

    #[test]
    fn field_keys_order_as_their_composite_bytes() {
        let series: [&[u8]; 5] = [b"a", b"a!", b"a#", b"a,b=c", b""];
        let fields: [&[u8]; 3] = [b"", b"x", b"#!~#"];
        for (s1, s2) in series.iter().flat_map(|a| series.iter().map(move |b| (a, b))) {
            for (f1, f2) in fields.iter().flat_map(|a| fields.iter().map(move |b| (a, b))) {
                let (a, b) = (FieldKey::new(s1, f1), FieldKey::new(s2, f2));
                assert_eq!(a.cmp(&b), a.to_composite().cmp(&b.to_composite()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_measurement_ends_at_the_first_bare_comma() {
        assert_eq!(SeriesKey(b"m\\,x,t=a").measurement(), b"m\\,x");
        assert_eq!(SeriesKey(b"m").measurement(), b"m");
        assert_eq!(SeriesKey(b"m\\").measurement(), b"m\\");
    }

    /// Story: a backslash before a backslash was taken for an escape, so the measurement ended too early. In InfluxDB
    /// a comma is escaped if a backslash precedes it, and nothing else counts.
    #[test]
    fn a_backslash_does_not_escape_a_backslash() {
        assert_eq!(SeriesKey(b"\\\\,,host=s").measurement(), b"\\\\,");
        assert_eq!(SeriesKey(b"a\\\\b,t=c").measurement(), b"a\\\\b");
    }
}
