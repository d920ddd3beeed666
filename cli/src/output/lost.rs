//! What a format could not say.

use crate::exit::complain;

/// Things of one kind that are named before they are only counted.
const EXAMPLES_MAX: usize = 10;

/// What a format could not say.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) floats: u64,
    pub(super) times: u64,
    pub(super) names: u64,
    pub(super) strings: u64,
    examples: usize,
}

impl Lost {
    /// Names one, if not too many were named.
    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        self.examples += 1;
        if self.examples <= EXAMPLES_MAX {
            complain(&text());
        }
    }

    pub(super) fn report(&self) -> bool {
        let exact = "`--format jsonl --exact` writes them";
        for (count, what) in [
            (
                self.floats,
                format!("NaN or infinite values left out: line protocol has no form for them; {exact}"),
            ),
            (self.times, format!("values left out for times that line protocol does not take; {exact}")),
            (self.names, format!("values left out for names that line protocol cannot hold; {exact}")),
            (
                self.strings,
                "strings that are not UTF-8, written with U+FFFD; --exact or --format lp keeps them"
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
