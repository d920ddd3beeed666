//! Text and numbers in HTML.

use std::fmt::Write as _;

/// Replaces the characters that have a meaning in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Three significant digits, without an exponent: 0.0123, 1.23, 123, 12345.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    // Rounding first gives 10.0 for 9.996, not 10.00.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let digits = (2 - rounded.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{rounded:.digits$}")
}

/// The number without zeros at its end: 2 for 2.00.
pub(super) fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// A duration with its unit.
pub(in crate::report) fn seconds(value: f64) -> String {
    match value {
        _ if value < 1e-3 => format!("{} µs", short(value * 1e6)),
        _ if value < 1.0 => format!("{} ms", short(value * 1e3)),
        _ if value < 120.0 => format!("{} s", short(value)),
        _ if value < 7200.0 => format!("{:.0} min", value / 60.0),
        _ => format!("{} h", short(value / 3600.0)),
    }
}

/// A range of durations, with one unit if that is enough.
pub(super) fn seconds_range(low: f64, high: f64) -> String {
    let (low, high) = (seconds(low), seconds(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// Values per second, in thousands or millions.
pub(super) fn per_second(value: f64) -> String {
    match value {
        _ if value < 1e3 => format!("{} values/s", short(value)),
        _ if value < 1e6 => format!("{} k values/s", short(value / 1e3)),
        _ => format!("{} M values/s", short(value / 1e6)),
    }
}

/// A link that saves `text` as a file. The text is in the link, so it needs neither a script nor a server.
pub(super) fn download(name: &str, kind: &str, text: &str) -> String {
    let mut link = format!("<a download=\"{name}\" href='data:{kind};charset=utf-8,");
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if !b"%#&'<>\"\\".contains(&byte) => link.push(byte.into()),
            // A URL ends in no blank, and these texts end in a line feed.
            b'"' => link.push('"'),
            _ => {
                let _ = write!(link, "%{byte:02X}");
            }
        }
    }
    let kib = text.len().div_ceil(1024);
    let _ = write!(link, "'>{name}</a> <span class=\"dim\">({kib} KiB)</span>");
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let found = [0.012_345, 9.996, 123.4, 12_345.6, 0.0, 1.0].map(short);
        assert_eq!(found, ["0.0123", "10.0", "123", "12300", "0", "1.00"]);
        assert_eq!(
            [12.0, 3694.0, 12.2e6].map(per_second),
            ["12.0 values/s", "3.69 k values/s", "12.2 M values/s"]
        );
        let found = [2e-6, 0.0315, 6.0, 600.0, 9000.0].map(seconds);
        assert_eq!(seconds_range(0.0031, 0.0042), "3.10 to 4.20 ms");
        assert_eq!(seconds_range(0.0009, 0.0042), "900 µs to 4.20 ms");
        assert_eq!(found, ["2.00 µs", "31.5 ms", "6.00 s", "10 min", "2.50 h"]);
    }

    #[test]
    fn link_keeps_every_byte() {
        let link = download("a.json", "application/json", "{\"a\": 'x#1 & 5%' <é>}\n");
        let text = "{\"a\": %27x%231 %26 5%25%27 %3C%C3%A9%3E}%0A";
        assert!(link.contains(&format!("href='data:application/json;charset=utf-8,{text}'")), "{link}");
    }
}
