//! The `tsmith` command: import, export, query, inspect, verify and repair time-series directories.
//!
//! To build a command with parts of your own, register them and call [`main`]:
//!
//! ```no_run
//! use tsmith_engine::{Registry, parts::Ring};
//!
//! fn main() -> std::process::ExitCode {
//!     tsmith::main(Registry::standard().storer::<Ring>("mine", "a storer of another crate"))
//! }
//! ```
//! Each verb has one file. Data goes to stdout, everything else to stderr. Verbs that read change nothing on disk. They
//! refuse a directory that a running engine has locked.

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
mod help;
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

/// Import, export, check and repair time-series directories: InfluxDB 1.x shards
/// and Tsmith's own
///
/// Example:
///   tsmith verify /var/lib/influxdb
///
/// Data goes to stdout, everything else to stderr. Exit codes:
///    0  success
///    1  problems found: rejected lines, corruption
///    2  wrong usage
///   74  input or output failed, or PATH does not exist or is no time-series data
#[derive(Debug, Parser)]
#[command(name = "tsmith", version, subcommand_required = true, arg_required_else_help = true)]
#[command(verbatim_doc_comment)]
struct Command {
    #[command(subcommand)]
    verb: Verb,

    /// Show progress on stderr
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

/// The command line of `tsmith` with the parts of `registry`. Generators of man pages and shell completions need it.
pub fn command(registry: &Registry) -> clap::Command {
    args::with_parts(Command::command(), registry)
}

/// Runs the program `tsmith` with the parts of `registry`.
#[expect(clippy::needless_pass_by_value, reason = "a program makes a registry for this call alone")]
pub fn main(registry: Registry) -> ExitCode {
    let registry = &registry;
    let matches = help::short(command(registry)).get_matches();
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
