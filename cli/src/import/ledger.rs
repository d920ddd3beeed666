//! The account of an import, in the order of the input: totals, rejected lines and the first failure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tsmith_engine::line::Precision;
use tsmith_engine::{SecondType, TimeRange};

use super::times;
use crate::exit::{Failure, Outcome, Result, complain};
use crate::output::count;
use crate::progress::When;

/// Rejected lines, and fields with a second type, that are shown one by one. Further ones are only counted.
const SHOWN_MAX: u64 = 10;

/// A line that was not written.
pub(super) struct Reject {
    pub(super) place: String,
    pub(super) reason: String,
    pub(super) text: Vec<u8>,
}

/// The result of a batch.
#[derive(Default)]
pub(super) struct Done {
    pub(super) lines: u64,
    pub(super) points: u64,
    pub(super) values: u64,
    pub(super) widened: u64,
    pub(super) second_types: Vec<SecondType>,
    pub(super) rejected: Vec<Reject>,
    /// Times of the points.
    pub(super) times: Option<TimeRange>,
    /// Times of lines that were rejected because they are out of range, as written in the text.
    pub(super) outside: Option<TimeRange>,
    /// Lines of a dump that are statements.
    pub(super) statements: u64,
    /// Lines of a dump with points of other databases.
    pub(super) elsewhere: u64,
}

/// The account, shared by the threads.
pub(super) struct Ledger {
    inner: Mutex<Account>,
}

struct Account {
    next: u64,
    /// Batches that finished before an earlier batch.
    early: BTreeMap<u64, Done>,
    /// Totals. Rejected lines and fields with a second type are counted below.
    all: Done,
    precision: Precision,
    second_types: u64,
    rejected: u64,
    rejects: Option<File>,
    for_programs: bool,
    failure: Option<Failure>,
    failed: bool,
}

impl Ledger {
    pub(super) fn new(rejects: Option<File>, progress: When, precision: Precision) -> Self {
        let inner = Account {
            next: 0,
            early: BTreeMap::new(),
            all: Done::default(),
            precision,
            second_types: 0,
            rejected: 0,
            rejects,
            for_programs: progress.is_for_programs(),
            failure: None,
            failed: false,
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(super) fn note(&self, number: u64, done: Done) {
        let mut account = lock(&self.inner);
        account.early.insert(number, done);
        let before = account.all.lines;
        loop {
            let next = account.next;
            let Some(done) = account.early.remove(&next) else { break };
            account.next += 1;
            account.book(done);
        }
        if account.for_programs && account.all.lines > before {
            let _ = writeln!(io::stderr(), "acknowledged {}", account.all.lines);
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        lock(&self.inner).all.lines
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.inner).failed
    }

    /// Records a failure. Only the first is reported.
    pub(super) fn fail(&self, failure: Failure) {
        let mut account = lock(&self.inner);
        account.failed = true;
        account.failure.get_or_insert(failure);
    }

    pub(super) fn failure(&self) -> Result<()> {
        lock(&self.inner).failure.take().map_or(Ok(()), Err)
    }

    /// Reports the totals.
    pub(super) fn finish(self, took: Duration) -> Result<Outcome> {
        let mut account = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        // After a failure, batches may be written although an earlier batch is not. They count too.
        for done in std::mem::take(&mut account.early).into_values() {
            account.book(done);
        }
        if account.rejected > SHOWN_MAX {
            complain(&format!("{} rejected", count(account.rejected - SHOWN_MAX, "more line")));
        }
        if account.second_types > SHOWN_MAX {
            complain(&format!(
                "{} with a second type",
                count(account.second_types - SHOWN_MAX, "more field")
            ));
        }
        let rejected = account.rejected;
        let Done { lines, points, values, widened, statements, elsewhere, times, outside, .. } = account.all;
        let widened = if widened > 0 { format!(" ({widened} widened to float)") } else { String::new() };
        let seconds = took.as_secs_f64();
        let rate = values as f64 / seconds.max(1e-9);
        let range = times.map(times::text).unwrap_or_default();
        let text = format!(
            "read {lines} lines: {points} points, {values} values{widened}, {rejected} rejected, {seconds:.3} s, {rate:.0} values/s{range}"
        );
        let _ = writeln!(io::stderr(), "{text}");
        if statements + elsewhere > 0 {
            let (statements, lines) = (count(statements, "statement"), count(elsewhere, "line"));
            complain(&format!("skipped {statements} and {lines} of other databases"));
        }
        for hint in times::hints(times, outside, account.precision) {
            complain(&hint);
        }
        account.failure.map_or(Ok(Outcome::of(rejected > 0)), Err)
    }
}

impl Account {
    fn book(&mut self, done: Done) {
        let all = &mut self.all;
        all.lines += done.lines;
        all.points += done.points;
        all.values += done.values;
        all.widened += done.widened;
        all.statements += done.statements;
        all.elsewhere += done.elsewhere;
        all.times = times::both(all.times, done.times);
        all.outside = times::both(all.outside, done.outside);
        for second in done.second_types {
            self.second_types += 1;
            if self.second_types <= SHOWN_MAX {
                complain(&format!(
                    "note: {second}: influxd cannot open such a shard; in a new directory, --types measurement rejects \
                     such lines"
                ));
            }
        }
        for Reject { place, reason, mut text } in done.rejected {
            self.rejected += 1;
            if self.rejected <= SHOWN_MAX {
                complain(&format!("{place}: {reason}"));
            }
            if text.is_empty() {
                continue;
            }
            if let Some(file) = &mut self.rejects {
                text.push(b'\n');
                if let Err(error) = file.write_all(&text) {
                    self.failed = true;
                    self.failure.get_or_insert(Failure::Io(format!("--rejects: {error}")));
                }
            }
        }
    }
}

/// The account stays correct if a thread panics, and the panic ends the run, so a poisoned lock is used.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
