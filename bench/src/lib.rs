//! Benchmarks of Tsmith: the matrix compares every part with its alternatives, and the other sub-commands time one layer.
//!
//! A program that adds a part has a `main` of one line:
//!
//! ```no_run
//! use tsmith_engine::{Registry, parts::Ring};
//!
//! fn main() -> std::process::ExitCode {
//!     tsmith_bench::main(Registry::standard().storer::<Ring>("mine", "a storer of another crate"))
//! }
//! ```
//! A program that also compares whole [stores](StorePeer) of other projects uses [`Bench`].
//!
//! `matrix` is the main job. The other sub-commands have the inputs, flags and JSON fields of a Go driver that times
//! InfluxDB's own layers, so one script can compare both.

mod adapter;
mod duration;
mod error;
mod failure;
mod flags;
mod inputs;
mod json_line;
mod matrix;
mod measure;
mod out;
mod peer;
mod program;
mod report;
mod runner;
mod stats;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
pub use peer::{Found, Keeps, OpenPeer, PeerResult, StorePeer};
pub use program::Bench;
use tsmith_engine::Registry;

/// Benchmarks of Tsmith: the matrix of all parts, and each layer alone.
///
/// Example: tsmith-bench matrix --encoder tsm1,zstd --workload scan --time 30s
#[derive(Debug, Parser)]
#[command(name = "tsmith-bench", max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // A doc comment here would replace the longer one of `matrix::args::Args`.
    Matrix(Box<matrix::args::Args>),
    #[command(hide = true)]
    Cell(Box<matrix::process::CellArgs>),
    /// Writes the generated columns that `codec` reads.
    Gen(inputs::GenArgs),
    /// Writes generated line protocol.
    Lines(inputs::LinesArgs),
    /// Encodes and decodes blocks of 1000 values.
    Codec(runner::codec::Args),
    /// Parses line protocol into batches.
    Parse(runner::parse::Args),
    /// Writes prepared batches to a cache.
    Cache(runner::cache::Args),
    /// Appends batches to a log and waits until each is durable.
    Wal(runner::wal::Args),
    /// Replays a log into an empty cache.
    Replay(runner::replay::Args),
    /// Writes points to an engine, snapshots and compacts them.
    Engine(runner::engine::Args),
    /// Scans and queries what `engine` wrote.
    Read(runner::read::Args),
}

/// Runs the program `tsmith-bench` with the parts of `registry`.
pub fn main(registry: Registry) -> ExitCode {
    Bench::new(registry).main()
}

fn run(bench: &Bench) -> ExitCode {
    let registry = &bench.registry;
    let matches = flags::with_parts(Args::command(), bench).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match args.command {
        Command::Matrix(args) => return matrix::main(&args, bench),
        Command::Cell(args) => matrix::process::run(&args, bench),
        Command::Gen(args) => inputs::write_columns(&args),
        Command::Lines(args) => inputs::write_lines(&args),
        Command::Codec(args) => runner::codec::run(&args, registry),
        Command::Parse(args) => {
            runner::parse::run(&args);
            Ok(())
        }
        Command::Cache(args) => runner::cache::run(&args, registry),
        Command::Wal(args) => runner::wal::run(&args, registry),
        Command::Replay(args) => runner::replay::run(&args, registry),
        Command::Engine(args) => runner::engine::run(&args, registry),
        Command::Read(args) => runner::read::run(&args, registry),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::note(format_args!("tsmith-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}
