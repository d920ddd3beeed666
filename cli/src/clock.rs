//! Times on the command line and in tables. Only this file of Tsmith reads the wall clock.

use std::fmt::Write;
use std::num::IntErrorKind;
use std::time::{SystemTime, UNIX_EPOCH};

const SECOND: i128 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

const OUTSIDE: &str = "outside 1677 to 2262";

/// Units of times and spans, in nanoseconds.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
    ("w", 7 * 86_400 * SECOND),
];

/// Nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the default time of imported lines, and the base of `-1h`")]
pub(crate) fn now() -> i64 {
    let since = |later: SystemTime, earlier| later.duration_since(earlier).map(|span| span.as_nanos() as i64);
    let now = SystemTime::now();
    since(now, UNIX_EPOCH).unwrap_or_else(|_| since(UNIX_EPOCH, now).map_or(0, |before| -before))
}

/// Parses `2013-01-31`, `2013-01-31T12:00:00Z`, `1359633600s`, nanoseconds without a unit, `now` and `-1h`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let expected = "expected RFC 3339 such as 2013-01-31T12:00:00Z, a number with a unit such as 1359633600s \
                    (ns, us, ms, s, m, h, d or w; without a unit: ns), or a span before now such as -1h";
    if text == "now" {
        return Ok(now());
    }
    if let Some((number, unit)) = number(text) {
        // A negative number with a unit is a span before now. For times before 1970, use a date or plain nanoseconds.
        let relative = text.starts_with('-') && unit.is_some();
        let time = number
            .checked_mul(unit.unwrap_or(1))
            .and_then(|t| t.checked_add(if relative { now().into() } else { 0 }));
        return time.and_then(in_range).ok_or_else(|| OUTSIDE.to_owned());
    }
    let time = rfc3339(text).ok_or_else(|| expected.to_owned())?;
    in_range(time).ok_or_else(|| OUTSIDE.to_owned())
}

fn in_range(time: i128) -> Option<i64> {
    i64::try_from(time).ok()
}

/// A number, and its unit in nanoseconds if it has one.
fn number(text: &str) -> Option<(i128, Option<i128>)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" => None,
        unit => Some(UNITS.iter().find(|(name, _)| *name == unit)?.1),
    };
    let number = number.parse::<i128>().or_else(|error| match error.kind() {
        IntErrorKind::PosOverflow => Ok(i128::MAX),
        IntErrorKind::NegOverflow => Ok(i128::MIN),
        _ => Err(error),
    });
    Some((number.ok()?, unit))
}

fn rfc3339(text: &str) -> Option<i128> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let mut seconds = days_from_civil(year, month, day) * DAY_SECONDS;
    let mut nanoseconds = 0;
    if let Some(time) = time {
        let (clock, offset) = split_offset(time)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 59 || fraction.is_empty() || fraction.len() > 9 {
            return None;
        }
        nanoseconds = digits(fraction)? * 10_i64.pow(9 - fraction.len() as u32);
        seconds += hour * 3_600 + minute * 60 + second - offset;
    }
    Some(i128::from(seconds) * SECOND + i128::from(nanoseconds))
}

/// Splits `Z` or an offset such as `+01:00` from a time. Returns the offset in seconds.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (clock, offset) = time.split_at(at);
    let [hours, minutes] = fields(offset.get(1..)?, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some((clock, if offset.starts_with('-') { -seconds } else { seconds }))
}

fn fields<const N: usize>(text: &str, between: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut out = [0; N];
    let mut parts = text.split(between);
    for (field, length) in out.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length)?;
        *field = digits(part)?;
    }
    parts.next().is_none().then_some(out)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March, so that the leap day is the last day of a year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next.0, next.1, 1) - days_from_civil(year, month, 1)
}

/// Appends a time as `2013-01-31T12:00:00.000000000Z`. All times have the same length, so columns line up.
pub(crate) fn write_rfc3339(time: i64, out: &mut String) {
    let (seconds, nanoseconds) = (time.div_euclid(SECOND as i64), time.rem_euclid(SECOND as i64));
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let written =
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// A time as text; see [`write_rfc3339`].
pub(crate) fn rfc3339_text(time: i64) -> String {
    let mut out = String::with_capacity(30);
    write_rfc3339(time, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_parse_in_every_form() {
        for (text, time) in [
            ("0", 0),
            ("-5", -5),
            ("1600000000s", 1_600_000_000_000_000_000),
            ("1600000000000ms", 1_600_000_000_000_000_000),
            ("7us", 7_000),
            ("1970-01-01", 0),
            ("1970-01-02T00:00:00Z", 86_400_000_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("2020-02-29T12:30:00.5+01:30", 1_582_974_000_500_000_000),
            ("2262-04-11T23:47:16.854775807Z", i64::MAX),
            ("1677-09-21T00:12:43.145224192Z", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(time), "{text}");
        }
        for bad in [
            "",
            "x",
            "2013-13-01",
            "2013-02-29",
            "2013-1-1",
            "1600y",
            "2263-01-01",
            "9999999999d",
            "--1h",
            "1-2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let hour = now() - parse("-1h").expect("a span");
        assert!((3_599_000_000_000..=3_601_000_000_000).contains(&hour));
    }

    /// Story: a number too large for an `i64` got the error "expected RFC 3339", and an offset of 99 hours was accepted.
    #[test]
    fn times_out_of_range_are_refused() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999999999999999999999999",
            "9223372036854775808s",
            "-99999999999999999999999999999999999999999999h",
            "9999999999d",
            "2263-01-01",
            "1677-09-21T00:12:43Z",
        ] {
            assert_eq!(parse(text), Err(OUTSIDE.to_owned()), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00+23:59"), Ok(-86_340_000_000_000));
        for text in ["1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00-01:60", "1970-01-01T00:00:00+99:99"] {
            assert!(parse(text).is_err_and(|error| error.starts_with("expected RFC 3339")), "{text}");
        }
    }

    #[test]
    fn printed_times_parse_back() {
        for time in [0, -1, i64::MIN, i64::MAX, 1_582_974_000_500_000_000, -2_208_988_800_000_000_000] {
            assert_eq!(parse(&rfc3339_text(time)), Ok(time));
        }
        assert_eq!(rfc3339_text(-1), "1969-12-31T23:59:59.999999999Z");
    }
}
