//! One JSON object for each measurement, its fields in the order they are given, as the peer's benchmark prints them.

use std::fmt::Write as _;

use serde_json::Value;

/// A line of output in the making.
#[derive(Debug)]
pub(crate) struct JsonLine(String);

impl JsonLine {
    /// The first fields of every row: which benchmark, and whose figures.
    pub(crate) fn new(bench: &str) -> Self {
        Self::of(bench, "tsmith")
    }

    /// The same, of one implementation among several of ours.
    pub(crate) fn of(bench: &str, implementation: &str) -> Self {
        Self(String::new()).with("bench", bench).with("impl", implementation)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let separator = if self.0.is_empty() { "{" } else { ", " };
        let value = match value.into() {
            Value::Number(number) if number.is_f64() => {
                number.as_f64().map_or(Value::Null, |v| five_digits(v).into())
            }
            other => other,
        };
        write!(self.0, "{separator}{}: {value}", Value::from(name)).expect("memory takes every write");
        self
    }

    pub(crate) fn print(self) {
        println!("{}}}", self.0);
    }
}

/// Rounded to five significant digits: no figure here is known better.
pub(crate) fn five_digits(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_five_digits_and_fields_keep_their_order() {
        let row =
            JsonLine::new("x").with("b", 1.234_567_8).with("a", 864_000).with("n", f64::NAN).with("t", true);
        assert_eq!(
            row.0,
            r#"{"bench": "x", "impl": "tsmith", "b": 1.2346, "a": 864000, "n": null, "t": true"#
        );
    }
}
