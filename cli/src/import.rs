//! `tsmith import`: reads line protocol into an engine.
//!
//! One thread reads the input and cuts it into batches. Several threads write them. Reports come in the order of the
//! input, no matter which thread finishes first.

mod ledger;
mod times;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tsmith_cache::Error::Full;
use tsmith_engine::driver::Driver;
use tsmith_engine::line::{Precision, Rejected};
use tsmith_engine::{
    ErrorKind, LineOptions, Manifest, OnConflict, Parts, Registry, Timestamp, Turn, Turns, WhenFull,
};
use tsmith_wal::fs::OsFs;

use crate::args::{self, WriteTo};
use crate::clock;
use crate::context::{Choice, Contexts, content_lines};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::problem::report_recovery;
use crate::progress::{Bar, When, percent};
use crate::source::{Batch, LINE_BYTES_MAX, Limits, Source};

use ledger::{Done, Ledger, Reject, lock};

/// A writer waits this long for room in a full cache. A snapshot that takes longer has failed.
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// Read line protocol into a directory
///
/// Examples:
///   tsmith import d cpu.lp.zst --precision s --rejects bad.lp
///   generate | tsmith import d -
///
/// The input is line protocol, plain or compressed with gzip or zstd, or a dump of
/// `influx_inspect export`. A line that does not parse, or that gives a field a
/// second type, is rejected and reported with its line number. All other lines are
/// written, and the exit code is then 1. See docs/line-protocol.md.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Import {
    /// Directory to write to; it is created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Files to read; - is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    to: WriteTo,
    /// Unit of the timestamps: ns, us, ms, s, m or h
    #[arg(long, value_name = "UNIT", default_value = "ns", value_parser = precision)]
    precision: Precision,
    /// Lines per batch; a batch also ends at 8 MiB
    #[arg(long, value_name = "LINES", default_value_t = 5000, value_parser = at_least_one)]
    batch: usize,
    /// Number of writer threads, at most 256
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    writers: u16,
    /// If a type conflicts: reject the line, or widen an integer to a float
    #[arg(long, value_name = "WHAT", default_value = "reject", value_parser = on_conflict)]
    on_conflict: OnConflict,
    /// Copy rejected lines to this file; it must be new or empty
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Memory limit of the cache
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = args::size)]
    cache: u64,
    /// Longest line with line breaks in strings, at most 64MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = string_line_bytes)]
    string_line_bytes_max: usize,
    /// Import only this database of a dump
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Import only this retention policy of a dump
    #[arg(long, value_name = "NAME")]
    retention: Option<String>,
    /// Import each database and retention policy of a dump into DIR/DATABASE/RETENTION
    #[arg(long, conflicts_with_all = ["database", "retention", "wal"])]
    by_database: bool,
    #[command(flatten)]
    parts: args::Parts,
}

fn precision(text: &str) -> Result<Precision, String> {
    Precision::from_name(text).ok_or_else(|| "expected ns, us, ms, s, m or h".to_owned())
}

fn on_conflict(text: &str) -> Result<OnConflict, String> {
    OnConflict::from_name(text).ok_or_else(|| "expected reject or widen".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number of at least 1".to_owned())
}

fn string_line_bytes(text: &str) -> Result<usize, String> {
    let bytes = args::size(text)? as usize;
    if bytes <= LINE_BYTES_MAX { Ok(bytes) } else { Err("expected at most 64MiB".to_owned()) }
}

impl Import {
    pub(crate) fn run(self, progress: When, registry: &Registry) -> Result<Outcome> {
        // Inputs are opened first: a wrong name must not leave a new directory behind.
        let sources = self.sources()?;
        let choice = Choice { database: self.database.clone(), retention: self.retention.clone() };
        if !self.by_database {
            self.check_choice(&sources, &choice)?;
            let rejects = self.rejects.as_deref().map(open_rejects).transpose()?;
            return self.write_to(&self.dir, sources, &choice, (rejects, progress), registry);
        }
        let mut contexts = Contexts::default();
        for source in &sources {
            if source.is_stdin() {
                return Err(Failure::Usage(
                    "--by-database reads its input twice: save stdin to a file first".to_owned(),
                ));
            }
            contexts.extend(self.contexts(source.path(), &choice)?.0);
        }
        contexts.refuse_none()?;
        let dirs =
            contexts.taken.iter().map(|context| context.below(&self.dir)).collect::<Result<Vec<_>>>()?;
        let rejects = self.rejects.as_deref().map(open_rejects).transpose()?;
        let mut outcome = Outcome::Fine;
        for (context, dir) in contexts.taken.iter().zip(dirs) {
            complain(&format!("importing {context} into {}", dir.display()));
            let rejects = rejects.as_ref().map(File::try_clone).transpose();
            let rejects = rejects.map_err(|error| Failure::Io(format!("--rejects: {error}")))?;
            let choice = Choice::of(context);
            outcome = outcome.and(self.write_to(
                &dir,
                self.sources()?,
                &choice,
                (rejects, When::Never),
                registry,
            )?);
        }
        Ok(outcome)
    }

    fn limits(&self) -> Limits {
        Limits { lines_max: self.batch, string_line_bytes_max: self.string_line_bytes_max }
    }

    fn sources(&self) -> Result<Vec<Source>> {
        self.files.iter().map(|file| Source::open(file, self.limits())).collect()
    }

    /// Checks the choice of database and retention policy against the files, before anything is created.
    fn check_choice(&self, sources: &[Source], choice: &Choice) -> Result<()> {
        let (mut contexts, mut complete) = (Contexts::default(), true);
        for source in sources {
            if source.is_stdin() {
                complete = false;
            } else if source.is_dump() || !choice.is_all() {
                let (more, ended) = self.contexts(source.path(), choice)?;
                contexts.extend(more);
                complete &= ended;
                contexts.refuse_many(&source.name())?;
            }
        }
        let unmatched = contexts.unmatched(choice).filter(|_| complete && !choice.is_all());
        unmatched.map_or(Ok(()), |text| Err(Failure::Usage(text)))
    }

    /// Finds the places of the points in a file, and whether the file could be read to its end. The import itself
    /// reports what cannot be read.
    fn contexts(&self, path: &Path, choice: &Choice) -> Result<(Contexts, bool)> {
        let (mut contexts, mut source) = (Contexts::default(), Source::open(path, self.limits())?);
        // If the choice allows only one place, the search ends when it is found.
        while choice.is_open() || !contexts.is_matched() {
            match source.next_batch() {
                Ok(Some(batch)) => contexts.add(&batch.section, choice, &batch.text),
                Ok(None) => return Ok((contexts, true)),
                Err(_) => return Ok((contexts, false)),
            }
        }
        Ok((contexts, true))
    }

    fn write_to(
        &self,
        dir: &Path,
        sources: Vec<Source>,
        choice: &Choice,
        (rejects, progress): (Option<File>, When),
        registry: &Registry,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let now = Timestamp(clock::now());
        let mut setup = self.parts.setup()?;
        setup.options.when_full = WhenFull::Wait(WAIT_MAX);
        setup.options.cache_bytes_max = Some(self.cache);
        // A snapshot must start well before the cache is full. Otherwise all writers wait for it.
        setup.options.snapshot_bytes = setup.options.snapshot_bytes.min(self.cache / 4);
        let dirs = self.to.dirs("import", dir, registry);
        let engine = dirs.and_then(|dirs| Ok(setup.open(registry, dirs)?)).inspect_err(|_| {
            // An empty file of rejects is ours: this run created it, or an earlier run left it.
            if let (Some(path), Some(file)) = (&self.rejects, &rejects)
                && file.metadata().is_ok_and(|file| file.len() == 0)
            {
                let _ = std::fs::remove_file(path);
            }
        })?;
        note_parts_that_keep_nothing(dir, registry);
        let opened = report_recovery(engine.recovery());
        let options = LineOptions {
            precision: self.precision,
            on_conflict: self.on_conflict,
            string_line_bytes_max: self.string_line_bytes_max,
            ..LineOptions::new(now)
        };
        let ledger = Ledger::new(rejects, progress, self.precision);
        let input = Input { sources, choice };
        let read =
            write_all(&*engine, input, &options, usize::from(self.writers), &ledger, Bar::new(progress));
        let closed = engine.close();
        let totals = ledger.finish(started.elapsed());
        read?;
        closed?;
        Ok(opened.and(totals?))
    }
}

/// Reports that a part of the engine in `data` stores nothing. Such parts exist for measurements.
fn note_parts_that_keep_nothing(data: &Path, registry: &Registry) {
    let Some(Parts { storer, log, .. }) = Manifest::read(&OsFs, data).ok().flatten().map(|found| found.parts)
    else {
        return;
    };
    if registry.find_log(&log).is_ok_and(|entry| !entry.kind().keeps_records()) {
        complain(&format!(
            "the log `{log}` stores nothing: values that are not in TSM files when the import ends are lost"
        ));
    }
    if registry.find_storer(&storer).is_ok_and(|entry| !entry.keeps_values()) {
        complain(&format!(
            "the storer `{storer}` stores nothing: a snapshot writes no values and truncates the log"
        ));
    }
}

/// Opens the file of rejected lines. Lines are written one by one, so an interrupted run leaves no partial line. It may
/// leave an empty file, which is used again.
fn open_rejects(path: &Path) -> Result<File> {
    let is_empty = path.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    let file = OpenOptions::new().write(true).create_new(!is_empty).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Usage(format!(
            "{}: the file exists and is not empty; move it away, or pass another name with --rejects",
            path.display()
        )),
        _ => Failure::io(path, &error),
    })
}

struct Input<'a> {
    sources: Vec<Source>,
    choice: &'a Choice,
}

/// A batch on its way to a writer.
struct Job {
    number: u64,
    turn: Turn,
    source: String,
    batch: Batch,
}

/// Reads all sources and writes them with several threads. After a failure, no further batch is started.
fn write_all(
    engine: &dyn Driver,
    input: Input<'_>,
    options: &LineOptions,
    writers: usize,
    ledger: &Ledger,
    mut bar: Bar,
) -> Result<()> {
    let (send, receive) = sync_channel(writers);
    let receive = Mutex::new(Some(receive));
    let working = AtomicUsize::new(writers);
    thread::scope(|scope| {
        for begun in 0..writers {
            let worker = Worker { jobs: &receive, working: &working };
            let named = thread::Builder::new().name(format!("writer {begun}"));
            if let Err(error) = named.spawn_scoped(scope, move || worker.write(engine, options, ledger)) {
                ledger.fail(Failure::Io(format!("--writers {writers}: thread {}: {error}", begun + 1)));
                drop(send);
                return Ok(());
            }
        }
        let read = read_sources(input, &send, ledger, &mut bar);
        drop(send);
        read
    })?;
    ledger.failure()
}

fn read_sources(input: Input<'_>, send: &SyncSender<Job>, ledger: &Ledger, bar: &mut Bar) -> Result<()> {
    let (mut number, mut contexts, mut turns) = (0, Contexts::default(), Turns::default());
    for mut source in input.sources {
        while let Some(batch) = source.next_batch()? {
            if ledger.has_failed() {
                return Ok(());
            }
            contexts.add(&batch.section, input.choice, &batch.text);
            if let Some(done) = unwritten(&batch, input.choice, &source) {
                ledger.note(number, done);
            } else {
                contexts.refuse_many(&format!("{}:{}", source.name(), batch.first_line))?;
                let job = Job { number, turn: turns.take(), source: source.name(), batch };
                if send.send(job).is_err() {
                    return Ok(());
                }
            }
            number += 1;
            bar.show(|| {
                let (read, length) = source.position();
                format!("{} {} lines", percent(read, length), ledger.acknowledged())
            });
        }
    }
    contexts.unmatched(input.choice).map_or(Ok(()), |text| Err(Failure::Problem(text)))
}

/// The result of a batch that is not passed to a writer; `None` if it must be written.
fn unwritten(batch: &Batch, choice: &Choice, source: &Source) -> Option<Done> {
    let mut done = Done { lines: batch.lines, ..Done::default() };
    if batch.section.is_ddl {
        done.statements = content_lines(&batch.text);
    } else if !choice.takes(&batch.section.context) {
        done.elsewhere = content_lines(&batch.text);
    } else if batch.is_too_long {
        done.rejected.push(Reject {
            place: format!("{}:{}", source.name(), batch.first_line),
            reason: "the line is longer than 64 MiB: split it, or check that the file is line protocol"
                .to_owned(),
            text: Vec::new(),
        });
    } else {
        return None;
    }
    Some(done)
}

/// A writer thread. When the last one ends, also by a panic, the receiver is dropped, so that the sender does not block
/// forever.
struct Worker<'a> {
    jobs: &'a Mutex<Option<Receiver<Job>>>,
    working: &'a AtomicUsize,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            lock(self.jobs).take();
        }
    }
}

impl Worker<'_> {
    fn write(self, engine: &dyn Driver, options: &LineOptions, ledger: &Ledger) {
        loop {
            let job = lock(self.jobs).as_ref().and_then(|jobs| jobs.recv().ok());
            let Some(Job { number, turn, source, batch }) = job else { return };
            if ledger.has_failed() {
                continue;
            }
            match engine.write_lines_in_turn(&batch.text, options, turn) {
                Ok(report) => {
                    let outside = times::outside(&report.rejected, &batch.text);
                    let rejected = report.rejected.into_iter().map(|line| Reject {
                        place: format!("{source}:{}", batch.first_line + line.line as u64 - 1),
                        reason: reason(&line, &batch, options),
                        text: batch.text[line.bytes].to_vec(),
                    });
                    ledger.note(
                        number,
                        Done {
                            lines: batch.lines,
                            points: report.points as u64,
                            values: report.values as u64,
                            widened: report.widened,
                            second_types: report.second_types,
                            rejected: rejected.collect(),
                            times: report.times,
                            outside,
                            ..Done::default()
                        },
                    );
                }
                Err(error) => {
                    let error = if let ErrorKind::Cache(Full { used, needed, limit }) = error.kind() {
                        Failure::Problem(format!(
                            "the cache is full: it holds {used} bytes, the batch needs {needed} more, and the limit is {limit}; \
                             run the import again with a larger --cache or a smaller --batch"
                        ))
                    } else {
                        Failure::from(error)
                    };
                    let at = format!("{source}:{}: ", batch.first_line);
                    ledger.fail(match error {
                        Failure::Usage(text) => Failure::Usage(at + &text),
                        Failure::Problem(text) => Failure::Problem(at + &text),
                        Failure::Io(text) => Failure::Io(at + &text),
                        Failure::ClosedPipe => Failure::ClosedPipe,
                    });
                }
            }
        }
    }
}

/// Why a line was rejected, in the words of influxd. If a limit of ours cut the line, the reason names its flag.
fn reason(line: &Rejected, batch: &Batch, options: &LineOptions) -> String {
    let begin = batch.text[..line.bytes.start].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    if !batch.cut.contains(&begin) {
        return line.reason.to_string();
    }
    let limit = options.string_line_bytes_max;
    format!(
        "{}: a quote is not closed, or the line is longer than --string-line-bytes-max ({limit} bytes)",
        line.reason
    )
}
