//! The `tsmith` command: time-series directories in and out of line protocol, inspected, checked and summed up.
//!
//! A command with further parts is a `main` of one line:
//!
//! ```no_run
//! use tsmith_engine::{Registry, parts::Ring};
//!
//! fn main() -> std::process::ExitCode {
//!     tsmith::main(Registry::standard().storer::<Ring>("mine", "a storer of another crate"))
//! }
//! ```
//! One file a verb. Data goes to stdout, all else to stderr. Verbs that read change nothing on disk, and refuse a
//! directory that a running engine holds.

mod advice;
mod args;
mod clock;
mod compact;
mod context;
mod delete;
mod dump;
mod etcd;
mod exit;
mod export;
mod filter;
mod holder;
mod import;
mod inspect;
mod log;
mod output;
mod place;
mod problem;
mod progress;
mod query;
mod read;
mod repair;
mod shard_types;
mod snapshot;
mod source;
mod stats;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tsmith_engine::Registry;

use crate::progress::When;

/// Time-series directories: InfluxDB 1.x shards and Tsmith's own.
///
/// Data goes to stdout, all else to stderr. Exit code: 0 fine, 1 problems found (rejected lines, corruption), 2 usage,
/// 74 input or output failed, or a path is missing or a directory without a TSM file, log and manifest.
#[derive(Debug, Parser)]
#[command(name = "tsmith", version, subcommand_required = true, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,

    /// Show progress on stderr: a bar on a terminal; with `always` and no terminal, plain lines.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    progress: When,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Import(import::Import),
    Export(export::Export),
    Query(query::Query),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Stats(stats::Stats),
    Snapshot(snapshot::Snapshot),
    Compact(compact::CompactArgs),
    Delete(delete::Delete),
    Repair(repair::RepairArgs),
}

/// The program `tsmith`, with the parts of `registry`.
#[expect(clippy::needless_pass_by_value, reason = "a program makes a registry for this call alone")]
pub fn main(registry: Registry) -> ExitCode {
    let registry = &registry;
    let matches = args::with_parts(Command::command(), registry).get_matches();
    let Command { verb, progress } = Command::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    log::to_stderr();
    let done = match verb {
        Verb::Import(verb) => verb.run(progress, registry),
        Verb::Export(verb) => verb.run(progress, registry),
        Verb::Query(verb) => verb.run(registry),
        Verb::Inspect(verb) => verb.run(registry),
        Verb::Verify(verb) => verb.run(progress, registry),
        Verb::Stats(verb) => verb.run(progress, registry),
        Verb::Snapshot(verb) => verb.run(registry),
        Verb::Compact(verb) => verb.run(registry),
        Verb::Delete(verb) => verb.run(registry),
        Verb::Repair(verb) => verb.run(registry),
    };
    exit::code(done)
}
