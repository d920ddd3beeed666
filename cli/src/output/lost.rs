//! Values that a format cannot represent.

use crate::exit::complain;

/// How many values are named one by one. Further ones are only counted.
const EXAMPLES_MAX: usize = 10;

/// Counts of values that a format cannot represent.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) floats: u64,
    pub(super) times: u64,
    pub(super) names: u64,
    pub(super) strings: u64,
    examples: usize,
}

impl Lost {
    /// Names one value, unless too many were named.
    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        self.examples += 1;
        if self.examples <= EXAMPLES_MAX {
            complain(&text());
        }
    }

    pub(super) fn report(&self) -> bool {
        let exact = "use --format jsonl --exact to keep them";
        for (count, what) in [
            (
                self.floats,
                format!("NaN or infinite values omitted, which line protocol cannot represent; {exact}"),
            ),
            (self.times, format!("values omitted whose times line protocol cannot represent; {exact}")),
            (self.names, format!("values omitted whose names line protocol cannot represent; {exact}")),
            (
                self.strings,
                "strings are not UTF-8 and were written with U+FFFD; use --exact or --format lp to keep them"
                    .to_owned(),
            ),
        ] {
            if count > 0 {
                complain(&format!("{count} {what}"));
            }
        }
        self.floats + self.times + self.names + self.strings > 0
    }
}
