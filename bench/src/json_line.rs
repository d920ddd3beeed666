//! One JSON object for each measurement. Fields keep the order in which they are added, as in the Go driver.

use std::fmt::Write as _;

use serde_json::Value;

use crate::out;

/// A line of output under construction.
#[derive(Debug)]
pub(crate) struct JsonLine(String);

impl JsonLine {
    /// Begins a row with the benchmark and the implementation `tsmith`.
    pub(crate) fn new(bench: &str) -> Self {
        Self::of(bench, "tsmith")
    }

    /// Begins a row for one of several implementations.
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
        write!(self.0, "{separator}{}: {value}", Value::from(name)).expect("writes to memory");
        self
    }

    /// Prints the row. Ends the program if the pipe is closed.
    pub(crate) fn print(self) {
        if !out::print(format_args!("{}}}\n", self.0)) {
            std::process::exit(0);
        }
    }
}

/// Rounds to five significant digits. No figure is more precise.
pub(crate) fn five_digits(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_digits_and_order_of_fields() {
        let row =
            JsonLine::new("x").with("b", 1.234_567_8).with("a", 864_000).with("n", f64::NAN).with("t", true);
        assert_eq!(
            row.0,
            r#"{"bench": "x", "impl": "tsmith", "b": 1.2346, "a": 864000, "n": null, "t": true"#
        );
    }
}
