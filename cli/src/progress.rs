//! Progress on stderr: a line that is rewritten on a terminal, lines for a program when it asks for them.
//!
//! No colour anywhere, so `NO_COLOR` has nothing to switch off.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;

const EVERY: Duration = Duration::from_millis(100);

/// When to show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Always; without a terminal as plain lines.
    Always,
    /// Never.
    Never,
}

impl When {
    /// Whether a program asked for plain lines.
    pub(crate) fn is_for_programs(self) -> bool {
        self == Self::Always && !io::stderr().is_terminal()
    }
}

/// One line that is rewritten.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    /// A bar, if it is wanted and there is a terminal.
    pub(crate) fn new(when: When) -> Self {
        Self { shown: None, on: when != When::Never && io::stderr().is_terminal() }
    }

    /// Shows the text, unless one was shown just now.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.on || self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let _ = write!(io::stderr(), "\r\x1b[K{}", text());
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `done` of `all` as `42 %`.
pub(crate) fn percent(done: u64, all: u64) -> String {
    (done.min(all) * 100).checked_div(all).map_or_else(String::new, |percent| format!("{percent:3} %"))
}
