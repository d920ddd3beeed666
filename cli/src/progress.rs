//! Progress on stderr: on a terminal a line that is rewritten; for programs, on request, plain lines.
//!
//! There are no colours, so `NO_COLOR` needs no handling.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;

const EVERY: Duration = Duration::from_millis(100);

/// When to show progress. `Auto` shows it on a terminal. `Always` prints plain lines if there is no terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

impl When {
    /// Whether a program asked for plain lines.
    pub(crate) fn is_for_programs(self) -> bool {
        self == Self::Always && !io::stderr().is_terminal()
    }
}

/// The line that is rewritten.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    /// A bar, which shows nothing if `when` is `Never` or stderr is not a terminal.
    pub(crate) fn new(when: When) -> Self {
        Self { shown: None, on: when != When::Never && io::stderr().is_terminal() }
    }

    /// Shows the text, but not more often than every [`EVERY`].
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.on || self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let _ = write!(io::stderr(), "\r\x1b[K{}", text());
    }

    /// Removes the line.
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
