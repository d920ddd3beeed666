//! The hidden sub-command `cell`, which runs one cell in its own process, and how the matrix calls it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::names;
use super::spec::{CellSpec, Group, is_durable};
use crate::adapter::Setup;
use crate::error::Result;
use crate::inputs::Prepared;
use crate::out;
use crate::program::Bench;
use crate::workload::{BATCH_POINTS, CALLS_MAX, Cell, NextPass, Outcome, Pace, PeerCell, Workload};

/// Runs one cell and prints its measurements as JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct CellArgs {
    /// A whole store of another project instead of parts.
    #[arg(long)]
    store: Option<String>,
    #[arg(long, required_unless_present = "store")]
    storer: Option<String>,
    #[arg(long, required_unless_present = "store")]
    log: Option<String>,
    #[arg(long, required_unless_present = "store")]
    encoder: Option<String>,
    #[arg(long, value_parser = names::order, required_unless_present = "store")]
    order: Option<String>,
    #[arg(long, value_parser = names::durability)]
    durability: String,
    #[arg(long, value_parser = names::workload)]
    workload: Workload,
    #[arg(long, value_parser = names::block, required_unless_present = "store")]
    block: Option<String>,
    #[arg(long)]
    threads: usize,
    /// Points of one write.
    #[arg(long)]
    batch: usize,
    /// Points a second of an open loop.
    #[arg(long, requires = "milliseconds")]
    rate: Option<usize>,
    /// How long an open loop measures.
    #[arg(long)]
    milliseconds: Option<u64>,
    /// Only build the engine that the workload needs.
    #[arg(long)]
    build: bool,
    /// A prepared dataset.
    #[arg(long)]
    points: PathBuf,
    /// Working directory; the cell empties it first.
    #[arg(long)]
    dir: PathBuf,
}

impl CellArgs {
    fn pace(&self) -> Option<Pace> {
        let (points_per_s, milliseconds) = self.rate.zip(self.milliseconds)?;
        Some(Pace { points_per_s, milliseconds })
    }

    /// A dataset of few points a call would take too long.
    fn calls_max(&self) -> usize {
        if let Some(pace) = self.pace() {
            return pace.calls(self.batch);
        }
        if self.batch < BATCH_POINTS { CALLS_MAX } else { usize::MAX }
    }
}

/// Runs in the child process. It prints the number of its passes whenever it is ready for the next, and begins it when it reads
/// a line. At the end of its input, it prints its measurements.
pub(crate) fn run(args: &CellArgs, bench: &Bench) -> Result {
    let begun = Instant::now();
    let next_pass: NextPass<'_> = &|passes: usize| {
        out::print(format_args!("{passes}\n"));
        Ok(io::stdin().read_line(&mut String::new())? > 0)
    };
    let &CellArgs { workload, threads, .. } = args;
    let (input, dir) = (&Prepared::new(args.points.clone(), args.batch, args.calls_max()), args.dir.clone());
    let engines = args.points.with_extension(format!("{}.engines", args.batch));
    let outcome = if let Some(store) = &args.store {
        let peer = bench.find_store(store).ok_or("there is no such store")?;
        let durable = is_durable(&args.durability);
        PeerCell { peer, durable, workload, threads, input, next_pass, begun, dir, engines }.run()?
    } else {
        let setup = Setup {
            storer: args.storer.as_deref().unwrap_or_default(),
            log: args.log.as_deref().unwrap_or_default(),
            encoder: args.encoder.as_deref().unwrap_or_default(),
            order: args.order.as_deref().unwrap_or_default(),
            durability: &args.durability,
            points_per_block: args.block.as_deref().unwrap_or_default().parse()?,
        };
        let registry = &bench.registry;
        let pace = args.pace();
        let cell = Cell {
            registry,
            setup,
            workload,
            threads,
            pace,
            input,
            next_pass,
            begun,
            dir,
            engines,
            build_apart,
        };
        if args.build {
            return cell.build();
        }
        cell.run()?
    };
    out::print(serde_json::to_string(&outcome)?);
    Ok(())
}

/// Runs this program again with `--build`.
fn build_apart() -> Result {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(std::env::args_os().skip(1)).arg("--build").stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().into())
}

/// How soon a run ends when the user stops it.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// A child process that runs a cell. It works from its start until it is ready, in its passes, and after its end.
pub(super) struct Process<'a> {
    child: Child,
    /// `None` when no further pass is wanted.
    commands: Option<ChildStdin>,
    /// The lines that the process prints.
    replies: Receiver<String>,
    /// Ends the wait for a reply.
    stop: &'a AtomicBool,
    /// Collects what the process prints about its failure.
    errors: Option<JoinHandle<String>>,
    passes: usize,
}

impl<'a> Process<'a> {
    /// Starts the process. A failure is text, because other cells continue.
    pub(super) fn start(
        group: &Group,
        cell: &CellSpec,
        dir: PathBuf,
        stop: &'a AtomicBool,
    ) -> Result<Self, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find the path of this program: {error}"))?;
        let mut command = Command::new(program);
        command.arg("cell");
        for (flag, value) in [
            ("--store", cell.store.as_deref().unwrap_or_default()),
            ("--storer", &cell.storer),
            ("--log", &cell.log),
            ("--encoder", &cell.encoder),
            ("--order", &cell.order),
            ("--durability", &cell.durability),
            ("--block", &cell.block),
            ("--workload", group.workload.name()),
            ("--threads", &group.threads.to_string()),
            ("--batch", &group.batch.to_string()),
        ] {
            if !value.is_empty() {
                command.arg(flag).arg(value);
            }
        }
        if let Some(pace) = group.pace {
            command.arg("--rate").arg(pace.points_per_s.to_string());
            command.arg("--milliseconds").arg(pace.milliseconds.to_string());
        }
        command.arg("--points").arg(&group.points).arg("--dir").arg(dir);
        // The allocator keeps freed memory and takes small pages. New memory is slow, and how slow depends on what else runs on
        // the machine, above all for huge pages.
        command.env("MIMALLOC_PURGE_DELAY", "-1").env("MIMALLOC_ALLOW_THP", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start a cell: {error}"))?;
        let commands = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut errors = child.stderr.take().expect("it is piped");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Self { child, commands, replies, stop, errors: Some(errors), passes: 0 })
    }

    /// Waits until the process is ready for its first pass.
    pub(super) fn ready(&mut self) -> Result<(), String> {
        self.passes = self.reply()?;
        Ok(())
    }

    /// Number of passes so far. Long work begins with one.
    pub(super) fn passes(&self) -> usize {
        self.passes
    }

    /// Runs one pass.
    pub(super) fn pass(&mut self) -> Result<(), String> {
        let commands = self.commands.as_mut().expect("it did not finish");
        // If this fails, so does the reply, which says why.
        let _ = commands.write_all(b"\n");
        self.passes = self.reply()?;
        Ok(())
    }

    /// Asks for no further pass.
    pub(super) fn end(&mut self) {
        self.commands = None;
    }

    /// Waits for the end of the process and returns its measurements.
    pub(super) fn outcome(mut self) -> Result<Outcome, String> {
        self.reply()
    }

    /// Reads a line of the process.
    fn reply<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        loop {
            match self.replies.recv_timeout(STOP_WITHIN) {
                Ok(line) => {
                    return serde_json::from_str(&line)
                        .map_err(|error| format!("a cell printed no result: {error}"));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    return Err("the run was stopped".into());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait().map_err(|error| format!("a cell was lost: {error}"))?;
        let text = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Err(format!("{status}: {text}"))
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        self.commands = None;
        // It ended already, or it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
