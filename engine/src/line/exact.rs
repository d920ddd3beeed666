//! Parses any line by InfluxDB's rules.
//!
//! InfluxDB scans a line several times: once for its end, once each for key, fields and time, and once more
//! to split the fields. The scans treat backslashes and quotes differently, and existing data depends on
//! that. So this parser keeps the same separate scans.

use std::borrow::Cow;
use std::ops::Range;

use tsmith_codecs::{FieldKey, KEY_BYTES_MAX, SeriesKey, Value};

use super::number::any_float;
use super::{Parser, Reason, Schema, text};

type Scan<T> = Result<T, Reason>;

/// Maximum number of escaped line ends outside strings in one line. A line with more ends at its first line
/// end.
///
/// This limit and [`STRINGS_MAX`] keep the work linear. Each search that passes an unescaped quote and a line
/// end uses up one of the two limits, except inside a string. So only a few searches scan the same text.
pub(super) const ESCAPED_LINE_ENDS_MAX: usize = 32;

/// Maximum number of strings with line ends in one line. A line with more ends at its first line end.
pub(super) const STRINGS_MAX: usize = 256;

impl<'a, S: Schema> Parser<'a, '_, S> {
    /// Parses the line at `at`. Returns where the next line begins, and why this one was rejected.
    pub(super) fn exact_line(&mut self, at: usize) -> (usize, Result<(), (Range<usize>, Reason)>) {
        let end = line_end(self.input, at, self.options.string_line_bytes_max);
        let block = &self.input[..end];
        let start = skip_blanks(block, at);
        if start >= end || block[start] == b'#' {
            return (end + 1, Ok(()));
        }
        let line = block[start..].strip_suffix(b"\n").unwrap_or(&block[start..]);
        let done = self.point(line).map_err(|reason| (start..start + line.len(), reason));
        (end + 1, done)
    }

    pub(super) fn exact_point(&mut self, line: &'a [u8]) -> Scan<()> {
        let (key, at) = scan_key(line)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Reason::KeyTooLong { bytes: key.len() });
        }
        let (fields, at) = scan_fields(line, at, self.options.unsigned)?;
        check_fields(&key, fields)?;
        let time = self.exact_time(line, at)?;
        let measurement = || text(SeriesKey(&key).measurement());
        if tags(&key).any(|tag| tag.starts_with(b"time=")) {
            return Err(Reason::TagNamedTime { measurement: measurement() });
        }
        if !SeriesKey(&key).is_separable() {
            return Err(Reason::SeparatorInKey);
        }
        self.builder.begin(key.clone());
        let mut kept = 0;
        let mut rest = fields;
        while let Some((name, value, after)) = split_field(rest) {
            rest = after;
            let name = unescape(name, b",\" =");
            if &*name != b"time" {
                kept += 1;
                self.exact_field(&key, name, value)?;
            }
        }
        if kept == 0 {
            return Err(Reason::OnlyFieldNamedTime { measurement: measurement() });
        }
        self.commit(&key, time)
    }

    fn exact_field(&mut self, key: &[u8], name: Cow<'a, [u8]>, raw: &[u8]) -> Scan<()> {
        let string;
        let value = match raw {
            [b'"', inner @ .., _] => {
                string = unescape(inner, b"\"\\");
                Value::String(&string)
            }
            [b'0'..=b'9' | b'-' | b'.', ..] => number(raw)?,
            _ => Value::Boolean(boolean(raw).ok_or(Reason::InvalidBoolean)?),
        };
        self.add_value(key, name, value)
    }

    fn exact_time(&self, line: &[u8], at: usize) -> Scan<i64> {
        let (digits, end) = scan_time(line, at)?;
        if digits.is_empty() {
            return Ok(self.default_time);
        }
        let digits = text(digits);
        let Ok(time) = digits.parse::<i64>() else {
            let what = if digits == "-" { "invalid syntax" } else { "value out of range" };
            return Err(Reason::TimeNotAnInteger { text: digits, what });
        };
        let time = self.options.scale(time)?;
        ends_blank(line, end).map(|()| time)
    }
}

/// Returns the digits of the time after `at`, and where they end.
fn scan_time(line: &[u8], at: usize) -> Scan<(&[u8], usize)> {
    let start = skip_blanks(line, at);
    let mut end = start;
    while let Some(&byte) = line.get(end).filter(|b| !matches!(b, b' ' | b'\n')) {
        if !(byte.is_ascii_digit() || byte == b'-' && end == start) {
            return Err(Reason::BadTimestamp);
        }
        end += 1;
    }
    Ok((&line[start..end], end))
}

/// Checks that only blanks follow the time.
fn ends_blank(line: &[u8], at: usize) -> Scan<()> {
    if line[at..].iter().any(|&b| b != b' ') { Err(Reason::TrailingText) } else { Ok(()) }
}

/// Whether the composite key of this series and field is within its limit.
pub(super) fn fits(key: &[u8], name: &[u8]) -> bool {
    FieldKey::new(key, name).composite_len() <= KEY_BYTES_MAX
}

/// Whether `key` is valid without changes. It contains no backslash, space or line end.
pub(super) fn is_plain_key(key: &[u8]) -> bool {
    let [first, ..] = key else { return false };
    if matches!(first, b',' | b'#' | b'\t' | 0) || key.len() > KEY_BYTES_MAX || !SeriesKey(key).is_separable()
    {
        return false;
    }
    let mut before: &[u8] = b"";
    key.split(|&b| b == b',').skip(1).all(|tag| {
        let Some(equals) = memchr::memchr(b'=', tag) else { return false };
        let (name, value) = (&tag[..equals], &tag[equals + 1..]);
        let good = name > before && name != b"time" && !value.is_empty() && !value.contains(&b'=');
        before = name;
        good
    })
}

/// Parses `t T true True TRUE f F false False FALSE`.
pub(super) fn boolean(raw: &[u8]) -> Option<bool> {
    match raw {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Where the line at `at` ends: usually at the next line end. A string or a backslash takes a line end into
/// the line only if the complete line has the form of a point. So a torn line affects no other line.
pub(super) fn line_end(input: &[u8], at: usize, bytes_max: usize) -> usize {
    choose_end(input, at, spanning_end(input, at, bytes_max).ok())
}

/// Like [`line_end`], if the result of [`spanning_end`] is known.
pub(super) fn choose_end(input: &[u8], at: usize, spanning: Option<usize>) -> usize {
    let next = memchr::memchr(b'\n', &input[at..]).map_or(input.len(), |len| at + len);
    spanning.filter(|&end| end > next && has_form(&input[at..end])).unwrap_or(next)
}

/// Why a line ends at its first line end although a string or a backslash would include it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEnd {
    /// The line cannot be a point, or contains too many line ends.
    NoPoint,
    /// The line is longer than `string_line_bytes_max`.
    TooLong,
}

/// Where InfluxDB ends the line at `at`: at a line end outside quotes without a preceding backslash. Returns
/// an error if a line that spans several cannot be a point, is longer than `bytes_max`, or contains too many
/// line ends.
///
/// The search stops as early as possible. A torn line pairs its open quote with a quote of a later line. Such
/// a quote shows: it closes in the middle of a word, or neither a field nor a time follows it.
pub(super) fn spanning_end(input: &[u8], start: usize, bytes_max: usize) -> Result<usize, NoEnd> {
    let mut at = skip_blanks(input, start);
    if input.get(at) == Some(&b'#') {
        return Err(NoEnd::NoPoint);
    }
    let (mut quoted, mut in_fields) = (false, input[start..at].contains(&b' '));
    let (mut equals, mut commas) = (0, 0);
    // Position of the last line end inside the line, and start of its last string.
    let (mut crossed, mut opened) = (None, 0);
    // Number of escaped line ends outside strings, and of strings with a line end.
    let (mut escapes, mut strings) = (0, 0);
    while let Some(&byte) = input.get(at) {
        #[cfg(test)]
        super::tests::looked_at(1);
        if crossed.is_some() && at - start > bytes_max {
            return Err(NoEnd::TooLong);
        }
        if escapes > ESCAPED_LINE_ENDS_MAX || strings > STRINGS_MAX {
            return Err(NoEnd::NoPoint);
        }
        if byte == b'\\' && at + 2 < input.len() {
            if input[at + 1] == b'\n' {
                crossed = Some(at + 1);
                escapes += usize::from(!quoted);
            }
            at += 2;
            continue;
        }
        in_fields |= byte == b' ';
        match byte {
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => {
                quoted = !quoted;
                if quoted {
                    opened = at;
                } else if crossed.is_some_and(|crossed| crossed > opened) {
                    strings += 1;
                    if input.get(at + 1).is_some_and(|b| !matches!(b, b',' | b' ' | b'\n')) {
                        return Err(NoEnd::NoPoint);
                    }
                }
            }
            b' ' if strings > 0 && !quoted => {
                let is_time = |b: &&u8| b.is_ascii_digit() || matches!(b, b' ' | b'-');
                at += input[at..].iter().take_while(is_time).count();
                if input.get(at).is_some_and(|&b| b != b'\n') {
                    return Err(NoEnd::NoPoint);
                }
                break;
            }
            b'\n' if !quoted => break,
            b'\n' => crossed = Some(at),
            _ => {}
        }
        at += 1;
    }
    let end = at.min(input.len());
    if crossed.is_none() || end - start <= bytes_max { Ok(end) } else { Err(NoEnd::TooLong) }
}

/// Whether a line that spans several has the form of a point. Types, times and limits are not checked.
fn has_form(line: &[u8]) -> bool {
    #[cfg(test)]
    super::tests::looked_at(line.len());
    let line = &line[skip_blanks(line, 0)..];
    let time = |at| scan_time(line, at).and_then(|(_, end)| ends_blank(line, end));
    scan_key(line).and_then(|(_, at)| scan_fields(line, at, true)).and_then(|(_, at)| time(at)).is_ok()
}

fn skip_blanks(text: &[u8], at: usize) -> usize {
    let blanks = text[at.min(text.len())..].iter().take_while(|b| matches!(b, b' ' | b'\t' | 0));
    at + blanks.count()
}

/// Reads measurement and tags. Returns the key with sorted tags, and where the fields begin.
fn scan_key(line: &[u8]) -> Scan<(Cow<'_, [u8]>, usize)> {
    let (mut at, mut in_tags) = scan_measurement(line)?;
    let mut tags = Vec::new();
    let measurement_end = if in_tags { at - 1 } else { at };
    while in_tags {
        let start = at;
        at = scan_tag_key(line, at)?;
        (at, in_tags) = scan_tag_value(line, at)?;
        tags.push(&line[start..if in_tags { at - 1 } else { at }]);
    }
    let sorted = tags.is_sorted_by(|a, b| tag_key(a) <= tag_key(b));
    if !sorted {
        tags.sort_by_key(|tag| tag_key(tag));
    }
    if tags.windows(2).any(|pair| tag_key(pair[0]) == tag_key(pair[1])) {
        return Err(Reason::DuplicateTags);
    }
    if sorted {
        return Ok((Cow::Borrowed(&line[..at]), at));
    }
    let mut key = line[..measurement_end].to_vec();
    for tag in tags {
        key.push(b',');
        key.extend_from_slice(tag);
    }
    Ok((Cow::Owned(key), at))
}

/// Returns where the measurement ends, and whether tags follow.
fn scan_measurement(line: &[u8]) -> Scan<(usize, bool)> {
    if line.first().is_none_or(|&b| b == b',') {
        return Err(Reason::MissingMeasurement);
    }
    for at in 1..line.len() {
        match line[at] {
            _ if line[at - 1] == b'\\' => {}
            b',' => return Ok((at + 1, true)),
            b' ' => return Ok((at, false)),
            _ => {}
        }
    }
    Err(Reason::MissingFields)
}

/// Returns where the tag's value begins.
fn scan_tag_key(line: &[u8], start: usize) -> Scan<usize> {
    if line.get(start).is_none_or(|b| matches!(b, b' ' | b',' | b'=')) {
        return Err(Reason::MissingTagKey);
    }
    for at in start + 1..line.len() {
        match line[at] {
            _ if line[at - 1] == b'\\' => {}
            b' ' | b',' => break,
            b'=' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(Reason::MissingTagValue)
}

/// Returns where the next tag or the fields begin, and whether it is a tag.
fn scan_tag_value(line: &[u8], start: usize) -> Scan<(usize, bool)> {
    if line.get(start).is_none_or(|b| matches!(b, b' ' | b',')) {
        return Err(Reason::MissingTagValue);
    }
    for at in start + 1..line.len() {
        match line[at] {
            _ if line[at - 1] == b'\\' => {}
            b'=' => return Err(Reason::InvalidTagFormat),
            b',' => return Ok((at + 1, true)),
            b' ' => return Ok((at, false)),
            _ => {}
        }
    }
    Err(Reason::MissingFields)
}

/// The tags of a scanned key.
fn tags(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &key[SeriesKey(key).measurement().len()..];
    std::iter::from_fn(move || {
        let tag = rest.strip_prefix(b",")?;
        let end = (1..tag.len()).find(|&at| tag[at] == b',' && tag[at - 1] != b'\\').unwrap_or(tag.len());
        rest = &tag[end..];
        Some(&tag[..end])
    })
}

fn tag_key(tag: &[u8]) -> &[u8] {
    &tag[..find_bare(tag, b'=')]
}

/// Position of the first `stop` without a preceding backslash, or the end.
fn find_bare(text: &[u8], stop: u8) -> usize {
    (0..text.len()).find(|&at| text[at] == stop && (at == 0 || text[at - 1] != b'\\')).unwrap_or(text.len())
}

/// Checks the form of the fields and of their numbers. Returns their text and where it ends.
fn scan_fields(line: &[u8], at: usize, unsigned: bool) -> Scan<(&[u8], usize)> {
    let start = skip_blanks(line, at);
    let mut at = start;
    let (mut quoted, mut equals, mut commas) = (false, 0usize, 0usize);
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if at + 1 < line.len() => {
                at += 2;
                continue;
            }
            b'"' if equals > commas => quoted = !quoted,
            b'=' if !quoted => {
                equals += 1;
                if let Some(end) = scan_value(line, at, unsigned)? {
                    at = end;
                    continue;
                }
            }
            b',' if !quoted => commas += 1,
            b' ' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err(Reason::UnbalancedQuotes);
    }
    if equals == 0 || commas != equals - 1 {
        return Err(Reason::InvalidFieldFormat);
    }
    Ok((&line[start..at], at))
}

/// Checks the text around the `=` at `at`. Returns the end of the value unless it is a string.
fn scan_value(line: &[u8], at: usize, unsigned: bool) -> Scan<Option<usize>> {
    let before = |n: usize| at.checked_sub(n).and_then(|at| line.get(at)).copied();
    if matches!(before(1), Some(b' ' | b',')) && before(2) != Some(b'\\') {
        return Err(Reason::MissingFieldKey);
    }
    match line.get(at + 1) {
        None | Some(b',' | b' ') => Err(Reason::MissingFieldValue),
        Some(b'0'..=b'9' | b'.' | b'-' | b'N' | b'n') => {
            let end = value_end(line, at + 1);
            checked_number(&line[at + 1..end], unsigned)?;
            Ok(Some(end))
        }
        Some(b'"') => Ok(None),
        Some(_) => {
            let end = value_end(line, at + 2);
            boolean(&line[at + 1..end]).ok_or(Reason::InvalidBoolean)?;
            Ok(Some(end))
        }
    }
}

/// Where the number or boolean at `at` ends.
fn value_end(line: &[u8], at: usize) -> usize {
    let rest = &line[at.min(line.len())..];
    at.min(line.len()) + rest.iter().take_while(|b| !matches!(b, b',' | b' ')).count()
}

/// Checks the form of a number, then its range.
pub(super) fn checked_number(raw: &[u8], unsigned: bool) -> Scan<Value<'static>> {
    let negative = raw.first() == Some(&b'-');
    let body = &raw[usize::from(negative)..];
    let (digits, suffix) = match body {
        [digits @ .., suffix @ (b'i' | b'u')] => (digits, Some(*suffix)),
        _ => (body, None),
    };
    let mut points = 0;
    let mut exponent = false;
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {}
            b'.' => points += 1,
            b'e' | b'E' if at > 0 || negative => exponent = true,
            b'+' | b'-' if at > 0 && matches!(digits[at - 1], b'e' | b'E') => {}
            _ => return Err(Reason::InvalidNumber),
        }
    }
    let empty = digits.len() == points;
    if points > 1 || empty || suffix.is_some() && (points > 0 || exponent) {
        return Err(Reason::InvalidNumber);
    }
    if suffix == Some(b'u') && (negative || !unsigned) {
        return Err(Reason::InvalidNumber);
    }
    number(raw)
}

/// The value of a number whose form is valid.
fn number(raw: &[u8]) -> Scan<Value<'static>> {
    let literal = || std::str::from_utf8(&raw[..raw.len() - 1]).unwrap_or_default();
    match raw.last() {
        Some(b'i') => {
            let out_of_range = |_| Reason::IntegerOutOfRange { text: literal().to_owned() };
            literal().parse().map(Value::Integer).map_err(out_of_range)
        }
        Some(b'u') => {
            let out_of_range = |_| Reason::UnsignedOutOfRange { text: literal().to_owned() };
            literal().parse().map(Value::Unsigned).map_err(out_of_range)
        }
        _ => any_float(raw).map(Value::Float).ok_or(Reason::InvalidFloat),
    }
}

/// Splits off the first field: its escaped name, its value, and the text after the comma.
fn split_field(fields: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if fields.is_empty() {
        return None;
    }
    let equals = find_bare(fields, b'=');
    let value = fields.get(equals + 1..).unwrap_or_default();
    let end = field_value_end(value);
    let rest = value.get(end + 1..).unwrap_or_default();
    Some((&fields[..equals], &value[..end], rest))
}

fn field_value_end(value: &[u8]) -> usize {
    let (mut at, mut quoted) = (0, false);
    while let Some(&byte) = value.get(at) {
        match byte {
            b'\\' if matches!(value.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Checks that all fields can be split and that their composite keys are within the limit.
fn check_fields(key: &[u8], mut fields: &[u8]) -> Scan<()> {
    while let Some((name, value, rest)) = split_field(fields) {
        if value.is_empty() && name.len() + 2 > fields.len() {
            return Err(Reason::InvalidValue { key: text(name) });
        }
        if !fits(key, name) {
            return Err(Reason::KeyTooLong { bytes: FieldKey::new(key, name).composite_len() });
        }
        fields = rest;
    }
    Ok(())
}

/// Removes the backslash before each byte of `escaped`. Every other backslash stays.
fn unescape<'t>(raw: &'t [u8], escaped: &[u8]) -> Cow<'t, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let kept = match bytes.peek() {
            Some(&next) if byte == b'\\' && escaped.contains(&next) => {
                bytes.next();
                next
            }
            _ => byte,
        };
        out.push(kept);
    }
    Cow::Owned(out)
}
