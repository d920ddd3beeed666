//! The times of an import. Hints if they look like times in another unit.

use tsmith_engine::line::{Precision, Reason, Rejected};
use tsmith_engine::{TimeRange, Timestamp};

use crate::clock::rfc3339_text;

/// 1980-01-01 to 2100-01-01: the times of real measurements.
const PLAUSIBLE: TimeRange = TimeRange { min: 315_532_800_000_000_000, max: 4_102_444_800_000_000_000 };

const UNITS: [&str; 6] = ["ns", "us", "ms", "s", "m", "h"];

/// The smallest range that contains both.
pub(super) fn both(one: Option<TimeRange>, two: Option<TimeRange>) -> Option<TimeRange> {
    let (Some(a), Some(b)) = (one, two) else { return one.or(two) };
    Some(TimeRange::new(a.min.min(b.min), a.max.max(b.max)))
}

/// The timestamps, as numbers, of the lines whose time is out of range.
pub(super) fn outside(rejected: &[Rejected], text: &[u8]) -> Option<TimeRange> {
    let number = |line: &Rejected| {
        let words = text[line.bytes.clone()].split(|b| *b == b' ');
        let last = words.rev().find(|word| !word.is_empty())?;
        std::str::from_utf8(last).ok()?.parse().ok()
    };
    let outside = rejected.iter().filter(|line| line.reason == Reason::TimeOutsideRange);
    outside.filter_map(number).map(|time| Some(TimeRange::new(time, time))).fold(None, both)
}

/// The end of the summary.
pub(super) fn text(times: TimeRange) -> String {
    format!(", times {} to {}", rfc3339_text(times.min), rfc3339_text(times.max))
}

/// Hints about implausible times.
pub(super) fn hints(times: Option<TimeRange>, outside: Option<TimeRange>, used: Precision) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(times) = times.filter(|times| !times.overlaps(PLAUSIBLE)) {
        let side = if times.min > PLAUSIBLE.max { "after 2100" } else { "before 1980" };
        let unit = used.nanoseconds();
        hints.push(advice(&format!("all times are {side}"), times.min / unit, times.max / unit, used));
    }
    if let Some(times) = outside {
        let (min, max) = (Timestamp::MIN.0, Timestamp::MAX.0);
        let range = format!("{} to {}", &rfc3339_text(min)[..4], &rfc3339_text(max)[..4]);
        hints.push(advice(
            &format!("the times of some lines are outside {range}"),
            times.min,
            times.max,
            used,
        ));
    }
    hints
}

fn advice(what: &str, first: i64, last: i64, used: Precision) -> String {
    let plausible = |precision: Precision| {
        [first, last].iter().all(|number| {
            number.checked_mul(precision.nanoseconds()).is_some_and(|time| PLAUSIBLE.contains(time))
        })
    };
    let other = |name: &&&str| Precision::from_name(name).is_some_and(|unit| unit != used && plausible(unit));
    match UNITS.iter().find(other) {
        Some(name) => {
            format!("{what}: if the timestamps are in {name}, import again with --precision {name}")
        }
        None => format!("{what}: check the unit of the timestamps (--precision)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_right_unit() {
        let now = 1_600_000_000;
        for (unit, scale) in [("s", 1), ("ms", 1_000), ("us", 1_000_000)] {
            let times = TimeRange::new(now * scale, (now + 60) * scale);
            let hints = hints(Some(times), None, Precision::Nanosecond);
            assert_eq!(
                hints,
                [format!(
                    "all times are before 1980: if the timestamps are in {unit}, import again with --precision {unit}"
                )]
            );
        }
        let times = TimeRange::new(now * 1_000_000_000, now * 1_000_000_000);
        assert!(hints(Some(times), None, Precision::Nanosecond).is_empty());
        let milliseconds = TimeRange::new(now * 1_000, now * 1_000);
        assert_eq!(
            hints(None, Some(milliseconds), Precision::Second),
            [
                "the times of some lines are outside 1677 to 2262: if the timestamps are in ms, import again with --precision ms"
            ]
        );
        assert_eq!(
            hints(Some(TimeRange::new(5, 6)), None, Precision::Nanosecond),
            ["all times are before 1980: check the unit of the timestamps (--precision)"]
        );
        // Hours since 1970, read as minutes: 2020-09-13 becomes 1977.
        let hours = now / 3_600;
        let times = TimeRange::new(hours * 60_000_000_000, hours * 60_000_000_000);
        assert!(hints(Some(times), None, Precision::Minute)[0].ends_with("--precision h"));
    }
}
